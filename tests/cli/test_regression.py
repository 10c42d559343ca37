"""A table with a real target goes from a config to R², to a report, to predicted values and to a comparison."""

import csv
import json
import re

import numpy as np
import pytest
import yaml
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from aepretrain import RunResult
from aepretrain.cli.main import main
from aepretrain.results.predictions import Predictions
from tests.support.tables import write_config

N = 160
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(N, 5)).astype(np.float32)
Y = 300 + 40 * X @ np.array([2.0, -1.0, 0.5, 0.0, 1.0]) + 20 * GENERATOR.normal(size=N)
FAST = {"optimizer": {"class_path": "Adam", "init_args": {"lr": 0.02}}}


def config(folder, y=Y, **changes):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", y)
    return str(write_config(folder, **{"classifier": FAST, "finetune": {"epochs": 40, "batch_size": 16}, **changes}))


def lines(capsys):
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run with its report, and the folder of its data."""
    folder = tmp_path_factory.mktemp("regression")
    words = ["fit", "--config", config(folder, report=True), "--out", str(folder / "run")]
    assert main(words) == 0
    return folder / "run", folder


def test_predicted_values_are_exported_and_the_cost_of_8_bits_is_in_r2(finished, tmp_path, capsys):
    run, _ = finished
    words = ["export", str(run), "--head", "--with-preprocessing", "--out", str(tmp_path / "head.onnx")]
    assert main(words) == 0
    assert main([*words[:-1], str(tmp_path / "small.onnx"), "--quantize"]) == 0
    shown = capsys.readouterr().out
    assert "value as onnx" in shown
    cost = re.search(r"cost of 8 bits: R² (\S+) instead of (\S+) on \d+ validation rows", shown)
    assert float(cost[2]) == pytest.approx(RunResult.read(run / "results.json").regressor.validation.r2, abs=1e-4)
    assert float(cost[1]) == pytest.approx(float(cost[2]), abs=0.05)


def test_the_results_are_those_of_scikit_learn_on_the_saved_predictions(finished):
    run, _ = finished
    found, predicted = RunResult.read(run / "results.json"), Predictions.read(run / "stages" / "regressor")
    assert found.classifier is None
    assert (found.data.classes, found.data.targets) == (None, 1)
    assert found.head is found.regressor
    assert found.regressor.weights_arrived is True
    test = found.regressor.test
    assert test.examples == len(predicted.targets) == 40
    assert test.r2 == pytest.approx(r2_score(predicted.targets, predicted.predicted), rel=1e-9)
    assert test.rmse == pytest.approx(root_mean_squared_error(predicted.targets, predicted.predicted), rel=1e-9)
    assert test.mae == pytest.approx(mean_absolute_error(predicted.targets, predicted.predicted), rel=1e-9)
    assert test.r2 > 0.5


def test_the_curves_of_the_head_are_logged_under_its_stage(finished):
    rows = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    names = {row["name"] for row in rows if row["stage"] == "regressor"}
    assert {"train/loss", "val/loss", "val/r2", "val/rmse", "val/mae"} <= names


def test_the_report_shows_predictions_instead_of_confusion(finished):
    page = (finished[0] / "report.html").read_text()
    for words in ("Regressor", "test R²", "RMSE", "Predicted and true values on test data", "Right predictions are"):
        assert words in page, words
    assert "Confusion" not in page
    assert "could not be drawn" not in page
    assert "quarter of their target" in page


def test_evaluate_measures_the_same_again(finished, capsys):
    run, _ = finished
    assert main(["evaluate", str(run)]) == 0
    found, said = RunResult.read(run / "results.json").regressor, lines(capsys)
    for part in (found.validation, found.test):
        assert f"{part.r2:.4f}" in said
        assert f"{part.rmse:#.5g} {part.mae:#.5g}" in said
    assert "0 is as good as the mean" in said


def test_evaluate_refuses_a_target_of_another_type(finished, capsys):
    run, _ = finished
    text = (run / "config.yaml").read_text()
    changed = text.replace("target_type: auto", "target_type: class")
    assert changed != text
    (run / "config.yaml").write_text(changed)
    try:
        assert main(["evaluate", str(run)]) == 3
    finally:
        (run / "config.yaml").write_text(text)
    assert "Set data.target_type real" in lines(capsys)


@pytest.mark.parametrize("ending", ["csv", "npz", "npy"])
def test_predict_writes_a_column_of_values(ending, finished, tmp_path, capsys):
    run, folder = finished
    out = tmp_path / f"values.{ending}"
    assert main(["predict", str(run), "--data", str(folder / "x.npy"), "--out", str(out)]) == 0
    if ending == "csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert list(rows[0]) == ["value"]
        values = np.array([float(row["value"]) for row in rows])
    else:
        values = np.load(out) if ending == "npy" else np.load(out)["value"]
    assert r2_score(Y, values) > 0.5
    known = Predictions.read(run / "stages" / "regressor")
    order = [int(np.abs(Y - target).argmin()) for target in known.targets]
    np.testing.assert_allclose(values[order], known.predicted, rtol=1e-5)


def test_encode_adds_values_and_says_what_belongs_to_classes(finished, tmp_path, capsys):
    run, folder = finished
    words = ["encode", str(run), "--data", str(folder / "x.npy"), "--out", str(tmp_path / "codes.npz"), "--add"]
    assert main([*words, "value,error"]) == 0
    assert {"codes", "value", "error"} == set(np.load(tmp_path / "codes.npz").files)
    assert main([*words, "probability"]) == 2
    assert "probability is not known of a real target" in lines(capsys)
    assert main([*words, "error", "--encoder", "fine-tuned"]) == 2


def test_validate_names_the_head(finished, capsys):
    assert main(["validate", "--config", str(finished[1] / "config.yaml")]) == 0
    said = lines(capsys)
    assert "regressor 5 > 1 value" in said
    assert "the target is real, from" in said


REFUSED = {
    "--classifier.label_smoothing=0.1": "classifier.label_smoothing is for classes, but MappedArray has a real target.",
    "--classifier.class_weights=balanced": "classifier.class_weights is for classes, but",
    "--finetune.monitor=accuracy": "finetune.monitor must be one of loss, r2, rmse, mae, but got 'accuracy'",
    "--compare.baselines=[logistic]": "compare.baselines for a real target are ridge, knn, boosting, mean, but got",
    "--data.unlabelled=more.npy": "pretraining alone by --data.more_inputs more.npy",
    "--data.labels=1": "1 labels do not tell a spread of real targets",
    "--data.labels=999": "training examples with a target, but data.labels asks for 999",
}


@pytest.mark.parametrize("word", REFUSED)
def test_settings_that_do_not_fit_a_real_target_are_refused(word, finished, tmp_path, capsys):
    verb = "compare" if "compare" in word else "fit"
    words = [verb, "--config", str(finished[1] / "config.yaml"), "--out", str(tmp_path / "run"), word]
    assert main(words) in (2, 3)
    assert REFUSED[word] in lines(capsys)


@pytest.mark.parametrize("options", [{"freeze_encoder": True}, {"freeze_layers": 1, "dropout": 0.1, "max_norm": 3.0}])
def test_a_regressor_takes_the_options_of_a_classifier(options, tmp_path):
    scheduler = {"scheduler": {"class_path": "ReduceLROnPlateau", "init_args": {"patience": 1}}}
    settings = {**FAST, **options, **scheduler, "weight_decay": 0.01, "layer_lr_decay": 0.9}
    file = config(tmp_path, classifier=settings, finetune={"epochs": 3, "monitor": "mae"}, pretrain={"epochs": 1})
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run")]) == 0
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["classifier"]["scheduler"]["init_args"]["mode"] == "min"
    found = RunResult.read(tmp_path / "run" / "results.json").regressor
    assert found.frozen_encoder == options.get("freeze_encoder", False)


def test_rows_without_a_target_are_for_pretraining_alone(tmp_path):
    y = Y.copy()
    y[::2] = np.nan
    data = {"x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "validation": 20, "test": 20}
    file = config(tmp_path, y, data={"class_path": "MappedArray", "init_args": data}, pretrain={"epochs": 1})
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run")]) == 0
    found = RunResult.read(tmp_path / "run" / "results.json").data
    assert (found.unlabelled, found.labelled) == (40 + N // 2, 40)
