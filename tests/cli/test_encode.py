"""encode and predict write what the networks of a run say of any rows, in the order of the rows."""

import csv
import io
import signal
import subprocess
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import aepretrain as ae
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.cli.main import main
from aepretrain.export.row_files import write_rows
from aepretrain.storage.weight_files import read_weights
from tests.support import programs
from tests.support.tables import X, Y, write_config

NAMES = ["ash", "beech", "cedar", "elm", "fir"]
KINDS = np.array(["fig", "kiwi", "lime"])[Y]


def lines(capsys):
    return " ".join(capsys.readouterr().err.split())


def write_table(path, x=X, names=NAMES, **more):
    columns = {name: x[:, number] for number, name in enumerate(names)}
    pq.write_table(pa.table({**columns, **more}), path)
    return str(path)


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    """A run on a table with named classes and a transform."""
    folder = tmp_path_factory.mktemp("encode")
    path = write_table(folder / "train.parquet", kind=KINDS)
    arguments = {"root": path, "target": "kind", "transform": "standardize", "cache": str(folder / "cache")}
    config = write_config(folder, {"class_path": "ParquetFolder", "init_args": arguments})
    assert main(["fit", "--config", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_codes_are_those_of_the_encoder_row_by_row_in_every_format(table_run, tmp_path):
    data = write_table(tmp_path / "x.parquet", kind=KINDS)
    expected = ae.load_encoder(table_run / "encoder")(torch.from_numpy(X)).detach().numpy()
    for ending in ("npy", "npz", "parquet", "csv"):
        assert main(["encode", str(table_run), "--data", data, "--out", str(tmp_path / f"codes.{ending}")]) == 0
    codes = np.load(tmp_path / "codes.npy")
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as found:
        assert set(found) == {"codes", "label"}
        np.testing.assert_array_equal(found["codes"], codes)
        assert found["label"].tolist() == KINDS.tolist()
    table = pq.read_table(tmp_path / "codes.parquet")
    width = expected.shape[1]
    assert table.column_names == ["label", *(f"codes_{k}" for k in range(width))]
    np.testing.assert_array_equal(np.stack([table[f"codes_{k}"].to_numpy() for k in range(width)], axis=1), codes)
    rows = list(csv.reader(io.StringIO((tmp_path / "codes.csv").read_text())))
    assert rows[0] == table.column_names
    again = np.array([row[1:] for row in rows[1:]], dtype=np.float32)
    np.testing.assert_array_equal(again, codes)  # the text has as many digits as float32 needs


def test_columns_in_another_order_give_the_same_codes_and_a_missing_one_is_refused(table_run, tmp_path, capsys):
    straight = write_table(tmp_path / "a.parquet")
    turned = write_table(tmp_path / "b.parquet", X[:, ::-1], NAMES[::-1], extra=np.arange(len(X)))
    for path, out in ((straight, "a.npy"), (turned, "b.npy")):
        assert main(["encode", str(table_run), "--data", path, "--out", str(tmp_path / out)]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    short = write_table(tmp_path / "c.parquet", X[:, 1:], NAMES[1:])
    capsys.readouterr()
    assert main(["encode", str(table_run), "--data", short, "--out", str(tmp_path / "c.npy")]) == 3
    assert "has no column 'ash'" in lines(capsys)
    assert not list(tmp_path.glob("c.npy*"))


def test_the_error_of_a_row_is_the_loss_of_its_reconstruction_and_the_sum_of_its_parts(table_run, tmp_path):
    words = ["encode", str(table_run), "--data", write_table(tmp_path / "x.parquet")]
    words += ["--add", "error,reconstruction", "--per-feature", "--out"]
    assert main([*words, str(tmp_path / "all.npz")]) == 0
    finished = FinishedRun(table_run)
    scaled = finished.encoder.transform(torch.from_numpy(X))
    with torch.no_grad():
        layers = list(finished.experiment.build_stack().eval())
        for stage, layer in zip(("00-plain", "01-plain"), layers, strict=True):
            read_weights(table_run / "stages" / stage / "model.safetensors", layer)
        reconstructed = layers[0].decode(layers[1].decode(layers[1].encode(layers[0].encode(scaled))))
    with np.load(tmp_path / "all.npz") as found:
        expected = 0.5 * (scaled - reconstructed).square().sum(dim=1)
        np.testing.assert_allclose(found["error"], expected, rtol=1e-4)
        np.testing.assert_allclose(found["error_per_feature"].sum(axis=1), found["error"], rtol=1e-5)
        raw = finished.encoder.transform.inverse(reconstructed)
        np.testing.assert_allclose(found["reconstruction"], raw, rtol=1e-4, atol=1e-4)
    assert main([*words, str(tmp_path / "all.csv")]) == 0
    header = (tmp_path / "all.csv").read_text().splitlines()[0].split(",")
    assert [f"error_{name}" for name in NAMES] == [name for name in header if name.startswith("error_")]
    assert [f"reconstruction_{name}" for name in NAMES] == [name for name in header if "reconstruction" in name]


def test_a_row_that_does_not_belong_has_the_largest_error(table_run, tmp_path):
    x = np.concatenate([X, X.mean(axis=0, keepdims=True) + 50 * X.std(axis=0)])
    out = tmp_path / "errors.npz"
    data = write_table(tmp_path / "x.parquet", x)
    assert main(["encode", str(table_run), "--data", data, "--add", "error", "--out", str(out)]) == 0
    assert np.load(out)["error"].argmax() == len(X)


def test_predictions_are_those_that_the_run_was_tested_with(table_run, tmp_path):
    data = write_table(tmp_path / "x.parquet", kind=KINDS)
    assert main(["predict", str(table_run), "--data", data, "--out", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        predicted, probability = found["prediction"], found["probability"]
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert (np.array(["fig", "kiwi", "lime"])[probability.argmax(axis=1)] == predicted).all()
    source = ae.ParquetFolder(data, target="kind", cache=str(tmp_path / "cache"))
    held_out = {row.tobytes() for row in source.splits().test.x.numpy()}
    test = np.array([row.tobytes() in held_out for row in X])
    measured = ae.RunResult.read(table_run / "results.json").classifier.test
    assert (predicted[test] == KINDS[test]).mean() == pytest.approx(measured.accuracy)
    classifier = ae.load_classifier(table_run)
    assert not classifier.training
    assert classifier.class_names == ["fig", "kiwi", "lime"]
    assert torch.equal(classifier(torch.from_numpy(X).float()), torch.from_numpy(probability))
    words = ["--add", "prediction,probability", "--out", str(tmp_path / "both.csv")]
    assert main(["encode", str(table_run), "--data", data, *words]) == 0
    header = (tmp_path / "both.csv").read_text().splitlines()[0]
    assert header.endswith("prediction,probability_fig,probability_kiwi,probability_lime")


def test_the_data_of_the_run_may_be_gone(table_run, tmp_path):
    """Everything that encode and predict need lies in the run directory."""
    data, own = write_table(tmp_path / "x.parquet"), table_run.parent / "train.parquet"
    moved = own.rename(own.with_suffix(".gone"))
    try:
        words = ["--data", data, "--add", "error,prediction", "--out", str(tmp_path / "x.npz")]
        assert main(["encode", str(table_run), *words]) == 0
    finally:
        moved.rename(own)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    config = write_config(folder, {"class_path": "Digits"})
    assert main(["fit", "--config", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


def raw_digits():
    return load_digits().images[:, None].astype(np.float32)


def test_codes_of_a_lower_layer_and_of_the_fine_tuned_encoder(digits_run, tmp_path):
    np.save(tmp_path / "x.npy", raw_digits()[:50])
    base = ["encode", str(digits_run), "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "codes.npy")]
    encoder = ae.load_encoder(digits_run / "encoder")
    tuned = ae.load_encoder(digits_run / "stages" / "classifier" / "encoder")
    for words, module in (
        (["--layer", "0"], torch.nn.Sequential(encoder.transform, encoder.layers[0])),
        (["--encoder", "fine-tuned"], tuned),
    ):
        assert main([*base, *words]) == 0
        expected = module(torch.from_numpy(raw_digits()[:50])).detach()
        np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--out", "codes.txt"], 2, "--out must end in .npy, .npz, .parquet or .csv, but is"),
        (["--out", "codes.npy", "--add", "error"], 2, "a .npy file holds the codes alone, not error as well"),
        (
            ["--out", "codes.npz", "--add", "nats"],
            2,
            "--add takes error, prediction, probability, value, reconstruction, but",
        ),
        (["--out", "codes.npz", "--layer", "7"], 2, "--layer must be 0 to 1, but is 7"),
        (["--out", "codes.npz", "--add", "error", "--encoder", "fine-tuned"], 2, "need the decoders"),
        (["--out", "codes.npz", "--data", "nothing.npy"], 3, "which does not exist. Check the path."),
        (["--out", "codes.npz", "--data", "flat.npy"], 3, "rows of shape (64,), but the run was trained on (1, 8, 8)"),
        (["--out", "codes.npz", "--data", "nan.npy"], 3, "inputs must be finite, but 1 of 3 examples"),
        (["--out", "codes.npz", "--data", "x.csv"], 3, "is a table, but the run has inputs of shape"),
    ],
)
def test_what_cannot_be_encoded_is_one_line(words, code, message, digits_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = raw_digits()[:3]
    np.save("x.npy", x)
    np.save("flat.npy", x.reshape(3, 64))
    x[1] = np.nan
    np.save("nan.npy", x)
    (tmp_path / "x.csv").write_text("1,2\n")
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert main(["encode", str(digits_run), *([] if "--data" in words else ["--data", "x.npy"]), *words]) == code
    assert message in lines(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_pictures_are_read_as_the_run_read_them_and_keep_their_paths(tmp_path):
    generator = np.random.default_rng(0)
    for k, kind in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(100 * k, 100 * k + 100, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{number:02d}.png")
    arguments = {"root": str(tmp_path / "pictures"), "grey": True, "size": 4, "cache": str(tmp_path / "cache")}
    config = write_config(tmp_path, {"class_path": "ImageFolder", "init_args": arguments})
    assert main(["fit", "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "new").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / "dog" / f"{number:02d}.png").rename(tmp_path / "new" / f"{number}.png")
    words = ["predict", str(tmp_path / "run"), "--data", str(tmp_path / "new"), "--out", str(tmp_path / "y.csv")]
    assert main(words) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "y.csv").read_text())))
    assert [row["id"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert {row["prediction"] for row in rows} <= {"cat", "dog"}


def test_pieces_are_joined_and_an_error_leaves_the_file_as_it_was(tmp_path):
    pieces = [{"codes": np.full((2, 3), k, np.float32), "id": np.array([f"{k}a", f"{k}b"])} for k in range(3)]
    for ending in ("npz", "csv", "parquet"):
        path = tmp_path / f"x.{ending}"
        path.write_bytes(b"before")
        with pytest.raises(RuntimeError, match="halfway"):
            write_rows(path, _broken(pieces), 6)
        assert path.read_bytes() == b"before"
        assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]
        path.unlink()
    write_rows(tmp_path / "x.npz", pieces, 6)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["id"].tolist() == ["0a", "0b", "1a", "1b", "2a", "2b"]
        assert found["codes"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def _broken(pieces):
    yield pieces[0]
    raise RuntimeError("halfway")


def test_a_stopped_encode_leaves_nothing_behind(digits_run, tmp_path):
    np.save(tmp_path / "x.npy", np.tile(raw_digits(), (100, 1, 1, 1)))
    words = ["encode", str(digits_run), "--data", str(tmp_path / "x.npy"), "--add", "error", "--per-feature"]
    process = programs.start(*words, "--out", tmp_path / "codes.csv", stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
