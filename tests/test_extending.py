"""The page on classes of one's own: its files are written as they stand, and its commands are run in order."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_breast_cancer, load_digits

from aepretrain import load_classifier, load_encoder
from aepretrain.cli.import_allowlist import trust

from .test_architecture import PACKAGE

PAGE = (PACKAGE / "EXTENDING.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml) (\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a reader who wrote the files, and has digits in another one."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    np.save(folder / "digits.npy", load_digits().images[:20, None].astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def said(runner, folder):
    """What each command of the page prints; without the report, whose pictures take most of the time."""
    found = {}
    for line in COMMANDS:
        program, *words = shlex.split(line)
        if program == "aepretrain":
            quick = ["--report=false"] if words[0] == "fit" else []
            code, found[line] = runner.run(*words, *quick, folder=str(folder))
            assert code == 0, found[line]
    return found


def results(folder, run):
    return json.loads((folder / "runs" / run / "results.json").read_text())


def test_the_page_has_a_file_for_each_kind_of_class():
    assert [name for name in FILES if name.endswith(".py")] == [
        "my_variant.py",
        "my_source.py",
        "my_pictures.py",
        "my_head.py",
    ]
    assert not re.findall(r"```\w* ?\n(?:from|import|class)", PAGE)


def test_a_variant_of_ones_own_is_trained_and_its_encoder_is_plain(folder, said):
    (stage,) = results(folder, "binary")["stages"]
    assert stage["stage"] == "00-binary"
    assert 0 < stage["diagnostics"]["distance_to_bits"] < 0.5
    codes = np.load(folder / "codes.npy")
    assert codes.shape == (20, 32)
    assert load_encoder(folder / "runs" / "binary" / "encoder").out_features == 32


def test_a_source_of_ones_own_is_divided_and_scaled_with_the_encoder(folder, said):
    found = results(folder, "nuclei")
    assert (found["data"]["name"], found["data"]["labelled"]) == ("Nuclei", 40)
    assert found["classifier"]["test"]["accuracy"] > 0.8
    assert type(load_encoder(folder / "runs" / "nuclei" / "encoder").transform).__name__ == "Standardize"


def test_what_a_run_left_needs_no_source_of_ones_own(runner, folder, said):
    np.save(folder / "nuclei.npy", load_breast_cancer().data[:9].astype(np.float32))
    for verb in ("encode", "predict"):
        words = [verb, "runs/nuclei", "--data", "nuclei.npy", "--out", f"{verb}.csv"]
        code, text = runner.run(*words, folder=str(folder))
        assert code == 0, text
        assert len((folder / f"{verb}.csv").read_text().splitlines()) == 10
    rows = torch.from_numpy(np.load(folder / "nuclei.npy"))
    torch.testing.assert_close(load_classifier(folder / "runs" / "nuclei")(rows).sum(dim=1), torch.ones(9))


def test_a_classifier_with_a_head_of_ones_own_is_loaded_from_python(folder, said, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    rows = torch.from_numpy(np.load("digits.npy"))
    try:
        classifier = load_classifier("runs/focal", trusted=["my_head"])
    finally:
        trust([])
    torch.testing.assert_close(classifier(rows).sum(dim=1), torch.ones(20))


def test_a_data_module_of_lightning_is_trained_on_as_it_is_and_with_a_budget(folder, said):
    plain, few = results(folder, "pictures"), results(folder, "few")
    assert (plain["data"]["name"], plain["data"]["labelled"], plain["data"]["validation"]) == ("Pictures", 77, 24)
    assert few["data"]["labelled"] == 20
    assert type(load_encoder(folder / "runs" / "few" / "encoder").transform).__name__ == "Standardize"


def test_a_head_of_ones_own_is_trained_with_its_settings_and_predicts(runner, folder, said):
    found = results(folder, "focal")["classifier"]
    assert found["test"]["accuracy"] > 0.6
    assert found["weights_arrived"]
    head = yaml.safe_load((folder / "runs" / "focal" / "config.yaml").read_text())["head"]
    assert head["class_path"] == "my_head.FocalClassifier"
    assert (head["init_args"]["gamma"], head["init_args"]["dropout"]) == (1.5, 0.2)
    words = ["predict", "runs/focal", "--data", "digits.npy", "--out", "predicted.csv", "--trust-module", "my_head"]
    assert runner.run(*words, folder=str(folder))[0] == 0
    assert len((folder / "predicted.csv").read_text().splitlines()) == 21


def test_settings_of_the_classifier_are_refused_where_another_head_is_named(runner, folder):
    words = ["validate", "--config", "my_head.yaml", "--trust-module", "my_head", "--classifier.dropout", "0.3"]
    code, text = runner.run(*words, folder=str(folder))
    assert code == 2
    assert "classifier.dropout is set, but head names a class that takes its place. Set head.init_args.dropout" in text


def test_only_the_command_line_lets_a_config_import(runner, folder):
    code, text = runner.run("validate", "--config", "my_source.yaml", folder=str(folder))
    assert code == 2
    assert "--trust-module my_source" in text
