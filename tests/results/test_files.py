"""Files of earlier versions, which ``earlier/`` holds, are read and written as they were; a damaged one is one line."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aepretrain import ComparisonResult, RunResult, StorageError
from aepretrain.results.cell import CellResult, read_rows, write_rows
from aepretrain.results.classifier import PerClass
from aepretrain.results.comparison import ArmResult
from aepretrain.results.predictions import Predictions
from aepretrain.results.row_errors import RowErrors
from aepretrain.results.stage import StageLosses

EARLIER = Path(__file__).parent / "earlier"
FILES = {
    "run.json": RunResult,
    "cell.json": RunResult,
    "patterns.json": RunResult,
    "summary.json": ComparisonResult,
    "row.json": CellResult,
    "regression-run.json": RunResult,
    "regression-summary.json": ComparisonResult,
    "regression-row.json": CellResult,
    "reconstruction-run.json": RunResult,
    "reconstruction-summary.json": ComparisonResult,
    "reconstruction-row.json": CellResult,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_an_earlier_version_is_written_as_it_was(name, tmp_path):
    FILES[name].read(EARLIER / name).write(tmp_path / name)
    assert json.loads((tmp_path / name).read_text()) == json.loads((EARLIER / name).read_text())


def test_a_run_has_its_stages_its_classifier_and_what_it_was_found_with():
    found = RunResult.read(EARLIER / "run.json")
    text = json.loads((EARLIER / "run.json").read_text())
    (stage,) = found.stages
    assert (stage.stage, stage.variant, stage.in_shape, stage.code_shape) == ("00-denoising", "denoising", (6,), (4,))
    assert stage.losses == StageLosses(**text["stages"][0]["losses"])
    assert stage.diagnostics == text["stages"][0]["diagnostics"]
    assert found.classifier.validation.accuracy == text["classifier"]["validation"]["accuracy"]
    assert found.classifier.test.per_class == PerClass(**text["classifier"]["test"]["per_class"])
    assert found.classifier.weights_arrived is True
    assert (found.data.name, found.data.classes, found.seed, found.device) == ("Arrays", 2, 0, "cpu")
    assert (found.warnings, found.patterns, found.hyperparameters) == ((), None, None)


def test_a_cell_has_no_stages_and_its_settings_and_patterns_have_answers():
    cell = RunResult.read(EARLIER / "cell.json")
    assert (cell.stages, cell.warnings, cell.hyperparameters) == ((), None, {})
    patterns = RunResult.read(EARLIER / "patterns.json")
    assert patterns.classifier is None
    assert [pattern.pattern for pattern in patterns.patterns] == [0, 1, 2]


def test_with_one_seed_there_is_no_spread_and_no_interval():
    budget, _ = ComparisonResult.read(EARLIER / "summary.json").budgets
    assert budget.labels == 20
    assert math.isnan(budget.arms["random"].std)
    assert all(map(math.isnan, budget.differences["pretrained - random"].interval))
    assert budget.verdict.startswith("cannot tell at 20 labels")


def test_rows_are_read_and_written_as_they_were(tmp_path):
    rows = read_rows(EARLIER / "results.csv")
    write_rows(tmp_path / "results.csv", rows)
    assert (tmp_path / "results.csv").read_bytes() == (EARLIER / "results.csv").read_bytes()
    assert [row.labels for row in rows] == [20, 20, 20, "all", "all", "all"]
    knn = rows[2]
    assert (knn.arm, knn.seed, knn.epochs, knn.steps) == ("knn", 0, None, None)
    assert replace(CellResult.read(EARLIER / "row.json"), hyperparameters=knn.hyperparameters) == knn


@pytest.mark.parametrize("settings", [{}, {"a.b": 1}, {"rate": 0.1, "budget": "3x"}, {"sizes": [1, 2], "c": "x=y"}])
def test_settings_in_a_row_are_the_same_words_when_they_are_read(settings, tmp_path):
    row = CellResult("random", 1, "all", 0.5, 0.25, 3, 12, 0.5, settings)
    write_rows(tmp_path / "results.csv", [row])
    (found,) = read_rows(tmp_path / "results.csv")
    assert found.settings == row.settings
    assert found.hyperparameters == {name: str(value) for name, value in settings.items()}


def without(values, key):
    """The values without a key such as ``classifier.test.error``; a number is a place in a list."""
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    place = values
    for part in path:
        place = place[part]
    del place[last]
    return values


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("run.json", "stages", "stages is missing"),
        ("run.json", "stages.0.losses.train", r"stages\[0\].losses.train is missing"),
        ("run.json", "classifier.test.error", "classifier.test.error is missing"),
        ("run.json", "data.classes", "data.classes is missing"),
        ("patterns.json", "patterns.1.code", r"patterns\[1\].code is missing"),
        ("summary.json", "budgets.1.arms.random.mean", r"budgets\[1\].arms.random.mean is missing"),
        ("summary.json", "budgets.0.best", r"budgets\[0\].best is missing"),
        ("row.json", "test_accuracy", "test_accuracy is missing"),
    ],
)
def test_an_incomplete_file_is_one_line_that_names_file_and_key(name, key, words, tmp_path):
    (tmp_path / name).write_text(json.dumps(without(json.loads((EARLIER / name).read_text()), key)))
    with pytest.raises(StorageError, match=f"{name} cannot be read: {words}") as raised:
        FILES[name].read(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["stages.0.skipped_steps", "classifier.skipped_steps", "warnings"])
def test_what_a_run_did_not_count_yet_is_none_or_zero(key, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(without(json.loads((EARLIER / "run.json").read_text()), key)))
    assert RunResult.read(tmp_path / "run.json").stages[0].skipped_steps == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "arm is missing"),
        ("arm,seed,labels\nrandom,0,20\n", "validation_accuracy is missing"),
        ("arm,seed,labels,validation_accuracy,test_accuracy\nrandom,x,20,0.5,0.5\n", "seed must be a whole number"),
        ("arm,seed,labels,validation_accuracy,test_accuracy\nrandom,0,some,0.5,0.5\n", "labels must be 'all'"),
        ("arm,seed,labels,validation_accuracy,test_accuracy\nrandom,0,20,0.5,high\n", "test_accuracy must be a number"),
        (
            "arm,seed,labels,validation_accuracy,test_accuracy,hyperparameters\nknn,0,20,0.5,0.5,3\n",
            "hyperparameters must be a group",
        ),
    ],
)
def test_rows_that_are_not_of_a_comparison_are_one_line(content, words, tmp_path):
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(StorageError, match=rf"results\.csv cannot be read: .*{words}") as raised:
        read_rows(tmp_path / "results.csv")
    assert "\n" not in str(raised.value)


def test_a_comparison_of_reconstructions_has_a_result_in_nats_at_every_budget():
    found = ComparisonResult.read(EARLIER / "reconstruction-summary.json")
    assert [each.metric for each in (found, *found.also)] == ["squared_error", "nats"]
    text = json.loads((EARLIER / "reconstruction-summary.json").read_text())
    nats = text["budgets"][0]["also"]["nats"]
    (budget,) = found.also[0].budgets
    assert budget.verdict == nats["verdict"]
    assert {arm: each.mean for arm, each in budget.arms.items()} == {
        arm: each["mean"] for arm, each in nats["arms"].items()
    }
    assert found.also[0].also == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"also": None}, "also.nats is missing"),
        ({"arms": {"pca": ArmResult(-1.0, 0.1, 0.1, 3)}, "best": "pca"}, "mean must be >= 0, but is -1.0"),
    ],
)
def test_a_comparison_of_reconstructions_without_nats_or_with_negative_errors_is_refused(change, words):
    found = ComparisonResult.read(EARLIER / "reconstruction-summary.json")
    with pytest.raises(ValueError, match=words):
        replace(found, budgets=(replace(found.budgets[0], **change),))


@pytest.mark.parametrize("kind", [Predictions, RowErrors])
def test_damaged_values_of_a_result_name_the_folder_and_not_the_report_as_the_way_out(kind, tmp_path):
    (tmp_path / kind.file).write_bytes(b"PK")
    with pytest.raises(StorageError, match=rf"{kind.file} cannot be read: .*\. Remove its folder to run again\.$"):
        kind.read(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"targets": [1.0]}, "it lacks predicted"),
        ({"targets": [1.0, 2.0], "predicted": [1.0]}, "one value per example"),
        ({"targets": [1.0], "predicted": [math.nan]}, "predicted must be finite real numbers"),
        ({"targets": [1j], "predicted": [1.0]}, "targets must be finite real numbers"),
    ],
)
def test_predictions_that_are_none_are_refused(arrays, reason, tmp_path):
    np.savez(tmp_path / "predictions.npz", **arrays)
    with pytest.raises(StorageError, match=f"predictions.npz cannot be read: .*{reason}.*Remove its folder"):
        Predictions.read(tmp_path)
