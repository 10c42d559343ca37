"""Data that stay in their file give what data in memory give, bit for bit, within their budget."""

import os
import signal
import threading
from itertools import chain

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from aepretrain import Arrays, ConfigError, DataError, MappedArray, Scale
from aepretrain.cli.main import main
from aepretrain.data import Batches
from aepretrain.data.file_rows import FileRows, RowFile, identity_of
from aepretrain.data.rows import Rows, choose
from aepretrain.data.stored import TYPES
from aepretrain.training.chunks import ChunkLength, chunks
from tests.support import programs
from tests.support.runs import config, differences

FLOAT, HALF, BYTES = np.float32, np.float16, np.uint8


def array(count, shape, dtype=FLOAT, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (count, *shape))
    return values.astype(BYTES) if dtype == BYTES else (values / 255).astype(dtype)


def in_memory(values):
    x = torch.from_numpy(values)
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def file_rows(folder, values, budget=1 << 20):
    path = folder / "rows.bin"
    values.tofile(path)
    file = RowFile(path, values.shape[1:], TYPES[values.dtype.name])
    transform = Scale(255) if values.dtype == BYTES else None
    return FileRows(file, torch.arange(len(values)), identity_of(path), transform=transform, budget=budget)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 3000),
    shape=st.sampled_from([(1,), (7,), (2, 3), (784,)]),
    dtype=st.sampled_from([FLOAT, HALF, BYTES]),
    batch_size=st.integers(1, 700),
    epochs=st.lists(st.integers(0, 50), min_size=1, max_size=3),
    budget=st.sampled_from([1, 5000, 100_000, 10**8]),
    shuffle=st.booleans(),
    start=st.integers(0, 3),
)
def test_batches_equal_those_of_a_tensor(
    tmp_path_factory, count, shape, dtype, batch_size, epochs, budget, shuffle, start
):
    values = array(count, shape, dtype)
    numbers = torch.randperm(count, generator=torch.Generator().manual_seed(1))[: count // 2 + 1]
    rows = file_rows(tmp_path_factory.mktemp("rows"), values, budget).subset(numbers)
    x, y = in_memory(values)[numbers], torch.arange(len(numbers))
    batches = [Batches([inputs, y], batch_size, seed=3, shuffle=shuffle) for inputs in (x, rows)]
    position = min(start, len(batches[0]) - 1)
    for epoch in epochs:
        loaders = [chain.from_iterable(chunks(each, epoch, position, ChunkLength(3))) for each in batches]
        for (_, (a, i)), (_, (b, j)) in zip(*loaders, strict=True):
            assert b.dtype == torch.float32
            assert torch.equal(a, b)
            assert torch.equal(i, j)
        position = 0


def test_numbers_of_rows_in_a_file_stay_where_the_file_is_read(tmp_path):
    rows = file_rows(tmp_path, array(20, (3,))).to("meta")  # in place of a GPU
    batches = Batches([rows], 5)
    assert batches.order().device.type == "cpu"
    assert [x.device.type for (x,) in batches] == ["meta"] * 4


def test_an_epoch_that_is_left_in_the_middle_ends_its_thread(tmp_path):
    rows = file_rows(tmp_path, array(5000, (50,)), budget=10_000)
    loader = Batches([rows], 32)
    for number in range(3):
        loader.sampler.set_epoch(number)
        next(iter(loader))
    assert sum(thread.name == "aepretrain-read-ahead" for thread in threading.enumerate()) == 1
    del rows, loader
    assert not [thread for thread in threading.enumerate() if thread.name == "aepretrain-read-ahead"]


def test_rows_that_were_not_announced_come_all_the_same(tmp_path):
    values = array(100, (3,))
    rows, x = file_rows(tmp_path, values), in_memory(values)
    rows.prefetch(torch.arange(100))
    for numbers in ([5, 5, 2], [0, 1], [99], [2, 3, 4]):
        assert torch.equal(rows[torch.tensor(numbers)], x[torch.tensor(numbers)])
    assert torch.equal(rows[10:20], x[10:20])
    assert torch.equal(torch.cat([part for _, part in rows.scan()]), x)


def test_a_file_that_becomes_shorter_is_an_error_and_no_garbage(tmp_path):
    rows = file_rows(tmp_path, array(5000, (50,)))
    os.truncate(rows.file.path, 5000 * 100)
    with pytest.raises(DataError, match="ended while it was read"):
        list(Batches([rows], 64))


def test_splits_of_a_mapped_array_are_choices_of_rows_and_equal_those_in_memory(tmp_path):
    x, y = array(500, (6,)), np.arange(500) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    names = (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    settings = {"validation": 50, "test": 50, "labels": 90, "unlabelled": 200}
    loose = MappedArray(*names, **settings).splits(seed=4)
    tight = MappedArray(*names, memory_budget="5kB", **settings).splits(seed=4)
    for inputs in (tight.unlabelled, tight.train.x):
        assert isinstance(inputs, Rows)
    for a, b in ((loose, tight),):
        assert torch.equal(a.unlabelled, b.unlabelled[:])
        for part in ("train", "validation", "test"):
            assert torch.equal(getattr(a, part).x, getattr(b, part).x[:])
            assert torch.equal(getattr(a, part).y, getattr(b, part).y)
    assert {tuple(row) for row in loose.validation.x.tolist()} <= {tuple(row) for row in x.tolist()}
    assert tight.train.y.bincount().tolist() == [30, 30, 30]
    arrays = Arrays(x, y)
    assert torch.equal(choose(arrays.x, torch.tensor([3])), arrays.x[3:4])


def test_bytes_are_scaled_and_the_recipe_says_so(tmp_path):
    np.save(tmp_path / "x.npy", array(50, (2, 4, 4), BYTES))
    data = MappedArray(str(tmp_path / "x.npy"))
    assert data.splits().unlabelled.max() <= 1
    assert data.transform.divide_by == 255.0
    assert data.num_classes is None
    assert data.in_shape == (2, 4, 4)


def test_a_budget_that_cannot_hold_the_validation_data_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", array(500, (100,)))
    message = r"memory_budget of 100 kB is too small: validation and test inputs need 80 kB.* lower data.validation"
    with pytest.raises(ConfigError, match=message):
        MappedArray(str(tmp_path / "x.npy"), memory_budget="100kB").splits()
    with pytest.raises(ConfigError, match=r"data\.test must be a number of examples from 1 to 499, but got 500"):
        MappedArray(str(tmp_path / "x.npy"), test=500).splits()


@pytest.mark.parametrize("budget", ["2 apples", "", "-1", "0", "GB", "0.1B"])
def test_a_budget_that_is_no_size_is_refused(budget, tmp_path):
    np.save(tmp_path / "x.npy", array(50, (3,)))
    with pytest.raises(ConfigError, match="must be a positive size such as 500MB"):
        MappedArray(str(tmp_path / "x.npy"), memory_budget=budget)


def bad(values, **changes):
    return lambda folder: np.save(folder / "x.npy", values, **changes)


def truncated(folder):
    np.save(folder / "x.npy", array(50, (4,)))
    os.truncate(folder / "x.npy", 500)


def with_nan(folder):
    x = array(60, (4,))
    x[[17, 40], 2] = np.nan
    np.save(folder / "x.npy", x)


BAD_FILES = {
    "missing": (lambda folder: None, "x.npy does not exist. Check the path: it must name a .npy file"),
    "no npy": (lambda folder: (folder / "x.npy").write_bytes(b"hello, how are you"), "x.npy is no .npy file"),
    "empty": (lambda folder: (folder / "x.npy").write_bytes(b""), "x.npy is no .npy file"),
    "truncated": (truncated, "x.npy is truncated: 928 bytes are needed, but it has 500"),
    "pickled": (bad(np.array([[{}]]), allow_pickle=True), "or labels as text, array.astype(str)"),
    "too large": (bad(np.where(np.arange(200).reshape(50, 4) == 81, 1e300, 0)), "column 1 is 1e+300 in row 20"),
    "a clock": (bad(1.7e9 + np.arange(200.0).reshape(50, 4)), "column 0 has values too close for float32"),
    "a whole clock": (bad(1_700_000_000 + np.arange(200).reshape(50, 4)), "column 0 has values too close for float32"),
    "byte order": (bad(np.zeros((50, 4), ">f4")), "in the byte order of this machine, but are >f4"),
    "columns": (bad(np.asfortranarray(np.zeros((50, 4), FLOAT))), "is stored column by column"),
    "flat": (bad(np.zeros(50, FLOAT)), "inputs need the shape (N, ...), but have (50,)"),
    "no rows": (bad(np.zeros((0, 4), FLOAT)), "there are no examples"),
    "no values": (bad(np.zeros((50, 0), FLOAT)), "they hold no values"),
    "few": (bad(np.zeros((2, 4), FLOAT)), "cannot be divided into three splits"),
    "NaN": (with_nan, "2 of 60 examples have NaN or infinity, the first in row 17, column 2"),
    "complex": (bad(np.zeros((50, 4), complex)), "must be real numbers, but are complex128"),
    "text": (bad(np.full((50, 4), "a")), "must be numbers, but are text (<U1)"),
    "outside [0, 1]": (bad(array(50, (4,)) * 2), "Bernoulli takes values in [0, 1], but the data reach"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("budget", ["1GB", "900B"])
def test_bad_files_are_one_line_and_code_3_before_the_first_stage(name, budget, tmp_path, capsys):
    write, message = BAD_FILES[name]
    write(tmp_path)
    layer = {"coder": {"class_path": "Dense", "init_args": {"features": 2}}, "likelihood": "Bernoulli"}
    held_out = {"validation": 10, "test": 10} if name != "few" else {}
    values = {
        "data": {"class_path": "MappedArray", "init_args": {"x": str(tmp_path / "x.npy"), **held_out}},
        "layers": [{"class_path": "PlainAutoencoder", "init_args": layer}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    words = ["fit", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]
    assert main([*words, "--data.memory_budget", budget]) == 3
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(49) % 2, "50 examples need as many labels, but there are 49"),
        (np.full(50, np.nan), "all labels are missing"),
        (np.full(50, 0.5), "real targets must differ, but all are 0.5"),
        (np.array(["a"] * 50), "at least 2 classes, but all are a"),
        (np.arange(50) % 2 * 1j, "labels must be whole numbers or names, but are complex numbers"),
        (np.zeros(50, int), "at least 2 classes"),
    ],
)
def test_bad_labels_are_refused(y, message, tmp_path):
    np.save(tmp_path / "x.npy", array(50, (3,)))
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(DataError, match=message):
        MappedArray(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))


FILES = {
    "names.csv": ("kind\n" + "owl\nrook\nswan\n" * 20, (3, ["owl", "rook", "swan"], 60)),
    "numbers.txt": ("2\n10\nNA\n" * 20, (2, ["2", "10"], 40)),
    "reals.csv": ("\n".join(f"{k * 0.5}" for k in range(60)), (None, None, 60)),
}


@pytest.mark.parametrize("name", FILES)
def test_labels_may_stand_in_lines_of_text(name, tmp_path):
    text, expected = FILES[name]
    np.save(tmp_path / "x.npy", array(60, (3,)))
    (tmp_path / name).write_text(text)
    data = MappedArray(tmp_path / "x.npy", tmp_path / name)
    assert (data.num_classes, data.class_names, len(data.y)) == expected


def mapped_digits(folder):
    """The digits as files, and how a config names them; the budget holds neither the inputs nor any codes."""
    pixels, y = load_digits(return_X_y=True)
    np.save(folder / "x.npy", (pixels / 16).astype(FLOAT).reshape(-1, 1, 8, 8))
    np.save(folder / "y.npy", y)
    files = {name: str(folder / f"{name}.npy") for name in "xy"}
    sizes = {"validation": 100, "test": 100, "labels": 250}
    return {"class_path": "MappedArray", "init_args": {**files, **sizes, "memory_budget": "110kB"}}


def test_a_run_on_mapped_data_that_was_killed_ends_with_the_same_bits(runner, tmp_path):
    file = config("DenoisingAutoencoder", tmp_path, data=mapped_digits(tmp_path))
    code, said = runner.run("fit", "--config", file, "--out", tmp_path / "golden")
    assert code == 0, said
    words = ("fit", "--config", file, "--out", tmp_path / "run")
    for stage, step in (("00-denoising", 7), ("01-denoising", 16)):
        code, said = runner.run(*words, strike={"stage": stage, "step": step})
        assert code == -signal.SIGKILL, said
        words = ("fit", "--resume", tmp_path / "run")
    code, said = runner.run(*words)
    assert code == 0, said
    loose = runner.run("fit", "--config", file, "--out", tmp_path / "loose", "--data.memory_budget", "1GB")
    assert loose[0] == 0, loose[1]
    assert differences(tmp_path / "golden", tmp_path / "run") == []
    assert differences(tmp_path / "golden", tmp_path / "loose") == ["config.yaml"]


@pytest.mark.parametrize("transform", ["standardize", pytest.param("minmax", marks=pytest.mark.soak)])
def test_a_killed_run_on_scaled_rows_ends_with_the_same_bits_whatever_the_budget(transform, runner, tmp_path):
    file = config("PlainAutoencoder", tmp_path, data=mapped_digits(tmp_path))
    words = ("--data.transform", transform)
    golden = runner.run("fit", "--config", file, "--out", tmp_path / "golden", *words, "--data.memory_budget", "1GB")
    assert golden[0] == 0, golden[1]
    start = ("fit", "--config", file, "--out", tmp_path / "run", *words)
    code, said = runner.run(*start, strike={"stage": "01-plain", "step": 9})
    assert code == -signal.SIGKILL, said
    code, said = runner.run("fit", "--resume", tmp_path / "run")
    assert code == 0, said
    assert differences(tmp_path / "golden", tmp_path / "run") == ["config.yaml"]


PEAK = """
import sys
import aepretrain as ae

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

def fit(path, budget):
    data = ae.MappedArray(path, memory_budget=budget, validation=100, test=100, transform=sys.argv[4])
    layers = [lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(32)) for _ in range(2)]
    stack = ae.GreedyStack(data.in_shape, layers)
    context = ae.RunContext(progress=False, trainer=ae.TrainerOptions(accelerator="cpu"))
    stack.fit(data, ae.Pretraining(epochs=1, batch_size=128), context)

fit(sys.argv[1], "6MB")
open("/proc/self/clear_refs", "w").write("5")  # from here on the peak is counted anew
before = status("VmRSS")
fit(sys.argv[2], sys.argv[3])
print(status("VmHWM") - before)
"""


def peak(small, large, budget, transform="none"):
    """Bytes that a fit takes at most beyond the program, its model and its batches: a small fit comes first."""
    answer = programs.run_program(PEAK, small, large, budget, transform)
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's figure of the peak")
def test_peak_memory_stays_within_the_budget(tmp_path):
    x = array(40_000, (784,), BYTES)  # 126 MB as float32
    np.save(tmp_path / "large.npy", x)
    np.save(tmp_path / "small.npy", x[:6000])
    paths = (tmp_path / "small.npy", tmp_path / "large.npy")
    # What the C library keeps of freed memory comes on top, in pieces that differ from run to run: the least tells.
    assert any(peak(*paths, "45MB", "standardize") < 45_000_000 for _ in range(4))
    assert peak(*paths, "1GB") > 120_000_000


def test_the_plan_names_the_disk_for_codes_and_a_full_disk_is_found_before_the_first_stage(
    tmp_path, capsys, monkeypatch
):
    file = str(config("PlainAutoencoder", tmp_path, data=mapped_digits(tmp_path)))
    assert main(["validate", "--config", file]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{1597 * 12 * 4 / 1000:.3g} kB of the disk are for codes that do not fit data.memory_budget" in said
    monkeypatch.setattr("aepretrain.storage.files.free_bytes", lambda path: 1597 * 12 * 4)
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run")]) == 5
    assert "has too little room" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "int16", "uint16", "int32", "uint32", "int64", "bool"])
@pytest.mark.parametrize("budget", [None, "1kB"])
def test_numbers_of_any_type_are_those_of_their_float32(kind, budget, tmp_path):
    x = (np.random.default_rng(0).random((60, 4, 3)) * 100).astype(kind)
    np.save(tmp_path / "own.npy", x)
    np.save(tmp_path / "float.npy", x.astype(np.float32))
    own, known = (
        MappedArray(str(tmp_path / f"{name}.npy"), memory_budget=budget, validation=5, test=5)
        for name in ("own", "float")
    )
    assert torch.equal(own.splits().train.x[:], known.splits().train.x[:])
    assert isinstance(own.splits().train.x, torch.Tensor) == (budget is None)
    assert own.fingerprint() == known.fingerprint()
