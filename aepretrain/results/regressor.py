"""Metrics of a regressor, and the result of its training."""

from dataclasses import dataclass

from aepretrain.results.head import HeadResult
from aepretrain.results.metric import METRICS
from aepretrain.results.records import check_range


@dataclass(frozen=True)
class RegressionMeasurement:
    """Metrics of a regressor on examples with real targets.

    Args:
        r2: Share of the targets' variance that predictions explain; 0 is as good as their mean, and below is worse.
        rmse: Root mean squared error, in units of the target.
        mae: Mean absolute error, in units of the target.
        loss: Half the squared error of the scaled target, which training minimizes.
        examples: Number of examples N.
        sampling_error: Standard error of R² due to the finite number of examples; NaN if it is not defined.

    Example:
        >>> found = RegressionMeasurement(r2=0.45, rmse=55.1, mae=44.0, loss=0.28, examples=89, sampling_error=0.06)
        >>> f"{found.r2:.2f} on {found.examples}"
        '0.45 on 89'
    """

    r2: float
    rmse: float
    mae: float
    loss: float
    examples: int
    sampling_error: float

    def __post_init__(self) -> None:
        METRICS["r2"].check(self, "r2")
        check_range(self, "rmse", "mae", "loss", "sampling_error")
        check_range(self, "examples", least=1)


@dataclass(frozen=True)
class RegressorResult(HeadResult):
    """The result of fine-tuning with real targets: ``regressor`` in ``results.json``.

    Args:
        validation: Metrics of the kept epoch on validation data, on which it was chosen.
        test: Metrics of the kept epoch on test data, evaluated once.

    Example:
        >>> from aepretrain.results.records import from_plain
        >>> measured = {"r2": 0.5, "rmse": 1.5, "mae": 1.0, "loss": 0.3, "examples": 9, "sampling_error": 0.1}
        >>> values = {"validation": measured, "test": measured, "weights_arrived": True, "frozen_encoder": False,
        ...           "epochs": 3, "kept_epoch": 2, "steps": 12, "seconds": 0.2}
        >>> from_plain(RegressorResult, values).test.r2
        0.5
    """

    validation: RegressionMeasurement
    test: RegressionMeasurement
