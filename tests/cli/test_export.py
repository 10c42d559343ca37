"""export writes the networks of a run to files that agree with them, and encode marks outliers."""

import csv

import numpy as np
import onnxruntime
import pytest
import torch

import aepretrain as ae
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.cli.main import main
from aepretrain.cli.run_data import raw_validation_rows
from tests.cli.test_table_run import config

RUN_DATA = "birds.csv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a table with missing values, categories and classes."""
    folder = tmp_path_factory.mktemp("export")
    assert main(["fit", "--config", str(config(folder, finetune={"epochs": 3})), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def export(finished, tmp_path, capsys):
    """Exports the run; returns the exit code and what was said."""

    def run(*words, out="a.pt2"):
        capsys.readouterr()
        code = main(["export", str(finished / "run"), "--out", str(tmp_path / out), *words])
        found = capsys.readouterr()
        return code, " ".join((found.out + found.err).split())

    return run


RAW = torch.tensor([[3100.0, 0.0, 1.0], [np.nan, 2.0, 0.0], [2500.0, np.nan, 7.0]])


@torch.no_grad()
def test_codes_of_raw_rows_with_preprocessing_and_of_scaled_rows_without(finished, export, tmp_path):
    encoder = ae.load_encoder(finished / "run" / "encoder")
    for words, x in ((["--with-preprocessing"], RAW), ([], encoder.preprocess(RAW))):
        code, said = export(*words)
        assert code == 0, said
        assert "compared with the original: bitwise equal on" in said
        assert "(validation rows of the run) codes as pt2" in said
        assert torch.equal(torch.export.load(tmp_path / "a.pt2").module()(x), encoder(RAW))


@torch.no_grad()
def test_probabilities_of_the_classifier_as_onnx_and_what_8_bits_cost(finished, export, tmp_path):
    run = FinishedRun(finished / "run")
    expected = run.classifier(run.encoder.preprocess(RAW)).softmax(dim=1)
    code, said = export("--head", "--with-preprocessing", "--quantize", out="a.onnx")
    assert code == 0, said
    assert "cost of 8 bits: accuracy " in said
    assert "% on 24 validation rows probability as onnx" in said
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    found = session.run(["probability"], {"x": RAW.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert '["owl", "rook", "swan"]' in session.get_modelmeta().custom_metadata_map["classes"]


@torch.no_grad()
def test_a_lower_layer_the_fine_tuned_encoder_and_the_whole_as_folders(finished, export, tmp_path):
    pretrained, tuned = FinishedRun(finished / "run").encoder, FinishedRun(finished / "run").fine_tuned
    for words, expected in (
        (["--layer", "0"], pretrained(RAW, return_all=True)[0]),
        (["--encoder", "fine-tuned"], tuned(RAW)),
        ([], pretrained(RAW)),
    ):
        out = "-".join(["folder", *words])
        code, said = export(*words, out=out)
        assert code == 0, said
        assert torch.equal(ae.load_encoder(tmp_path / out)(RAW), expected)
    whole, own = ae.load_autoencoder(tmp_path / "folder"), ae.load_autoencoder(finished / "run" / "encoder")
    assert torch.equal(whole.reconstruct(RAW), own.reconstruct(RAW))
    assert whole.threshold(0.1) == own.threshold(0.1)
    assert export(out="folder")[0] == 2


def test_where_the_data_are_gone_rows_are_drawn_and_it_is_said(finished, export):
    moved = (finished / RUN_DATA).rename(finished / "gone.csv")
    try:
        code, said = export("--with-preprocessing")
        assert code == 0, said
        assert "bitwise equal on 256 rows" in said
        assert "(rows drawn at random, since the data of the run cannot be read, or changed)" in said
        code, said = export("--quantize", out="a.onnx")
        assert code == 2
        assert "--quantize measures what it costs on the data of the run, but" in said
    finally:
        moved.rename(finished / RUN_DATA)


@pytest.mark.parametrize(
    ("words", "out", "message"),
    [
        (["--layer", "2"], "a.pt2", "--layer must be 0 to 1, but is 2: the run has 2 layers."),
        (["--head", "--layer", "0"], "a.pt2", "--head has the layers that it was trained on. Leave --layer and"),
        (["--format", "torch"], "a.pt2", "--format must be one of onnx, pt2, safetensors, but is 'torch'"),
        (["--format", "onnx"], "a.pt2", "--out ends in .pt2, but --format is onnx"),
        (["--quantize"], "a.pt2", "quantization is for --format onnx, but the format is pt2"),
        (["--input-type", "uint8"], "a.pt2", "--input-type is for raw values. Add --with-preprocessing"),
        (["--encoder", "tuned"], "a.pt2", "Usage: aepretrain export RUN --format NAME --out PATH"),
    ],
)
def test_what_cannot_be_exported_is_one_line(words, out, message, export, tmp_path):
    code, said = export(*words, out=out)
    assert code == 2
    assert message in said
    assert not list(tmp_path.iterdir())


def encode(finished, tmp_path, capsys, *words):
    capsys.readouterr()
    out = tmp_path / "codes.csv"
    code = main(["encode", str(finished / "run"), "--data", str(finished / RUN_DATA), "--out", str(out), *words])
    found = capsys.readouterr()
    rows = list(csv.DictReader(out.read_text().splitlines())) if code == 0 else []
    return code, " ".join((found.out + found.err).split()), rows


def test_rows_with_larger_errors_than_the_validation_rows_are_outliers(finished, tmp_path, capsys):
    code, said, rows = encode(finished, tmp_path, capsys, "--add", "error", "--contamination", "0.1")
    assert code == 0, said
    limit = ae.load_autoencoder(finished / "run" / "encoder").threshold(0.1)
    assert f"outlier: an error above {limit:.6g} nats, found on 24 validation rows of the run" in said
    marked = [row["outlier"] == "True" for row in rows]
    assert marked == [float(row["error"]) > limit for row in rows]
    assert 0 < sum(marked) < 0.3 * len(rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--contamination", "0.01"], "contamination 0.01 needs 99 validation rows, but the run has 24. Take 0.04 or"),
        (["--contamination", "1"], "contamination must lie in (0, 0.5], but is 1"),
        (["--contamination", "0.1", "--layer", "0"], "--contamination is for the errors of all layers, but --layer"),
        (["--contamination", "0.1", "--encoder", "fine-tuned"], "errors and reconstructions need the decoders"),
    ],
)
def test_a_threshold_that_cannot_be_found_is_one_line(words, message, finished, tmp_path, capsys):
    code, said, _ = encode(finished, tmp_path, capsys, *words)
    assert code == 2
    assert message in said


def test_the_threshold_is_found_on_the_validation_rows_of_the_run(finished):
    """The saved errors are those of the validation split, which no layer was trained on."""
    run = FinishedRun(finished / "run")
    with torch.no_grad():
        errors = run.autoencoder.error(raw_validation_rows(run).x)
    torch.testing.assert_close(torch.tensor(run.autoencoder.validation_errors.errors).float(), errors.sort().values)
