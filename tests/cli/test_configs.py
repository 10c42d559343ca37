"""Every config in configs/ says what it shows, is read without a complaint, and the small ones run."""

import json
from pathlib import Path

import pytest

from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.main import main

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def experiment(path):
    return parse(build_parser("fit"), ["--config", str(path)], own=()).experiment


def fit(name, out):
    words = ["fit", "--config", str(ROOT / "configs" / name), "--out", str(out), "--report", "false"]
    assert main(words) == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_says_what_it_shows_and_builds_its_stack(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert "EXPECT" not in first
    built = experiment(path)
    stack = built.build_stack()
    assert not stack.warnings()
    if built.has_classifier:
        built.build_classifier(stack.encoder)


def test_there_is_a_config_for_each_of_the_six_variants():
    for name in ("plain", "sparse", "dropout", "contractive", "denoising", "variational"):
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
