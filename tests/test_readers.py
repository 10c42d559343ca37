"""Whatever a file holds, its reader reads it or raises an error of ours that names it; see support/fuzzing.py."""

import copy
import gzip
import io
import json
import math
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from aepretrain import MNIST, Arrays, ImageFolder, MappedArray, ParquetFolder, RunResult, Table, load_encoder
from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.main import main
from aepretrain.export.encoder import save_encoder
from aepretrain.results.cell import CellResult, read_rows
from aepretrain.results.comparison import ComparisonResult
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.predictions import Predictions
from aepretrain.results.records import read_record
from aepretrain.results.row_errors import RowErrors
from aepretrain.storage.array_files import read_arrays
from aepretrain.storage.files import sha256
from aepretrain.storage.json_files import read_json
from aepretrain.storage.weight_files import read_weights
from aepretrain.storage.yaml_files import read_yaml
from aepretrain.tracking.metrics_file import read_metrics
from aepretrain.training.recovery.checkpoints import read_checkpoint
from aepretrain.training.recovery.run_state import RECORD, WEIGHTS, RunState
from aepretrain.training.recovery.stage_files import read_stage_record
from tests.support.fuzzing import ANYTHING, any_file, as_json, changed, damaged, fuzz, refusal
from tests.support.records import LAYER, write_config

EARLIER = Path(__file__).parent / "results" / "earlier"
pytestmark = pytest.mark.timeout(0)


def refused_or_read(read, path, name=None):
    """Read a file; errors of ours are as they should be, others pass."""
    if (error := refusal(read, path)) is not None:
        assert error.exit_code == 5, error
        assert (name or path.name) in str(error), error
        assert "\n" not in str(error)


def values_of(name):
    return json.loads((EARLIER / name).read_text())


DATA = {
    "parts": {"inputs": {"shape": [60, 4], "sha256": "1f"}}, "splits": [40, 10, 10], "columns": ["a"],
    "files": {"count": 1, "bytes": 5, "sizes": "a", "times": "b"},
}  # fmt: skip
STAGE = {"status": "trained", "metrics_bytes": 0, "checkpoints": [], "files": {WEIGHTS: "a", RECORD: "b"}}
STATE = {"status": "running", "stages": {"00-plain": STAGE, "classifier": {"status": "running"}}, "data": DATA}
RECORD_OF_STAGE = {
    "record": {
        "stage": "00-plain", "epochs": 1, "kept_epoch": 0, "steps": 3, "seconds": 0.5, "history": [{"val/loss": 1.0}],
        "device": "cpu", "processes": 1, "skipped_steps": 0,
    }
}  # fmt: skip
SUMMARY = values_of("summary.json")
JSON = {
    "results.json": (values_of("run.json"), RunResult.read),
    "patterns.json": (values_of("patterns.json"), RunResult.read),
    "summary.json": (SUMMARY, ComparisonResult.read),
    "row.json": (values_of("row.json"), CellResult.read),
    "regression-run.json": (values_of("regression-run.json"), RunResult.read),
    "regression-summary.json": (values_of("regression-summary.json"), ComparisonResult.read),
    "regression-row.json": (values_of("regression-row.json"), CellResult.read),
    "reconstruction-run.json": (values_of("reconstruction-run.json"), RunResult.read),
    "reconstruction-summary.json": (values_of("reconstruction-summary.json"), ComparisonResult.read),
    "reconstruction-row.json": (values_of("reconstruction-row.json"), CellResult.read),
    "data.json": (DATA, lambda path: read_record(Fingerprint, path)),
    "state.json": (STATE, lambda path: (RunState(path.parent).read(), RunState(path.parent).data)),
    "record.json": (RECORD_OF_STAGE, read_stage_record),
}


@pytest.mark.parametrize("name", JSON)
def test_records_of_any_values(name, tmp_path):
    valid, read = JSON[name]
    path = tmp_path / name
    path.write_text(json.dumps(valid))
    read(path)

    def check(data):
        path.write_bytes(data)
        refused_or_read(read, path)

    fuzz(as_json(changed(valid)) | any_file(json.dumps(valid).encode()), check)


def test_metrics_of_any_rows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    row = {"stage": "00-plain", "epoch": 0, "step": 3, "name": "val/loss", "value": 1.5}
    rows = st.lists(as_json(changed(row) | st.just(row)), max_size=4).map(lambda lines: b"\n".join(lines) + b"\n")

    def check(data):
        path.write_bytes(data)
        refused_or_read(read_metrics, path)

    fuzz(rows | any_file((json.dumps(row) + "\n").encode() * 3), check)


@pytest.mark.parametrize("earlier", ["results.csv", "regression-results.csv", "reconstruction-results.csv"])
def test_rows_of_a_comparison_of_any_text(earlier, tmp_path):
    path = tmp_path / "results.csv"
    valid = (EARLIER / earlier).read_bytes()
    header, *lines = valid.decode().splitlines()
    cells = st.lists(
        st.text(max_size=8) | st.sampled_from(["all", "1e999", "9" * 5000, "knn", "-1", "k=1"]), max_size=12
    )
    texts = st.lists(cells.map(",".join) | st.sampled_from(lines), max_size=4).map(
        lambda rows: "\n".join([header, *rows]).encode("utf-8", "surrogatepass")
    )

    def check(data):
        path.write_bytes(data)
        refused_or_read(read_rows, path)

    fuzz(texts | any_file(valid), check)


def test_arrays_of_samples_of_any_bytes(tmp_path):
    path, buffer, plain = tmp_path / "samples.npz", io.BytesIO(), io.BytesIO()
    arrays = {"codes": np.zeros((4, 3), np.float32), "labels": np.arange(4)}
    np.savez_compressed(buffer, **arrays)
    np.savez(plain, **arrays)

    def check(data):
        path.write_bytes(data)
        refused_or_read(read_arrays, path)

    fuzz(any_file(buffer.getvalue()) | any_file(plain.getvalue()), check)


@pytest.mark.parametrize("kind", [Predictions, RowErrors])
def test_values_of_examples_of_any_arrays(kind, tmp_path):
    path, buffer, names = tmp_path / kind.file, io.BytesIO(), [each.name for each in fields(kind)]
    np.savez_compressed(buffer, **dict(zip(names, (np.arange(4.0), np.ones(4)), strict=True)))
    values = st.sampled_from([0, 1.5, math.nan, math.inf, 1e308, -1e308, "a", "1", True, 2j, b"1"])
    arrays = st.lists(values, max_size=4).map(np.array) | st.sampled_from([np.zeros((2, 2)), np.float32(1)])

    def packed(pair):
        content = io.BytesIO()
        np.savez_compressed(content, **dict(zip(names, pair, strict=False)))
        return content.getvalue()

    def check(data):
        path.write_bytes(data)
        refused_or_read(lambda path: kind.read(path.parent), path)

    fuzz(any_file(buffer.getvalue()) | st.lists(arrays, max_size=2).map(packed), check)


CONFIG = yaml.safe_load((Path(__file__).parents[1] / "configs" / "digits.yaml").read_text())


def test_configs_of_a_folder_of_any_text(tmp_path):
    path = tmp_path / "config.yaml"
    texts = changed(CONFIG).map(lambda value: yaml.safe_dump(value).encode("utf-8", "surrogatepass"))
    marks = st.lists(
        st.sampled_from(["&a ", "*a", "a: ", "[", "]", "{", "}", "- ", "\n", "1", "!!binary ", "2001-99-01"])
    )

    def check(data):
        path.write_bytes(data)
        refused_or_read(lambda path: read_yaml(path, "Write it again."), path)

    fuzz(texts | any_file(yaml.safe_dump(CONFIG).encode()) | marks.map(lambda each: "".join(each).encode()), check)


def test_configs_of_the_command_of_any_values(tmp_path):
    path = tmp_path / "config.yaml"
    parser = build_parser("fit")

    def check(value):
        path.write_text(yaml.safe_dump(value))
        if (error := refusal(lambda: parse(parser, ["--config", str(path)], own=()))) is not None:
            assert error.exit_code in (2, 3), error

    fuzz(changed(CONFIG), check, examples=15)


def encoder_folder(folder):
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3), nn.Sigmoid())
    return save_encoder(layers, folder / "encoder", in_shape=(1, 8, 8), columns=["a"], classes=["b", "c"])


def test_encoders_of_any_config(tmp_path, monkeypatch):
    folder = encoder_folder(tmp_path)
    valid = json.loads((folder / "config.json").read_text())
    load_encoder(folder)

    def check(data):
        (folder / "config.json").write_bytes(data)
        refused_or_read(lambda path: load_encoder(path.parent), folder / "config.json", name="/encoder/")

    # Whoever changes a config can write its SHA-256, too.
    monkeypatch.setattr("aepretrain.export.encoder._digest", lambda weights, config: config["sha256"])
    shapes = copy.deepcopy({key: valid[key] for key in ("in_shape", "code_shape", "architecture", "transform")})
    parts = changed(shapes).map(lambda part: {**valid, **part} if isinstance(part, dict) else part)
    fuzz(as_json(parts) | as_json(changed(valid)) | any_file(json.dumps(valid).encode()), check)


def test_weights_of_encoders_of_any_bytes(tmp_path):
    folder = encoder_folder(tmp_path)
    path = folder / "encoder.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    def file(value):
        text = json.dumps(value).encode("utf-8", "surrogatepass")
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    types = st.sampled_from(["F8_E4M3", "F8_E5M2", "BF16", "U64", "BOOL", "F4", "C64", "I8"])
    retyped = types.map(
        lambda name: {key: {**each, "dtype": name} for key, each in header.items() if key != "__metadata__"}
    )
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3), nn.Sigmoid())

    def check(content):
        path.write_bytes(content)
        refused_or_read(lambda path: load_encoder(path.parent), path)
        refused_or_read(lambda path: read_weights(path, module), path)

    fuzz((changed(header) | retyped).map(file) | any_file(data), check)


def test_checkpoints_of_any_bytes(tmp_path):
    path, buffer = tmp_path / "last.ckpt", io.BytesIO()
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "epoch": 1, "best": (1.0, 2.0), "name": "a"}, buffer)

    def check(data):
        path.write_bytes(data)
        refused_or_read(read_checkpoint, path)

    fuzz(any_file(buffer.getvalue()), check)


def test_checkpoints_of_any_values(tmp_path, monkeypatch, capsys):
    """A stranger can write a checkpoint and its SHA-256."""
    out, settings = tmp_path / "run", {"layers": [LAYER], "pretrain": {"epochs": 2}, "finetune": {"epochs": 0}}
    monkeypatch.setattr("aepretrain.training.recovery.checkpoints.received", lambda: signal.SIGTERM)
    words = ["fit", "--config", write_config(tmp_path, report=False, **settings), "--out", str(out)]
    assert main(words) == 128 + signal.SIGTERM
    (path,) = out.rglob("last.ckpt")
    valid, state = read_checkpoint(path), json.loads((out / "state.json").read_text())

    def check(value):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        path.write_bytes(buffer.getvalue())
        state["stages"][path.parent.name]["checkpoints"] = [sha256(buffer.getvalue())]
        (out / "state.json").write_text(json.dumps(state))
        capsys.readouterr()
        code, said = main(["fit", "--resume", str(out)]), capsys.readouterr().err
        assert code in (4, 5, 128 + signal.SIGTERM), said
        assert len(said.splitlines()) == 1

    fuzz(changed(valid), check, examples=10)


def test_records_of_caches_of_any_values(tmp_path):
    path = tmp_path / "cache.json"

    def check(data):
        path.write_bytes(data)
        refused_or_read(read_json, path)

    fuzz(as_json(changed({"sha256": "a", "found": {"bad": [[1, "b"]]}})) | st.binary(max_size=30), check)


def load(data):
    """All that a run asks of data before it trains."""
    splits = data.splits()
    return len(splits.train), data.fingerprint(), data.notes, data.warnings


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


TYPES = [
    "f4",
    "f2",
    "u1",
    "f8",
    "i8",
    "u8",
    "u4",
    "i1",
    "?",
    "c8",
    "M8[s]",
    "m8[D]",
    "U3",
    "S2",
    "O",
    ">f4",
    "V4",
    "f4,i2",
]
HEADERS = st.builds(
    lambda descr, order, shape: f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}",
    st.sampled_from([*(repr(f"<{each}") for each in TYPES), "[('a', '<f4')]", "1", "'|O'", "(" * 300, "None"]),
    st.sampled_from(["False", "True", "0", "'a'"]),
    st.sampled_from(["(60, 4)", "(-60, 4)", "(60, -4)", "(10**9,)", "(60.0, 4)", "()", "(0, 4)", "(60, 0)", "(True, 4)",
                     "(9999999999999, 99999999999)", "60", "('a',)", "(60, 4) * 9"]),
)  # fmt: skip


def with_header(text):
    data = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(960)


def test_arrays_in_files_of_any_bytes(tmp_path):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    values, labels = npy(np.random.default_rng(0).random((60, 4), np.float32)), npy(np.arange(60) % 3)
    files = (
        HEADERS.map(with_header)
        | any_file(values)
        | st.sampled_from(TYPES[:-1]).map(lambda name: npy(np.zeros((60, 4), name)))
    )
    targets = (
        any_file(labels)
        | HEADERS.map(with_header)
        | st.sampled_from(TYPES[:-1]).map(lambda name: npy((np.arange(60) % 3).astype(name)))
    )

    def check(contents):
        for path, content in zip((x, y), contents, strict=True):
            path.write_bytes(content)
        budget = "1kB" if len(contents[0]) % 2 else None
        if (error := refusal(lambda: load(MappedArray(str(x), str(y), memory_budget=budget)))) is not None:
            assert error.exit_code in (2, 3), error

    fuzz(st.tuples(files, st.just(labels)) | st.tuples(st.just(values), targets), check)


NUMBERS = [
    torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64, torch.complex64, torch.uint8,
    torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int64, torch.bool,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_arrays_in_memory_of_any_type():
    values = np.random.default_rng(0).random((60, 4))
    arrays = st.sampled_from([*NUMBERS, *TYPES[:-1]]).map(
        lambda kind: torch.zeros(60, 4).to(kind) if isinstance(kind, torch.dtype) else np.zeros((60, 4), kind)
    )
    labels = st.sampled_from([*NUMBERS, *TYPES[:-1]]).map(
        lambda kind: (
            (torch.arange(60) % 3).to(kind)
            if isinstance(kind, torch.dtype)
            else (np.arange(60) % 3).astype("i8" if kind[0] == "V" else kind)
        )
    )
    lists = st.lists(ANYTHING, min_size=60, max_size=60) | st.lists(
        st.sampled_from([0, 1, "a", None, 1.5, 2**70]), min_size=60, max_size=60
    )

    def check(pair):
        if (error := refusal(lambda: load(Arrays(*pair)))) is not None:
            assert error.exit_code in (2, 3), error

    inputs = arrays | lists | ANYTHING | st.lists(st.lists(ANYTHING, max_size=2), max_size=5)
    fuzz(st.tuples(inputs, st.just(np.arange(60) % 3)) | st.tuples(st.just(values), labels | lists | ANYTHING), check)


def picture(kind):
    buffer, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    image = Image.fromarray(pixels if kind != "GIF" else pixels[..., 0])
    image.save(buffer, kind, **({"save_all": True, "append_images": [image]} if kind in ("GIF", "TIFF") else {}))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_pictures_of_any_bytes(tmp_path):
    root = tmp_path / "pictures"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            (root / name / f"{number}.png").write_bytes(picture("PNG"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n%%EndComments\n"
    kinds = [
        kind for kind in ("PNG", "GIF", "TIFF", "BMP", "JPEG", "PPM", "WEBP") if kind in Image.SAVE or Image.init()
    ]
    files = st.one_of(*(any_file(picture(kind)) for kind in kinds), any_file(eps))

    def check(content):
        (root / "cat" / "0.png").write_bytes(content)
        if (error := refusal(lambda: load(ImageFolder(str(root), cache=str(tmp_path / "cache"))))) is not None:
            assert error.exit_code in (2, 3), error

    fuzz(files, check, examples=15)


def test_tables_of_any_bytes(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    root, buffer = tmp_path / "t.parquet", io.BytesIO()
    table = pyarrow.table({"a": np.arange(60.0), "b": [[1.0, 2.0]] * 60, "y": ["c", "d"] * 30})
    pyarrow.parquet.write_table(table, buffer, compression="none")

    def check(content):
        root.write_bytes(content)
        if (
            error := refusal(lambda: load(ParquetFolder(str(root), target="y", cache=str(tmp_path / "cache"))))
        ) is not None:
            assert error.exit_code in (2, 3, 5), error

    fuzz(damaged(buffer.getvalue()) | st.binary(max_size=40), check, examples=15)


def test_lines_of_any_bytes(tmp_path):
    pytest.importorskip("pyarrow")
    lines = [f"{k / 7:.2f},{'ab'[k % 2]},2026-01-{1 + k % 9:02d},{'cd'[k % 2]}" for k in range(60)]
    valid, path = "\n".join(["x,a,day,y", *lines]).encode(), tmp_path / "t.csv"
    packed = gzip.compress(valid)

    def check(content):
        place = path.with_suffix(".csv.gz") if content[:1] == packed[:1] else path
        place.write_bytes(content)
        if (error := refusal(lambda: load(Table(place, "y", cache=tmp_path / "cache")))) is not None:
            assert error.exit_code in (2, 3), error

    fuzz(damaged(valid) | damaged(packed) | st.binary(max_size=40), check)


def idx(array, kind=8):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + shape + array.tobytes()


@pytest.mark.filterwarnings("ignore")
def test_image_sets_of_any_bytes(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels, labels = np.zeros((30, 28, 28), np.uint8), (np.arange(30) % 10).astype(np.uint8)
    valid = {"images-idx3": idx(pixels), "labels-idx1": idx(labels)}

    def check(change):
        name, content = change
        for half in ("train", "t10k"):
            for each, data in valid.items():
                (raw / f"{half}-{each}-ubyte").write_bytes(content if each == name else data)
        if (error := refusal(lambda: load(MNIST(str(tmp_path), download=False)))) is not None:
            assert error.exit_code in (2, 3), error

    fuzz(st.one_of(*(st.tuples(st.just(name), any_file(data)) for name, data in valid.items())), check)
