"""A run with convolutions, from its config to the report, the codes of rows and the exported encoder."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import aepretrain as ae
from aepretrain.cli.main import main

ROOT = Path(__file__).parents[2]
EPOCHS = ["--pretrain.epochs", "1", "--finetune.epochs", "1"]
WINDOWS = str(ROOT / "configs" / "control-charts.npy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of sensors-conv.yaml with one epoch a stage."""
    out = tmp_path_factory.mktemp("sensors") / "run"
    config = str(ROOT / "configs" / "sensors-conv.yaml")
    assert main(["fit", "--config", config, *EPOCHS, "--out", str(out)]) == 0
    return out


def test_the_kernels_of_windows_are_in_the_report(run):
    with np.load(run / "stages" / "00-denoising" / "samples.npz") as samples:
        assert samples["filters"].shape == (16, 1, 1, 9)
    report = (run / "report.html").read_text()
    assert "Weights into all 16 units as small pictures" in report
    assert "a column a step of a window" in report
    assert "Conv(16, 9, 3, relu)" in report
    assert (run / "stages" / "00-denoising" / "filters.png").exists()


@torch.no_grad()
def test_codes_errors_and_exported_codes_are_those_of_the_stack(run, tmp_path, capsys):
    x = np.load(WINDOWS)[:20].astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    rows = ["--data", str(tmp_path / "x.npy")]
    assert main(["encode", str(run), *rows, "--out", str(tmp_path / "codes.npz"), "--contamination", "0.1"]) == 0
    autoencoder = ae.load_autoencoder(run / "encoder")
    with np.load(tmp_path / "codes.npz") as found:
        torch.testing.assert_close(torch.from_numpy(found["codes"]), autoencoder.encode(torch.from_numpy(x)))
        assert "outlier" in found
    assert autoencoder.reconstruct(torch.from_numpy(x)).shape == x.shape
    assert (
        main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "a.onnx"), "--with-preprocessing"]) == 0
    )
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    codes = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(codes, autoencoder.encode(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-4)


def test_a_kernel_larger_than_its_map_is_named_with_the_layer(tmp_path, capsys):
    config = str(ROOT / "configs" / "sensors-conv.yaml")
    words = ["--layers.0.coder.kernel_size", "80", "--layers.0.coder.padding", "0"]
    assert main(["validate", "--config", config, *words]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "layer 0: kernel_size 80 is larger than a map of 60 with padding 0. Take smaller kernels" in said
