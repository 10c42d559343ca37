"""How figures are written for people: the terminal and the report show the same text for the same figure."""

import math
from collections.abc import Callable, Mapping, Sequence

from aepretrain.results.classifier import Measurement
from aepretrain.results.comparison import BudgetResult
from aepretrain.results.metric import METRICS, Metric
from aepretrain.results.regressor import RegressionMeasurement
from aepretrain.results.stage import StageResult

LARGE = 1e6
"""Absolute values from here on are written with an exponent."""
LONGEST_NAME = 40
"""Maximum number of characters of a name of the user's data in a table."""
MAX_CLASSES = 20
"""Largest number of classes that are shown one by one."""
R2_WORDS = (
    "R² is the share of the target's variance that predictions explain: 0 is as good as the mean, and below is worse."
)
NAMES = {
    "kl": "KL (nats)",
    "l0": "L0",
    "nll": "NLL (nats)",
    "free_energy": "free energy (nats)",
    "free_energy_gap": "gap to training rows (nats)",
    "free_energy_gap_error": "standard error of the gap",
    "jacobian_norm": "‖J‖",
}
"""Column names of diagnostics whose logged name does not read well."""


def number(value: float | None, form: str) -> str:
    """Format a figure; one that is not defined is a dash, and a very large one has an exponent.

    Example:
        >>> number(0.256, ".1%"), number(None, ".1%"), number(math.nan, ".1%"), number(-2.5e9, ".2f")
        ('25.6%', '-', '-', '-2.5e+09')
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{'.4g' if abs(value) >= LARGE else form}}"


def target_units(value: float | None) -> str:
    """Format an error in units of the target: five digits, zeros at the end included.

    Example:
        >>> target_units(63.18), target_units(61547.2)
        ('63.180', '61547')
    """
    return number(value, "#.5g").removesuffix(".")


def nats(value: float | None) -> str:
    """Format a loss: two decimals, and three digits of a loss that is smaller than one.

    Example:
        >>> nats(123.456), nats(0.00123456), nats(0.0)
        ('123.46', '0.00123', '0.00')
    """
    return number(value, ".3g" if value is not None and 0 < abs(value) < 1 else ".2f")


def shape(sizes: Sequence[int]) -> str:
    """Format a shape.

    Example:
        >>> shape((1, 8, 8))
        '1x8x8'
    """
    return "x".join(map(str, sizes))


STAGE_FIGURES: Mapping[str, Callable[[StageResult], str]] = {
    "epochs": lambda stage: str(stage.epochs),
    "kept epoch": lambda stage: str(stage.kept_epoch),
    "steps": lambda stage: f"{stage.steps:,}",
    "seconds": lambda stage: f"{stage.seconds:.1f}",
    "training": lambda stage: nats(stage.losses.train),
    "validation": lambda stage: nats(stage.losses.validation),
    "reconstruction": lambda stage: nats(stage.losses.reconstruction),
    "of the mean": lambda stage: nats(stage.diagnostics.get("mean_reconstruction") or math.nan),
    "active": lambda stage: number(stage.diagnostics.get("active_share"), ".1%"),
    "mean |h|": lambda stage: number(stage.diagnostics.get("mean_abs_code"), ".3f"),
    "dead": lambda stage: number(stage.diagnostics.get("dead_units"), ".0f"),
    "saturated": lambda stage: number(stage.diagnostics.get("saturated_units"), ".0f"),
    "informative": lambda stage: number(stage.diagnostics.get("informative_units"), ".0f"),
    "identity": lambda stage: number(stage.diagnostics.get("identity_score"), ".2f"),
}
"""The figures of a pretrained stage by column, but for the diagnostics that only some variants have."""
IN_COLUMNS = (
    "active_share", "mean_abs_code", "dead_units", "saturated_units", "informative_units", "identity_score",
    "mean_reconstruction",
)  # fmt: skip


def stage_table(stages: Sequence[StageResult], columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of stages: the named columns, then the diagnostics of the variants.

    Args:
        stages: The stages, one row each.
        columns: Keys of :data:`STAGE_FIGURES`.

    Example:
        >>> from aepretrain.results.stage import StageLosses
        >>> stage = StageResult(
        ...     stage="00-variational", variant="variational", in_shape=(64,), code_shape=(16,), epochs=2, kept_epoch=1,
        ...     steps=9, seconds=0.5, losses=StageLosses(4.0, 3.5, 3.5), diagnostics={"kl": 1.5},
        ... )
        >>> stage_table([stage], ["epochs", "dead"])
        (['epochs', 'dead', 'KL (nats)'], [['2', '-', '1.5']])
    """
    own = list(dict.fromkeys(name for stage in stages for name in stage.diagnostics if name not in IN_COLUMNS))
    rows = [
        [
            *(STAGE_FIGURES[column](stage) for column in columns),
            *(number(stage.diagnostics.get(name), ".4g") for name in own),
        ]
        for stage in stages
    ]
    return [*columns, *(NAMES.get(name, name.replace("_", " ")) for name in own)], rows


def measurement_table(splits: Mapping[str, Measurement]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of a classifier's metrics, one row per split."""
    columns = ["data", "examples", "accuracy", "error", "loss (nats)"]
    rows = [
        [name, f"{found.examples:,}", f"{found.accuracy:.2%}", f"{found.error:.2%}", number(found.loss, ".4f")]
        for name, found in splits.items()
    ]
    if all(found.balanced_accuracy is not None for found in splits.values()):
        columns.append("balanced accuracy")
        for row, found in zip(rows, splits.values(), strict=True):
            row.append(number(found.balanced_accuracy, ".2%"))
    return columns, rows


def regression_table(splits: Mapping[str, RegressionMeasurement]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of a regressor's metrics, one row per split."""
    columns = ["data", "examples", "R²", "sampling error", "RMSE", "MAE", "loss (nats)"]
    rows = [
        [
            name,
            f"{found.examples:,}",
            number(found.r2, ".4f"),
            number(found.sampling_error, ".4f"),
            target_units(found.rmse),
            target_units(found.mae),
            number(found.loss, ".4f"),
        ]
        for name, found in splits.items()
    ]
    return columns, rows


def recall_table(
    validation: Measurement, test: Measurement, names: Sequence[str] | None
) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of recall, a row per class; no rows for more than :data:`MAX_CLASSES` classes.

    Args:
        validation: Metrics on validation data.
        test: Metrics on test data.
        names: Names of the classes; ``None``: they have numbers only.
    """
    columns = ["class", "validation examples", "validation recall", "test examples", "test recall"]
    rows = [
        [class_name(k, names), *_count_and_recall(validation, k), *_count_and_recall(test, k)]
        for k in range(len(test.per_class.recall))
    ]
    return columns, rows if len(rows) <= MAX_CLASSES else []


def _count_and_recall(found: Measurement, k: int) -> tuple[str, str]:
    count = sum(found.confusion_matrix[k])
    return f"{count:,}", number(found.per_class.recall[k] if count else None, ".2%")


def class_name(k: int, names: Sequence[str] | None) -> str:
    """Number and name of a class; the name alone if it is a number, too.

    Example:
        >>> class_name(1, ["cat", "dog"]), class_name(1, ["10", "20"]), class_name(1, None)
        ('1 dog', '20', '1')
    """
    mark = class_mark(k, names)
    return mark if names is None or k >= len(names) or names[k] == mark else f"{mark} {short_name(names[k])}"


def class_mark(k: int, names: Sequence[str] | None) -> str:
    """A short mark of a class, for narrow places: its name if that is a number, else its number.

    Example:
        >>> class_mark(1, ["cat", "dog"]), class_mark(1, ["10", "20"]), class_mark(1, None)
        ('1', '20', '1')
    """
    return names[k] if names is not None and k < len(names) and names[k].lstrip("-").isdecimal() else str(k)


def short_name(name: str) -> str:
    r"""Shorten a name of the user's data to one line of at most :data:`LONGEST_NAME` printable characters.

    Example:
        >>> short_name("a\nb"), short_name("x" * 50)
        ('a b', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(name.split()))
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


ERRORS_TITLE = "test RMSE / MAE in units of the target: means over seeds"


def errors_table(budgets: Sequence[BudgetResult]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of RMSE and MAE, a row per arm and a column per label budget."""
    arms = dict.fromkeys(arm for budget in budgets for arm in budget.arms)
    found = [[budget.arms[arm] for budget in budgets] for arm in arms]
    cells = [[f"{target_units(each.rmse)} / {target_units(each.mae)}" for each in row] for row in found]
    return ["labels", *(str(budget.labels) for budget in budgets)], [
        [arm, *row] for arm, row in zip(arms, cells, strict=True)
    ]


def metric_value(value: float, metric: Metric, decimals: int = 2) -> str:
    """A value of a metric times its factor.

    Example:
        >>> metric_value(0.81234, METRICS["accuracy"]), metric_value(0.01234, METRICS["nats"])
        ('81.23', '0.012')
    """
    return number(metric.factor * value, metric.form(value, decimals))


def mean_and_spread(mean: float, std: float, metric: Metric = METRICS["accuracy"]) -> str:
    """Mean of a test metric and its standard deviation over seeds.

    Example:
        >>> mean_and_spread(0.81234, 0.0123), mean_and_spread(0.8, math.nan)
        ('81.23 ± 1.23', '80.00')
    """
    return metric_value(mean, metric) + ("" if math.isnan(std) else f" ± {metric_value(std, metric)}")


def sampling_error(budget: BudgetResult, metric: Metric = METRICS["accuracy"]) -> str:
    """The largest sampling error of the arms of a budget."""
    return f"± {metric_value(budget.sampling_error, metric, 1)}"


def interval(ends: tuple[float, float], metric: Metric = METRICS["accuracy"]) -> str:
    """An interval of a difference, in the unit of the metric.

    Example:
        >>> interval((-0.012, 0.034)), interval((math.nan, math.nan))
        ('[-1.20, 3.40]', '-')
    """
    return f"[{', '.join(metric_value(end, metric) for end in ends)}]" if all(map(math.isfinite, ends)) else "-"


def differences_table(
    budgets: Sequence[BudgetResult], metric: Metric = METRICS["accuracy"]
) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table of paired differences, a row per budget and pair of arms."""
    intervals = ("95% interval (Student)", "jointly over budgets", "95% interval (bootstrap)")
    columns = [metric.counted, "difference", "mean", *intervals, "seeds won"]
    rows = [
        [
            str(budget.labels),
            name,
            f"{'+' if found.mean >= 0 else ''}{metric_value(found.mean, metric)}",
            interval(found.interval, metric),
            "-" if found.joint is None else interval(found.joint, metric),
            interval(found.bootstrap, metric),
            f"{found.losses if metric.is_error else found.wins} of {found.pairs}",
        ]
        for budget in budgets
        for name, found in budget.differences.items()
    ]
    return columns, rows
