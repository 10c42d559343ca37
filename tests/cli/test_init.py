"""init writes a config that is accepted as it stands, for every kind of data; list names what there is."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from aepretrain.cli.config import load_experiment
from aepretrain.cli.main import main

ROOT = Path(__file__).parents[2]
PENGUINS = ROOT / "configs" / "penguins.csv"
pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Caches go to a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys):
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def init(*words):
    return main(["init", *words, "--out", "x.yaml"])


def accepted():
    """The settings of the config, and the network that is built of it."""
    experiment = load_experiment(Path("x.yaml"))
    stack = experiment.build_stack()
    assert not stack.warnings()
    return yaml.safe_load(Path("x.yaml").read_text()), stack, experiment


def pictures(folder, sizes):
    for number in range(20):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        side = sizes[number % len(sizes)]
        pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")


def test_a_table_with_text_gets_a_config_that_leaves_it_out_and_names_what_columns_hold(capsys):
    lines = PENGUINS.read_text().splitlines()
    head, *rows = lines
    table = [f"{head},note: one", *(f"{row},ring {k}" for k, row in enumerate(rows))]
    Path("birds.csv").write_text("\n".join(table) + "\n")
    assert init("--data", "birds.csv", "--target", "species") == 0
    shown = said(capsys)
    assert "next: aepretrain validate --config x.yaml" in shown
    assert "warning: rows next to one another are alike" in shown
    settings, stack, experiment = accepted()
    data = settings["data"]["init_args"]
    assert data["drop"] == ["note: one"]
    assert data["columns"]["island"] == "category"
    assert (data["target"], data["transform"]) == ("species", "standardize")
    assert type(next(iter(stack)).L).__name__ == "Mixed"
    assert [layer.code_shape for layer in stack] == [(128,), (64,)]
    assert settings["compare"]["labels"] == [15, 60, None]
    text = Path("x.yaml").read_text()
    assert "# no feature: note: one (text: 344 different values, such as 'ring 0')" in text
    assert "# Warning: rows next to one another are alike" in text
    assert text.startswith("# Two denoising layers on birds.csv: 208 training examples of 17 features, 3 classes.\n")
    assert max(map(len, text.splitlines()[-12:])) < 160
    assert experiment.data.num_classes == 3


def test_a_table_without_a_target_says_which_it_could_be():
    assert init("--data", str(PENGUINS)) == 0
    settings, _, experiment = accepted()
    assert "it could be species, island, sex (--target)" in Path("x.yaml").read_text()
    assert "finetune" not in settings
    assert experiment.data.num_classes is None


def test_a_real_target_gets_a_config_whose_head_is_a_regressor():
    assert init("--data", str(ROOT / "configs" / "diabetes.csv"), "--target", "progression") == 0
    settings, stack, experiment = accepted()
    assert type(experiment.build_classifier(stack.encoder)).__name__ == "Regressor"
    assert settings["compare"]["labels"] == [50, None]
    text = Path("x.yaml").read_text()
    assert "training examples of 10 features, a real target.\n" in text
    assert "# 50 and 200 where there are twice as many" in text


@pytest.mark.parametrize(("low", "high", "likelihood"), [(0, 1, "Bernoulli"), (-5, 90, "Gaussian")])
def test_an_array_is_scaled_unless_its_values_are_shares(low, high, likelihood):
    np.save("x.npy", np.random.default_rng(0).uniform(low, high, (90, 5)).astype(np.float32))
    np.save("y.npy", np.arange(90) % 3)
    assert init("--data", "x.npy", "--target", "y.npy") == 0
    settings, _, experiment = accepted()
    assert settings["data"]["init_args"].get("transform") == (None if likelihood == "Bernoulli" else "standardize")
    assert settings["layers"][0]["init_args"]["likelihood"] == likelihood
    assert experiment.data.num_classes == 3


@pytest.mark.parametrize(("sizes", "expected"), [([8], None), ([8, 12], 32)])
def test_a_folder_of_pictures_is_scaled_if_they_differ(sizes, expected):
    pictures(Path("pictures"), sizes)
    Path("pictures", "labels.csv").write_text("a,b\n1,2\n")
    assert init("--data", "pictures") == 0
    settings, _, experiment = accepted()
    assert settings["data"]["class_path"] == "ImageFolder"
    assert settings["data"]["init_args"].get("size") == expected
    assert experiment.data.num_classes == 2


def test_a_data_set_with_a_name_needs_no_file():
    assert init("--data", "Digits") == 0
    settings, _, _ = accepted()
    assert settings["data"] == "Digits"
    assert settings["layers"][0]["init_args"]["likelihood"] == "Bernoulli"


WRONG = {
    "--data nope.csv": "--data names nope.csv, which is no file, no folder and none of Digits, MNIST",
    "--data Digits --target y": "--target y is for tables and arrays, but Digits has labels of its own. Leave it",
    "--data birds.csv --target age": "birds.csv has no column 'age'. It has species, island,",
    "--data notes.pdf": "notes.pdf is nothing that a source reads.",
    "--data sheet.xlsx": "No source reads .xlsx files. Save it as .csv or .parquet",
    "--data empty": "empty is nothing that a source reads. Name a folder that holds tables or pictures",
    "--target y": "Usage: aepretrain init --data PATH",
}


@pytest.mark.parametrize("words", WRONG)
def test_data_that_no_config_can_be_written_for_are_refused(words, capsys):
    shutil.copy(PENGUINS, "birds.csv")
    for name in ("notes.pdf", "sheet.xlsx"):
        Path(name).touch()
    Path("empty").mkdir()
    assert init(*words.split()) in (2, 3)
    assert WRONG[words] in said(capsys)
    assert not Path("x.yaml").exists()


def test_a_config_is_never_replaced(capsys):
    Path("x.yaml").write_text("kept")
    assert init("--data", "Digits") == 2
    assert "x.yaml exists, and is not replaced" in said(capsys)
    assert main(["init", "--data", "Digits", "--out", "x.json"]) == 2
    assert "--out must end in .yaml, but is x.json" in said(capsys)
    assert Path("x.yaml").read_text() == "kept"


def test_list_names_layers_sources_and_configs_with_their_first_lines(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["list"]) == 0
    shown = said(capsys)
    for words in ("DenoisingAutoencoder", "Table A table in a CSV or Parquet file", "digits.yaml Two denoising layers"):
        assert words in shown
    assert main(["list", "a", "b"]) == 2
