"""Every config in configs/ says what it shows, is read without a complaint, and the small ones run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.main import main

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def experiment(path, *words):
    return parse(build_parser("fit"), ["--config", str(path), *words], own=()).experiment


@pytest.fixture
def faces(tmp_path):
    """A folder of grey pictures, as configs/README.md makes it."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for number, face in enumerate(np.random.default_rng(0).random((100, 25, 25))):
        Image.fromarray((255 * face).round().astype("uint8")).save(folder / f"{number:03d}.png")
    return folder


def fit(name, out):
    words = ["fit", "--config", str(ROOT / "configs" / name), "--out", str(out), "--report", "false"]
    assert main(words) == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_says_what_it_shows_and_builds_its_stack(path, faces):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert "EXPECT" not in first
    built = experiment(path, *(["--data.root", str(faces)] if path.stem.startswith("faces") else []))
    stack = built.build_stack()
    assert not stack.warnings()
    if built.has_classifier:
        built.build_classifier(stack.encoder)


def test_there_is_a_config_for_each_variant():
    for name in ("plain", "sparse", "dropout", "contractive", "denoising", "variational", "adversarial"):
        stack = experiment(ROOT / "configs" / f"mnist-{name}.yaml").build_stack()
        assert {layer.variant() for layer in stack} == {name}
    mixed = experiment(ROOT / "configs" / "mnist-mixed.yaml").build_stack()
    assert len({layer.variant() for layer in mixed}) == 3


def test_the_digits_are_classified_better_than_by_half_of_what_the_config_promises(tmp_path):
    fit("digits.yaml", tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["classifier"]["test"]["error"] < 0.06
    assert sum(stage["seconds"] for stage in results["stages"]) + results["classifier"]["seconds"] < 60


def test_one_epoch_on_mnist_beats_the_regression_test_of_the_older_toolbox(tmp_path, mnist_folder, monkeypatch):
    monkeypatch.setenv("AEPRETRAIN_DATA", str(mnist_folder))
    fit("mnist-quick.yaml", tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["classifier"]["test"]["error"] < 0.16
    assert results["classifier"]["test"]["examples"] == 10_000


def test_the_comparison_of_reconstructions_runs_with_epochs_of_its_own(tmp_path):
    config, short = ROOT / "configs" / "compare-digits-deep-autoencoder.yaml", ["--pretrain.epochs", "1"]
    short += ["--pretrain.unroll", "1", "--compare.seeds", "1", "--report", "false"]
    assert main(["compare", "--config", str(config), "--out", str(tmp_path), *short]) == 0
    (budget,) = json.loads((tmp_path / "summary.json").read_text())["budgets"]
    assert list(budget["arms"]) == ["pretrained", "random", "random-longer", "probe", "pca"]
    assert list(budget["also"]["nats"]["arms"]) == list(budget["arms"])
