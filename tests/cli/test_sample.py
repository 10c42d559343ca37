"""sample writes new items, reconstructions and ways between rows: pictures, arrays, and rows of a table."""

import csv
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from aepretrain import Digits, VariationalAutoencoder, load_autoencoder
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.cli.main import main
from aepretrain.cli.run_data import raw_validation_rows
from aepretrain.parts.noise import Noise
from tests.cli.test_table_run import config as table_config
from tests.support.tables import save, write_config


def fit(folder, layers, **changes):
    path = folder / "config.yaml"
    settings = {"data": "Digits", "layers": layers, "pretrain": {"epochs": 1}, "finetune": {"epochs": 0}}
    path.write_text(yaml.safe_dump({**settings, "report": False, "loggers": [], **changes}))
    assert main(["fit", "--config", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def layer(name, features, **arguments):
    coder = {"class_path": "Dense", "init_args": {"features": features}}
    return {"class_path": f"{name}Autoencoder", "init_args": {"coder": coder, "likelihood": "Bernoulli", **arguments}}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A variational run on pictures with a code of two values."""
    return fit(tmp_path_factory.mktemp("vae"), [layer("Variational", 2)])


@pytest.fixture(scope="module")
def walking(tmp_path_factory):
    """A stack on pictures with a denoising layer at the input."""
    return fit(tmp_path_factory.mktemp("walk"), [layer("Denoising", 8), layer("Plain", 4)])


def sample(run, out, *words):
    return main(["sample", str(run), "--out", str(out), *map(str, words)])


def lines(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_new_pictures_are_decoded_draws_of_the_prior_and_lie_beside_their_mosaic(digits, tmp_path):
    assert sample(digits, tmp_path / "new.png", "--count", 6, "--seed", 4) == 0
    with np.load(tmp_path / "new.npz") as found:
        items, codes = torch.from_numpy(found["items"]), torch.from_numpy(found["codes"])
    assert torch.equal(codes, torch.randn(6, 2, generator=torch.Generator().manual_seed(4)))
    expected = load_autoencoder(digits / "encoder").decode(codes)
    torch.testing.assert_close(items, expected)
    assert items.shape == (6, 1, 8, 8)
    assert 1 < items.max() <= 16  # the pixels of the source, not scaled ones
    with Image.open(tmp_path / "new.png") as picture:
        assert picture.size[0] > 100


def test_the_same_seed_gives_the_same_files_and_another_one_others(digits, walking, tmp_path):
    for run, ending in ((digits, "npy"), (walking, "png")):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            assert sample(run, tmp_path / f"{name}.{ending}", "--count", 4, "--steps", 2, "--seed", seed) == 0
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b
        assert a != c
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert np.array_equal(a["items"], b["items"])


def test_values_are_drawn_if_asked_for(digits, tmp_path):
    assert sample(digits, tmp_path / "drawn.npy", "--count", 4, "--draw") == 0
    assert set(np.unique(np.load(tmp_path / "drawn.npy"))) == {0.0, 16.0}


def test_a_denoising_stack_walks_from_rows_of_its_data(walking, tmp_path, capsys):
    assert sample(walking, tmp_path / "new.npz", "--count", 3, "--steps", 2) == 0
    assert "3 items after 2 steps of a chain from rows of data" in capsys.readouterr().out
    with np.load(tmp_path / "new.npz") as found:
        assert found["items"].shape == (3, 1, 8, 8)
        assert found["codes"].shape == (3, 4)


def test_a_manifold_is_a_square_of_pictures(digits, tmp_path, capsys):
    assert sample(digits, tmp_path / "manifold.png", "--manifold", "--count", 9) == 0
    with np.load(tmp_path / "manifold.npz") as found:
        assert found["codes"].shape == (9, 2)
        assert found["codes"][4].tolist() == pytest.approx([0, 0], abs=1e-6)
    capsys.readouterr()
    assert sample(digits, tmp_path / "m.png", "--manifold", "--count", 10) == 2
    assert "--manifold is a square, but --count is 10. Take 9." in lines(capsys)


def test_the_way_between_two_rows_begins_and_ends_at_their_reconstructions(digits, tmp_path, capsys):
    assert sample(digits, tmp_path / "way.npz", "--interpolate", 3, 5, "--count", 4) == 0
    rows = raw_validation_rows(FinishedRun(digits)).x[[3, 5]]
    expected = load_autoencoder(digits / "encoder").reconstruct(rows).detach().numpy()
    with np.load(tmp_path / "way.npz") as found:
        assert len(found["items"]) == 4
        np.testing.assert_allclose(found["items"][[0, -1]], expected, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert sample(digits, tmp_path / "way.npz", "--interpolate", 3, 99_999) == 2
    assert "--interpolate takes two rows out of 0 to" in lines(capsys)


def test_rows_are_written_beside_their_reconstructions(digits, tmp_path):
    assert sample(digits, tmp_path / "rows.png", "--reconstruct", 5) == 0
    rows = raw_validation_rows(FinishedRun(digits)).x[:5]
    with np.load(tmp_path / "rows.npz") as found:
        np.testing.assert_allclose(found["original"], rows, atol=1e-5)
        expected = load_autoencoder(digits / "encoder").reconstruct(rows).detach().numpy()
        np.testing.assert_allclose(found["reconstructed"], expected, rtol=1e-4, atol=1e-4)


def test_rows_of_a_file_are_taken_in_place_of_the_data_of_the_run(tmp_path, capsys):
    save(tmp_path)
    path = write_config(tmp_path, finetune={"epochs": 0}, pretrain={"epochs": 1})
    assert main(["fit", "--config", str(path), "--out", str(tmp_path / "run")]) == 0
    assert sample(tmp_path / "run", tmp_path / "a.csv", "--reconstruct", 3, "--data", tmp_path / "x.npy") == 0
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert rows[0][:2] == ["original_0", "original_1"]
    x = np.load(tmp_path / "x.npy")[:3]
    np.testing.assert_allclose(np.array([row[:5] for row in rows[1:]], float), x, rtol=1e-5)
    (tmp_path / "x.npy").rename(tmp_path / "gone.npy")
    capsys.readouterr()
    assert sample(tmp_path / "run", tmp_path / "b.csv", "--reconstruct", 3) == 3
    assert "Or name other rows by --data PATH." in lines(capsys)


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """A variational run on a table of numbers, categories and answers with missing values."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("table")
    coder = {"class_path": "Dense", "init_args": {"features": 2, "hidden": [8], "activation": "relu"}}
    layers = [{"class_path": "VariationalAutoencoder", "init_args": {"coder": coder}}]
    path = table_config(folder, layers=layers, finetune={"epochs": 0}, pretrain={"epochs": 20})
    assert main(["fit", "--config", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_likelihood_of_test_data_is_measured_with_the_draws_asked_for(digits, walking, capsys, monkeypatch):
    capsys.readouterr()
    # The figures at the end of training take draws of their own, the number in the config: here a second likelihood.
    monkeypatch.setattr(VariationalAutoencoder, "closing_figures", None)
    assert main(["evaluate", str(digits), "--nll-samples", "20"]) == 0
    words = capsys.readouterr().out
    layer, noise = next(iter(FinishedRun(digits).stack)), Noise(torch.Generator().manual_seed(0))
    x = Digits().splits(0).test.x[:]
    nll = -layer.log_likelihood(x, 20, noise)
    error = nll.std() / len(x) ** 0.5
    assert f"NLL {nll.mean():.2f} ± {error:.2f} nats per example over {len(x):,} rows (20 importance samples)" in words
    active = (layer.posterior(x)[0].var(dim=0, correction=0) > 0.01).sum()
    assert f"active units {active} of 2" in words
    assert main(["evaluate", str(digits), "--nll-samples", "0"]) == 2
    assert main(["evaluate", str(walking), "--nll-samples", "20"]) == 2
    assert "is 00-denoising. Leave it out." in lines(capsys)


@pytest.mark.parametrize("words", [(), ("--draw",)])
def test_rows_of_a_table_come_in_its_own_columns(birds, tmp_path, words):
    assert sample(birds, tmp_path / "new.csv", "--count", 30, *words) == 0
    rows = list(csv.DictReader((tmp_path / "new.csv").read_text().splitlines()))
    assert len(rows) == 30
    assert list(rows[0]) == ["mass", "island", "fed"]
    assert {row["island"] for row in rows} <= {"Biscoe", "Dream", "Torgersen", "other"}
    assert {row["fed"] for row in rows} <= {"no", "yes", "other"}
    assert all(row["mass"] == "" or 0 < float(row["mass"]) < 10_000 for row in rows)
    assert sample(birds, tmp_path / "again.csv", "--reconstruct", 4) == 0
    header = (tmp_path / "again.csv").read_text().splitlines()[0]
    assert header.startswith("original_mass,original_island,original_fed,reconstructed_mass")


def test_rows_that_are_written_can_be_read_again(birds, tmp_path):
    assert sample(birds, tmp_path / "new.csv", "--count", 12) == 0
    assert sample(birds, tmp_path / "new.npz", "--count", 12) == 0
    assert sample(birds, tmp_path / "again.npz", "--reconstruct", 12, "--data", tmp_path / "new.csv") == 0
    with np.load(tmp_path / "new.npz") as new, np.load(tmp_path / "again.npz") as again:
        np.testing.assert_allclose(again["original"], new["items"], rtol=1e-4)


@pytest.mark.parametrize(
    ("run", "words", "message"),
    [
        ("digits", ["new.txt"], "--out must end in"),
        ("birds", ["new.png"], "a .png shows pictures and windows, but the items of this run are rows of a table"),
        ("digits", ["new.npz", "--manifold", "--reconstruct", "3"], "--manifold and --reconstruct are two commands"),
        ("digits", ["new.npz", "--count", "0"], "--count must be at least 1, but is 0"),
        ("digits", ["new.npz", "--reconstruct", "0"], "--reconstruct must be at least 1, but is 0"),
        ("digits", ["new.npz", "--reconstruct", "3", "--count", "2"], "Leave --count out"),
        ("digits", ["new.npz", "--interpolate", "1", "2", "--count", "1"], "needs --count of at least 2"),
        ("digits", ["new.npz", "--interpolate", "1"], "Usage: aepretrain sample RUN --out FILE"),
        ("walking", ["new.npz", "--manifold"], "the last layer is 01-plain"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, words, message, request, tmp_path, capsys):
    folder, out = request.getfixturevalue(run), tmp_path / words[0]
    capsys.readouterr()
    assert sample(folder, out, *words[1:]) == 2
    answer = capsys.readouterr().err
    assert message in " ".join(answer.split())
    assert not list(tmp_path.iterdir())


def test_weights_of_another_layer_are_refused(digits, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(digits, folder)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("features: 2", "features: 3"))
    assert sample(folder, tmp_path / "new.npz") == 5
    assert "the weights of 00-variational do not fit the config" in lines(capsys)
