"""Windows of one dimension are drawn as lines: by the report, in the folder of a stage, and by sample."""

import shutil

import numpy as np
import pytest
import torch
import yaml

import aepretrain as ae
from aepretrain.cli.main import main
from aepretrain.compare import Comparison, compare
from aepretrain.report.colours import LIGHT
from aepretrain.report.comparison_report import write_comparison_report
from aepretrain.report.epochs import epoch_pictures
from aepretrain.report.reconstructions import reconstructions
from aepretrain.report.run_report import write_run_report
from aepretrain.report.windows import are_windows, draw_windows
from aepretrain.results.run import RunResult
from tests.conftest import quicken_embeddings

LENGTH = 24
T = np.linspace(0, 1, LENGTH)
PHASES = np.random.default_rng(0).random(120)
X = (0.5 + 0.4 * np.sin(2 * np.pi * (T + PHASES[:, None]))).astype(np.float32)


def test_original_and_reconstruction_share_axes_with_a_line_each():
    lines = {"original": X[:6], "reconstructed": X[6:12]}
    figure = draw_windows(lines)
    assert len(figure.axes) == 6
    for number, axes in enumerate(figure.axes):
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        assert {name: list(y) for name, y in drawn.items()} == {name: list(x[number]) for name, x in lines.items()}
        assert axes.lines[0].get_color() == LIGHT.ink != axes.lines[1].get_color()
    assert [text.get_text() for text in figure.legends[0].texts] == ["original", "reconstructed"]


def test_corrupted_windows_are_faint_and_take_no_colour_of_the_others():
    figure = draw_windows({"original": X[:2], "corrupted": X[2:4], "reconstructed": X[4:6]})
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours == [LIGHT.ink, LIGHT.muted, LIGHT.series[0]]


def test_every_channel_has_a_row_of_axes():
    windows = np.random.default_rng(0).random((7, 3, 10))
    figure = draw_windows({"items": windows})
    assert len(figure.axes) == 3 * 4
    assert not figure.legends
    for place, axes in enumerate(figure.axes):
        channel, window = divmod(place, 4)
        assert list(axes.lines[0].get_ydata()) == list(windows[window, channel])
    assert [axes.get_title(loc="left") for axes in figure.axes[::4]] == ["channel 0", "channel 1", "channel 2"]


@pytest.mark.parametrize(
    ("in_shape", "columns", "expected"),
    [
        ((2, 60), None, True),
        ((4, 1), None, False),
        ((60,), None, True),
        ((15,), None, False),
        ((16,), [str(400 + k / 2) for k in range(16)], True),
        ((16,), [f"column {k}" for k in range(16)], False),
        ((1, 8, 8), None, False),
    ],
)
def test_windows_are_channels_of_steps_or_many_values_without_names(in_shape, columns, expected):
    assert are_windows(in_shape, columns) == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a denoising and a plain layer on windows, trained together."""
    folder = tmp_path_factory.mktemp("windows")
    np.save(folder / "x.npy", X)
    coders = [{"class_path": "Dense", "init_args": {"features": features}} for features in (32, 6)]
    config = {
        "data": {"class_path": "MappedArray", "init_args": {"x": str(folder / "x.npy")}},
        "layers": [
            {"class_path": f"{name}Autoencoder", "init_args": {"coder": coder, "likelihood": "Bernoulli"}}
            for name, coder in zip(("Denoising", "Plain"), coders, strict=True)
        ],
        "pretrain": {"epochs": 2, "unroll": 1, "picture_epochs": [1]}, "report": False, "loggers": [],
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(folder / "config.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def arrays_of(run, stage):
    with np.load(run / "stages" / stage / "samples.npz") as found:
        return dict(found)


@torch.no_grad()
def test_a_stage_on_the_data_keeps_windows_and_what_comes_back(run):
    first, whole = arrays_of(run, "00-denoising"), arrays_of(run, "unrolled")
    assert first["original"].shape == first["corrupted"].shape == first["reconstructed"].shape == (12, LENGTH)
    autoencoder = ae.load_autoencoder(run / "encoder")
    expected = autoencoder.reconstruct(torch.from_numpy(whole["original"]))
    np.testing.assert_allclose(whole["reconstructed"], expected, rtol=1e-4)
    assert "original" not in arrays_of(run, "01-plain")  # its inputs are codes
    for stage in ("00-denoising", "unrolled"):
        assert (run / "stages" / stage / "reconstructions.png").stat().st_size > 10_000


@pytest.mark.usefixtures("quick_embeddings")
def test_the_report_draws_them_as_lines(run):
    first = reconstructions(arrays_of(run, "00-denoising"))
    assert "<svg" in first
    assert "12 validation windows: original, corrupted, reconstructed" in first
    assert "The layer makes the reconstructed line from the corrupted line alone" in first
    (epochs,) = epoch_pictures(run)
    assert "original, after epoch 1, at the end" in epochs
    shutil.copytree(run, run.parent / "copy")
    report = write_run_report(run.parent / "copy").read_text()
    assert "12 validation windows of all layers: original, reconstructed" in report
    assert "The test errors of reconstruction are of test data, which were read once" in report
    found = RunResult.read(run / "results.json").reconstruction
    assert f"{found.test.squared_error:.3g}" in report
    assert "nats of PCA, 6 components" in report


def test_sample_draws_them_too(run, tmp_path, monkeypatch):
    drawn = []
    draw = lambda lines: drawn.append(lines) or draw_windows(lines)  # noqa: E731
    monkeypatch.setattr("aepretrain.cli.verbs.sample.draw_windows", draw)
    assert main(["sample", str(run), "--reconstruct", "5", "--out", str(tmp_path / "rows.png")]) == 0
    with np.load(tmp_path / "rows.npz") as found:
        assert found["original"].shape == found["reconstructed"].shape == (5, LENGTH)
        assert all(np.allclose(found[name], x) for name, x in drawn[0].items())
    assert main(["sample", str(run), "--count", "3", "--steps", "2", "--out", str(tmp_path / "new.png")]) == 0
    assert {name: x.shape for name, x in drawn[1].items()} == {"items": (3, LENGTH)}
    assert (tmp_path / "new.png").stat().st_size > 5_000


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A comparison of reconstructions of windows, with its report."""
    out = tmp_path_factory.mktemp("comparison")
    layers = [lambda s: ae.PlainAutoencoder(s, ae.Dense(8)), lambda s: ae.PlainAutoencoder(s, ae.Dense(3))]
    experiment = ae.Experiment(layers, ae.Arrays(X), pretrain=ae.Pretraining(1, 32, unroll=2), report=False)
    with pytest.MonkeyPatch.context() as patch:
        quicken_embeddings(patch)
        for module in ("report.comparison_report", "runs.artifacts"):
            patch.setattr(f"aepretrain.{module}.write_picture", lambda path, *_, **__: path.touch())
        compare(experiment, Comparison(arms=["pretrained", "random", "random-longer"], seeds=2), out)
        (out / "config.yaml").write_text("compare: {seeds: 2}\n")
        return write_comparison_report(out)


def test_the_report_of_a_comparison_shows_both_errors_and_what_comes_back_in_each_arm(comparison):
    report = comparison.read_text()
    for words in (
        "Squared error by examples",
        "Nats by examples",
        "Paired differences of test squared error",
        "Paired differences of test nats",
        "all examples, nats",
        "all examples, equal compute",
        "Below zero, pretraining is better.",
        "Validation loss, first and best epoch, mean over seeds: pretrained goes from",
        "Reconstructions of validation examples, of the first seed",
        "12 validation examples by arm: original, pretrained, random, random-longer",
        "pca (baseline)",
        "sampling error of one mean",
    ):
        assert words in report, words
    assert "could not be drawn" not in report
    pictures = {path.name for path in (comparison.parent / "pictures").glob("*.png")}
    assert {"squared_error-by-examples.png", "nats-by-examples.png", "differences-nats.png"} <= pictures


def test_more_lines_than_colours_are_drawn():
    lines = {f"epoch {k}": np.zeros((1, 20)) for k in range(14)}
    assert len(draw_windows(lines).axes[0].lines) == 14
