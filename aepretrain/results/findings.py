"""Likely problems that results show: one sentence each, with a remedy."""

import math
import re
from collections.abc import Mapping, Sequence

from aepretrain.results.classifier import ClassifierResult, Measurement
from aepretrain.results.head import HeadResult
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.regressor import RegressorResult
from aepretrain.results.stage import StageRecord, StageResult

Figures = Mapping[str, float | None]

MOST = 0.5
"""Dead or saturated units are a finding from this share of all units on."""
LEAST_GAIN = 0.01
"""A reconstruction has to beat the mean of the data by this share."""
COLLAPSED = 0.1
"""A KL divergence below this has collapsed, in nats per example."""
NEAR_CHANCE = 0.1
"""A balanced accuracy is near chance up to this share of the way from chance to 1."""
FALLING = 0.02
"""A loss still falls if the last tenth of the epochs brought this share of the loss of the mean of the data."""
FEW = 5
"""A class of fewer validation examples is not missed among the answers."""
NAMED = 3
FIGURE = re.compile(r"(?P<name>'[^']*'|\d\d-[a-z]+|layer \d+|seed\d+)|\d[\d.,]*(e[-+]?\d+)?")
"""Figures in a finding, and digits of names, which are none."""
UNEQUAL = (
    "Try finetune.monitor balanced_accuracy and classifier.class_weights balanced, more labels, or longer training."
)
EQUAL = "The classes are of like size: train longer, change the learning rate, or give more labels."
LIKE = 1.5
"""Classes are of like size if the largest has at most so many times the validation examples of the smallest."""
MEAN_LOSS = 0.5
"""About the loss of a regressor that always predicts the mean, whose squared error is the variance: 1 if scaled."""
SCALE = "Scale the inputs (data.transform standardize or minmax)"


def stage_findings(result: StageResult, record: StageRecord, *, may_scale: bool = True) -> list[str]:
    """What the training of one layer shows to be wrong.

    Args:
        result: What the training found.
        record: Its record, with the metrics of every epoch.
        may_scale: Whether the way out may be to scale the inputs: not if they are scaled already, or are codes.

    Example:
        >>> from aepretrain.results.stage import StageLosses
        >>> result = StageResult(
        ...     stage="00-plain", variant="plain", in_shape=(64,), code_shape=(16,), epochs=1, kept_epoch=0, steps=10,
        ...     seconds=0.5, losses=StageLosses(9.7, 8.8, 8.8), diagnostics={"dead_units": 12.0},
        ... )
        >>> stage_findings(result, StageRecord("00-plain", 1, 0, 10, 0.5, [{"val/reconstruction": 8.8}], "cpu", 1))
        ['00-plain: 12 of 16 units are dead: they are 0 for all examples. Lower the learning rate, use another \
activation, or fewer units.']
    """
    found, units = result.diagnostics, math.prod(result.code_shape)
    checks = (
        _constant(found, units, may_scale)
        or _mostly("dead", found, units, "they are 0 for all examples", may_scale)
        or _mostly(
            "saturated", found, units, "their values lie at an end of the range, where gradients vanish", may_scale
        ),
        _no_better_than_the_mean(result, record, may_scale) or _still_falling(result, record),
        _collapsed(found, units),
        _identity_not_defined(found),
    )
    return [f"{result.stage}: {sentence}" for sentence in checks if sentence]


def _constant(found: Figures, units: int, may_scale: bool) -> str | None:
    if found.get("informative_units") != 0 or "kl" in found:
        return None
    scale = f"{SCALE}, lower" if may_scale else "Lower"
    return (
        f"the code is almost the same for all examples: none of its {units} units varies. {scale} the learning rate, "
        "or weaken the penalty."
    )


def _mostly(kind: str, found: Figures, units: int, meaning: str, may_scale: bool) -> str | None:
    count = found.get(f"{kind}_units") or 0
    if count < MOST * units:
        return None
    way_out = {
        "dead": "Lower the learning rate, use another activation, or fewer units.",
        "saturated": f"{SCALE}, or lower the learning rate." if may_scale else "Lower the learning rate.",
    }
    return f"{count:.0f} of {units} units are {kind}: {meaning}. {way_out[kind]}"


def _no_better_than_the_mean(result: StageResult, record: StageRecord, may_scale: bool) -> str | None:
    reconstruction, mean = result.losses.reconstruction, result.diagnostics.get("mean_reconstruction")
    if mean is None or reconstruction < (1 - LEAST_GAIN) * mean:
        return None
    better = "hardly better" if reconstruction < mean else "no better"
    compared = f"the reconstruction ({reconstruction:.4g} nats) is {better} than"
    compared += f" the mean of the features ({mean:.4g} nats)"
    if not record.epochs:
        return f"{compared}: what the frozen layer learnt does not fit these data. Lower pretrain.freeze_layers."
    if _last_gain(result, record) >= FALLING * mean:
        compared += f", but still falls. Raise {_length(result)}"
    else:
        compared += ": the layer learnt nothing. Train longer"
    scale = f", {SCALE[0].lower()}{SCALE[1:]}," if may_scale else ""
    return f"{compared}{scale} or change the learning rate."


def _collapsed(found: Figures, units: int) -> str | None:
    kl = found.get("kl")
    if kl is None or (kl >= COLLAPSED and found.get("used_units") != 0):
        return None
    return (
        f"posterior collapse: the KL divergence is {kl:.2g} nats over all {units} dimensions, so none says much about "
        "the input. Lower beta, set warm_up_steps or free_bits, or train longer; with a Gaussian likelihood, "
        "standardize the inputs."
    )


def _length(result: StageResult) -> str:
    """The setting of the epochs of a stage."""
    return "pretrain.unroll" if result.stage == UNROLLED else "pretrain.epochs"


def _still_falling(result: StageResult, record: StageRecord) -> str | None:
    mean, last = result.diagnostics.get("mean_reconstruction"), _last_gain(result, record)
    if not (mean and last) or last < FALLING * mean:
        return None
    return (
        f"the reconstruction still falls: the last tenth of the epochs brought {last:.3g} nats, {last / mean:.0%} of "
        f"the loss of the features' mean. Raise {_length(result)}."
    )


def _last_gain(result: StageResult, record: StageRecord) -> float:
    """By how much the reconstruction fell in the last tenth of the epochs; 0 if the last epoch is not the best."""
    losses = [row["val/reconstruction"] for row in record.history if "val/reconstruction" in row]
    return _last_tenth(losses) if result.kept_epoch == len(record.history) - 1 else 0.0


def _last_tenth(losses: Sequence[float]) -> float:
    """By how much a loss fell in the last tenth of the epochs; 0 for fewer than 2."""
    return 0.0 if len(losses) < 2 else losses[-1 - math.ceil(len(losses) / 10)] - losses[-1]


def _identity_not_defined(found: Figures) -> str | None:
    if "identity_score" not in found or found["identity_score"] is not None:
        return None
    return "the identity score is not defined, because no input of this layer varies. Look at the data or layer below."


def classifier_findings(
    found: ClassifierResult, class_names: Sequence[str] | None = None, record: StageRecord | None = None
) -> list[str]:
    """What the training of a classifier shows to be wrong, on validation data.

    Args:
        found: What the training found.
        class_names: Names of the classes; ``None``: their numbers.
        record: Its record, with the metrics of every epoch; ``None``: unknown.

    Example:
        >>> from aepretrain.results.classifier import Measurement, PerClass
        >>> per_class = PerClass(recall=[1.0, 0.0], precision=[0.5, 0.0], f1=[0.67, 0.0])
        >>> measured = Measurement(0.5, 0.5, 0.7, 2, per_class, confusion_matrix=[[1, 0], [1, 0]])
        >>> result = ClassifierResult(measured, measured, None, False, epochs=3, kept_epoch=2, steps=12, seconds=0.2)
        >>> classifier_findings(result, ["no", "yes"])
        ["classifier: it answers 'no' for all 2 validation examples. The classes are of like size: train longer, \
change the learning rate, or give more labels."]
    """
    names = class_names or [str(k) for k in range(len(found.validation.confusion_matrix))]
    checks = (_answers(found.validation, names), _improves(found, record))
    return [f"classifier: {sentence}" for sentence in checks if sentence]


def regressor_findings(found: RegressorResult, record: StageRecord | None = None) -> list[str]:
    """What the training of a regressor shows to be wrong, on validation data.

    Args:
        found: What the training found.
        record: Its record, with the metrics of every epoch; ``None``: unknown.

    Example:
        >>> from aepretrain.results.regressor import RegressionMeasurement
        >>> measured = RegressionMeasurement(r2=-0.2, rmse=2.0, mae=1.5, loss=0.6, examples=9, sampling_error=0.1)
        >>> result = RegressorResult(measured, measured, None, False, epochs=3, kept_epoch=2, steps=12, seconds=0.2)
        >>> regressor_findings(result)
        ['regressor: its validation R² of -0.20 is no better than that of the mean (0). Train longer, change the \
learning rate, or give more labels.']
    """
    checks = []
    if found.validation.r2 <= 0:
        checks.append(
            f"its validation R² of {found.validation.r2:.2f} is no better than that of the mean (0). Train longer, "
            "change the learning rate, or give more labels."
        )
    last = _last_loss(found, record)
    if last >= FALLING * MEAN_LOSS:
        checks.append(
            f"its validation loss still falls: the last tenth of the epochs brought {last:.3g} nats, "
            f"{last / MEAN_LOSS:.0%} of the loss of the mean. Raise finetune.epochs."
        )
    return [f"regressor: {sentence}" for sentence in checks]


def _last_loss(found: HeadResult, record: StageRecord | None) -> float:
    """By how much the validation loss fell in the last tenth of the epochs; 0 if the best epoch is not near the end."""
    if record is None or found.kept_epoch < len(record.history) - 1 - math.ceil(len(record.history) / 10):
        return 0.0
    return _last_tenth([row["val/loss"] for row in record.history if "val/loss" in row])


def _answers(found: Measurement, names: Sequence[str]) -> str | None:
    """What is wrong with the answers: all alike, no better than the largest class, or some class never given."""
    matrix, examples = found.confusion_matrix, found.examples
    answers, counts = [sum(row[k] for row in matrix) for k in range(len(matrix))], [sum(row) for row in matrix]
    way_out = EQUAL if max(counts) <= LIKE * min(counts) else UNEQUAL
    if max(answers) == examples:
        return f"it answers {names[answers.index(examples)]!r} for all {examples} validation examples. {way_out}"
    near_chance = NEAR_CHANCE + (1 - NEAR_CHANCE) / len(matrix)
    if found.accuracy * examples <= max(counts) and (
        found.balanced_accuracy is None or found.balanced_accuracy < near_chance
    ):
        return (
            f"its validation accuracy of {found.accuracy:.2%} is no better than always answering with the largest "
            f"class ({max(counts) / examples:.2%}). {way_out}"
        )
    never = [k for k, answer in enumerate(answers) if not answer and counts[k] >= FEW]
    if not never:
        return None
    named = ", ".join(f"{names[k]!r} ({counts[k]} examples)" for k in never[:NAMED])
    more = f" and {len(never) - NAMED} other classes" if len(never) > NAMED else ""
    return f"it never answers {named}{more} on validation data. {way_out}"


def _improves(found: ClassifierResult, record: StageRecord | None) -> str | None:
    """The validation loss still falls at the end, near the best epoch: judged by the entropy of the classes."""
    shares = [sum(row) / found.validation.examples for row in found.validation.confusion_matrix]
    entropy = -sum(share * math.log(share) for share in shares if share)
    last = _last_loss(found, record)
    if not (entropy and last) or last < FALLING * entropy:
        return None
    return (
        f"its validation loss still falls: the last tenth of the epochs brought {last:.3g} nats, {last / entropy:.0%} "
        "of the loss of the classes' shares. Raise finetune.epochs."
    )


def merge_findings(found: Mapping[str, Sequence[str]], most: int = 10) -> list[str]:
    """The findings of many runs, those that differ in nothing but figures as one, with the names of the runs.

    Args:
        found: The findings of each run, by its name.
        most: Findings listed; a last sentence counts the others.

    Example:
        >>> merge_findings({"seed0": ["it fell by 3 %."], "seed1": ["it fell by 4.5 %."], "seed2": []})
        ['seed0, seed1: it fell by 3 %.']
    """
    runs: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for run, sentences in found.items():
        for sentence in sentences:
            alike = FIGURE.sub(lambda each: each["name"] or "#", sentence)
            runs.setdefault(alike, []).append(run)
            first.setdefault(alike, sentence)
    merged = [f"{_some(runs[alike])}: {sentence}" for alike, sentence in first.items()]
    left = len(merged) - most
    return merged[:most] + ([f"{left} more are in results.json of the runs."] if left > 0 else [])


def _some(runs: Sequence[str]) -> str:
    return ", ".join(runs[:NAMED]) + (f" and {len(runs) - NAMED} more" if len(runs) > NAMED else "")
