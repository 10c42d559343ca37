"""The metrics of a trained head, and the results with them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.console import format_duration
from aepretrain.data import DataModule
from aepretrain.finetuning.finetune import FineTuned
from aepretrain.heads import Head, Regressor
from aepretrain.results.classifier import Measurement
from aepretrain.results.findings import classifier_findings, regressor_findings
from aepretrain.results.predictions import Predictions
from aepretrain.results.regressor import RegressionMeasurement, RegressorResult
from aepretrain.results.run import RunResult


@dataclass(frozen=True)
class Measured:
    """The metrics of a head, and its predictions of real targets on test data.

    Args:
        validation: Metrics on validation data.
        test: Metrics on test data.
        predictions: Targets and predictions on test data; ``None`` for classes.
    """

    validation: Measurement | RegressionMeasurement
    test: Measurement | RegressionMeasurement
    predictions: Predictions | None = None

    @rank_zero_only
    def write(self, folder: Path) -> None:
        """Write the predictions into a folder, if there are any."""
        if self.predictions is not None:
            self.predictions.write(folder)


def measure(head: Head, data: DataModule, seed: int) -> Measured:
    """Measure a head on validation and test data, after epochs and settings are chosen. Reads the test set."""
    splits = data.splits(seed)
    x, y = splits.test.x[:], splits.test.y
    assert splits.validation.y is not None
    assert y is not None
    validation = head.measure(splits.validation.x[:], splits.validation.y)
    if head.predicts_classes:
        return Measured(validation, head.measure(x, y))
    predicted = head.predict(x)
    predictions = Predictions(y.double().numpy(), predicted[:, 0]) if predicted.shape[1] == 1 else None
    test = head.score(y, predicted) if isinstance(head, Regressor) else head.measure(x, y)
    return Measured(validation, test, predictions)


def with_head(
    results: RunResult, tuned: FineTuned, measured: Measured, class_names: Sequence[str] | None
) -> tuple[RunResult, list[str]]:
    """The results with those of a trained head, and what its training shows to be wrong, which is added to them."""
    found = tuned.result(measured.validation, measured.test)
    if isinstance(found, RegressorResult):
        findings = regressor_findings(found, tuned.record)
        results = replace(results, regressor=found)
    else:
        findings = classifier_findings(found, class_names, tuned.record)
        results = replace(results, classifier=found)
    return replace(results, warnings=(*(results.warnings or ()), *findings)), findings


def head_summary(results: RunResult) -> str:
    """A one-line summary of the head, for the end of its stage."""
    found = results.head
    assert found is not None
    name, form = ("regressor", "R² {0.r2:.3f}") if results.regressor else ("classifier", "error {0.error:.2%}")
    return (
        f"{name}  {found.epochs} epochs in {format_duration(found.seconds)}, epoch {found.kept_epoch} of 0 to "
        f"{found.epochs - 1} kept  "
        f"validation {form.format(found.validation)}  test {form.format(found.test)}"
    )
