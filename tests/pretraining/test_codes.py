"""Codes of frozen layers: the same wherever they lie, and never those of other weights or data."""

import os
import signal

import pytest
import torch

from aepretrain import ConfigError, Dense, GreedyStack, PlainAutoencoder, Pretraining, RunContext, StorageError
from aepretrain.data.base import DataModule
from aepretrain.data.examples import Examples, Source
from aepretrain.data.rows import Rows
from aepretrain.pretraining.codes import FrozenCodes, MemoryBudget, disk_for_codes
from aepretrain.pretraining.encoding import encode_dataset
from tests.support.full_disk import largest_file
from tests.support.runs import config, differences

CPU = {"device": "cpu", "processes": 1}


def layer(seed=0, units=4, inputs=6):
    torch.manual_seed(seed)
    return PlainAutoencoder((inputs,), Dense(units, activation="sigmoid"))


def frozen(folder, x, limit=0, dtype="float32", layers=None):
    codes = FrozenCodes(x, "codes", RunContext(out=folder), MemoryBudget(limit), dtype=dtype, read_ahead=10_000)
    for k, each in enumerate(layers or [layer(0), layer(1, 3, 4)]):
        codes.add(f"{k:02d}-plain", each, **CPU)
    return codes


def files(folder):
    return sorted(str(path.relative_to(folder / "stages")) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_codes_in_a_file_are_those_in_memory(dtype, tmp_path):
    x, rows = torch.rand(5000, 6), torch.randperm(5000)[:700]
    in_file, in_memory = frozen(tmp_path, x, 0, dtype).get(), frozen(None, x, None, dtype).get()
    assert torch.equal(in_file[rows], in_memory[rows])
    assert torch.equal(in_file[:], in_memory[:])
    assert in_memory[rows].dtype == torch.float32
    h = x
    for each in (layer(0), layer(1, 3, 4)):
        h = encode_dataset(each.f, h).to(getattr(torch, dtype)).float()
    assert torch.equal(in_file[:], h)


def test_only_the_file_that_the_next_stage_reads_is_there_and_none_at_the_end(tmp_path):
    codes = frozen(tmp_path, torch.rand(50, 6))
    codes.get()
    assert files(tmp_path) == ["01-plain/codes.bin", "01-plain/codes.json"]
    codes.close()
    assert files(tmp_path) == []


def test_a_full_disk_under_the_codes_is_told_and_they_are_made_when_there_is_room(tmp_path):
    x, layers = torch.rand(50, 6), [layer(0)]
    with largest_file(100), pytest.raises(StorageError, match=r"codes\.bin cannot be written: .* 800 bytes needed"):
        frozen(tmp_path, x, layers=layers).get()
    assert files(tmp_path) == []
    assert torch.equal(frozen(tmp_path, x, layers=layers).get()[:], frozen(None, x, None, layers=layers).get())


def stamp(folder):
    return (folder / "stages" / "01-plain" / "codes.bin").stat().st_mtime_ns


def test_a_file_of_the_same_data_and_weights_is_taken_as_it_is(tmp_path):
    x = torch.rand(50, 6)
    made = frozen(tmp_path, x).get()[:]
    os.utime(tmp_path / "stages" / "01-plain" / "codes.bin", ns=(1, 1))
    assert torch.equal(frozen(tmp_path, x).get()[:], made)
    assert stamp(tmp_path) == 1


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": lambda folder: cut(folder / "codes.bin"),
    "flipped": lambda folder: flip(folder / "codes.bin"),
    "empty": lambda folder: (folder / "codes.bin").write_bytes(b""),
    "no key": lambda folder: (folder / "codes.json").unlink(),
    "half a key": lambda folder: cut(folder / "codes.json"),
    "another key": lambda folder: (folder / "codes.json").write_text("[]"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_made_again(name, tmp_path, capsys):
    x = torch.rand(50, 6)
    made = frozen(tmp_path, x).get()[:]
    DAMAGE[name](tmp_path / "stages" / "01-plain")
    assert torch.equal(frozen(tmp_path, x).get()[:], made)
    assert "codes.bin is not what this run would write: making it again" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("changed", ["data", "first weights", "last weights", "type", "activation"])
def test_a_stale_file_is_made_again(changed, tmp_path):
    x, layers = torch.rand(50, 6), [layer(0), layer(1, 3, 4)]
    frozen(tmp_path, x, layers=layers).get()
    dtype = "float32"
    if changed == "data":
        x = x.clone()
        x[49, 5] += 0.25
    elif changed == "type":
        dtype = "float16"
    elif changed == "activation":
        layers[1].f.activation = torch.nn.Tanh()
    else:
        with torch.no_grad():
            layers[changed == "last weights"].f.affine.weight[0, 0] += 1
    found = frozen(tmp_path, x, dtype=dtype, layers=layers).get()[:]
    assert torch.equal(found, frozen(None, x, None, dtype, layers).get()[:])


def test_codes_stay_in_memory_while_they_fit_and_what_served_is_given_back(tmp_path):
    x, room = torch.rand(100, 6), MemoryBudget(2500)
    codes = FrozenCodes(x, "codes", RunContext(out=tmp_path), room, dtype="float32", read_ahead=1000)
    for k, units in enumerate((4, 2, 4)):
        codes.add(f"{k:02d}-plain", layer(k, units, (6, 4, 2)[k]), **CPU)
        assert isinstance(codes.get(), torch.Tensor)
    assert room.reserved == 1600
    assert files(tmp_path) == [] if (tmp_path / "stages").exists() else True
    codes.close()
    assert room.reserved == 0
    stack = GreedyStack((6,), [lambda s: PlainAutoencoder(s, Dense(4)), lambda s: PlainAutoencoder(s, Dense(2))] * 2)
    assert disk_for_codes(list(stack), [x], MemoryBudget(2500), "float32") == 0
    assert disk_for_codes(list(stack), [x], MemoryBudget(1000), "float32") == 1600
    assert disk_for_codes(list(stack), [x], MemoryBudget(0), "float32") == 2400
    assert disk_for_codes(list(stack), [x], MemoryBudget(0), "bfloat16") == 1200


def test_codes_beyond_float16_are_refused_by_name(tmp_path):
    big = layer()
    big.f.activation = torch.nn.Identity()
    with torch.no_grad():
        big.f.affine.weight.fill_(1e6)
    for limit in (0, None):
        with pytest.raises(ConfigError, match="00-plain: codes beyond 65504 do not fit float16"):
            frozen(tmp_path, torch.ones(5, 6), limit, "float16", [big]).get()


class Tight(DataModule):
    in_shape, num_classes, preprocessing, memory_limit = (6,), None, {}, 6000

    def load(self):
        x = torch.rand(200, 6)
        return Source(Examples(x), Examples(x[:10]), Examples(x[:10]))


def test_without_a_run_directory_codes_that_do_not_fit_are_refused_before_the_first_stage():
    stack = GreedyStack((6,), [lambda shape: PlainAutoencoder(shape, Dense(4)) for _ in range(2)])
    with pytest.raises(ConfigError, match=r"3,\d+ bytes of codes do not fit data.memory_budget"):
        stack.fit(Tight(), Pretraining(epochs=1), RunContext(progress=False))
    assert not stack.records


@pytest.fixture(scope="module")
def with_codes(runner, tmp_path_factory):
    """The words of a run whose codes lie in a file, and the directory of one that nothing disturbed."""
    from tests.data.test_mapped import mapped_digits

    place = tmp_path_factory.mktemp("codes")
    file = config("SparseAutoencoder", place, data=mapped_digits(place), pretrain={"epochs": [1, 2]})
    words = ("fit", "--config", file, "--finetune.epochs", "0", "--out")
    assert runner.run(*words, place / "golden")[0] == 0
    return words, place / "golden"


@pytest.mark.parametrize("damage", [None, "flipped", "no key"])
def test_a_killed_run_goes_on_from_its_codes_or_makes_them_again(damage, with_codes, runner, tmp_path):
    words, golden = with_codes
    code, said = runner.run(*words, tmp_path / "run", strike={"stage": "01-sparse", "step": 6})
    assert code == -signal.SIGKILL, said
    folder = tmp_path / "run" / "stages" / "00-sparse"
    assert (folder / "codes.bin").stat().st_size == 1597 * 12 * 4
    if damage:
        DAMAGE[damage](folder)
    code, said = runner.run("fit", "--resume", tmp_path / "run")
    assert code == 0, said
    assert ("making it again" in said) == bool(damage)
    assert ("codes go to" in said) == bool(damage)
    assert differences(golden, tmp_path / "run") == []
    assert not list((tmp_path / "run").rglob("codes*"))


def test_half_types_are_kept_as_such_and_read_as_float32():
    rows = frozen(None, torch.rand(50, 6), None, "bfloat16").get()
    assert isinstance(rows, Rows)
    assert rows.tensor.dtype == torch.bfloat16
    assert torch.equal(torch.cat(list(rows.batches(7))), rows.subset(torch.arange(50)).to("cpu")[:])
    assert sum(len(part) for _, part in rows.scan()) == 50
