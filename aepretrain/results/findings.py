"""What results show to be wrong, in sentences: one each, with the way out."""

import math
from collections.abc import Mapping, Sequence

from aepretrain.results.classifier import ClassifierResult
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


def stage_findings(result: StageResult, record: StageRecord) -> list[str]:
    """What the training of one layer shows to be wrong.

    Args:
        result: What the training found.
        record: Its record, with the metrics of every epoch.

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
        _constant(found, units)
        or _mostly("dead", found, units, "they are 0 for all examples")
        or _mostly("saturated", found, units, "their values lie at an end of the range, where gradients vanish"),
        _no_better_than_the_mean(result, record) or _still_falling(result, record),
        _collapsed(found, units),
        _identity_not_defined(found),
    )
    return [f"{result.stage}: {sentence}" for sentence in checks if sentence]


def _constant(found: Figures, units: int) -> str | None:
    if found.get("informative_units") != 0 or "kl" in found:
        return None
    return (
        f"the code is almost the same for all examples: none of its {units} units varies. Scale the inputs (data."
        "transform standardize or minmax), lower the learning rate, or weaken the penalty."
    )


def _mostly(kind: str, found: Figures, units: int, meaning: str) -> str | None:
    count = found.get(f"{kind}_units") or 0
    if count < MOST * units:
        return None
    way_out = {
        "dead": "Lower the learning rate, use another activation, or fewer units.",
        "saturated": "Scale the inputs (data.transform standardize or minmax), or lower the learning rate.",
    }
    return f"{count:.0f} of {units} units are {kind}: {meaning}. {way_out[kind]}"


def _no_better_than_the_mean(result: StageResult, record: StageRecord) -> str | None:
    reconstruction, mean = result.losses.reconstruction, result.diagnostics.get("mean_reconstruction")
    if mean is None or reconstruction < (1 - LEAST_GAIN) * mean:
        return None
    compared = (
        f"the reconstruction ({reconstruction:.4g} nats) is no better than the mean of the features ({mean:.4g} nats)"
    )
    if _last_gain(result, record) >= FALLING * mean:
        compared += ", but still falls. Raise pretrain.epochs, scale"
    else:
        compared += ": the layer learnt nothing. Train longer, scale"
    return f"{compared} the inputs (data.transform standardize or minmax), or change the learning rate."


def _collapsed(found: Figures, units: int) -> str | None:
    kl = found.get("kl")
    if kl is None or kl >= COLLAPSED:
        return None
    return (
        f"posterior collapse: the KL divergence is {kl:.2g} nats, so none of the {units} dimensions says anything "
        "about the input. Lower beta, or train longer; with a Gaussian likelihood, standardize the inputs."
    )


def _still_falling(result: StageResult, record: StageRecord) -> str | None:
    mean, last = result.diagnostics.get("mean_reconstruction"), _last_gain(result, record)
    if mean is None or not last or last < FALLING * mean:
        return None
    return (
        f"the reconstruction still falls: the last tenth of the epochs brought {last:.3g} nats, {last / mean:.0%} of "
        "the loss of the features' mean. Raise pretrain.epochs."
    )


def _last_gain(result: StageResult, record: StageRecord) -> float:
    """By how much the reconstruction fell in the last tenth of the epochs; 0 if the last epoch is not the best."""
    losses = [row["val/reconstruction"] for row in record.history if "val/reconstruction" in row]
    if len(losses) < 2 or result.kept_epoch != len(record.history) - 1:
        return 0.0
    return losses[-1 - math.ceil(len(losses) / 10)] - losses[-1]


def _identity_not_defined(found: Figures) -> str | None:
    if "identity_score" not in found or found["identity_score"] is not None:
        return None
    return "the identity score is not defined, because no input of this layer varies. Look at the data or layer below."


def classifier_findings(found: ClassifierResult, class_names: Sequence[str] | None = None) -> list[str]:
    """What the training of a classifier shows to be wrong, on validation data.

    Args:
        found: What the training found.
        class_names: Names of the classes; ``None``: their numbers.

    Example:
        >>> from aepretrain.results.classifier import Measurement, PerClass
        >>> per_class = PerClass(recall=[1.0, 0.0], precision=[0.5, 0.0], f1=[0.67, 0.0])
        >>> measured = Measurement(0.5, 0.5, 0.7, 2, per_class, confusion_matrix=[[1, 0], [1, 0]])
        >>> result = ClassifierResult(measured, measured, None, False, epochs=3, kept_epoch=2, steps=12, seconds=0.2)
        >>> classifier_findings(result, ["no", "yes"])
        ["classifier: it answers 'no' for all 2 validation examples. Try finetune.monitor balanced_accuracy and \
classifier.class_weights balanced, more labels, or longer training."]
    """
    matrix = found.validation.confusion_matrix
    answers = [sum(row[k] for row in matrix) for k in range(len(matrix))]
    largest = max(sum(row) for row in matrix)
    examples = found.validation.examples
    way_out = (
        "Try finetune.monitor balanced_accuracy and classifier.class_weights balanced, more labels, or longer training."
    )
    if max(answers) == examples:
        number = answers.index(examples)
        name = class_names[number] if class_names else str(number)
        return [f"classifier: it answers {name!r} for all {examples} validation examples. {way_out}"]
    accuracy, balanced = found.validation.accuracy, found.validation.balanced_accuracy
    if accuracy * examples <= largest and (
        balanced is None or balanced < NEAR_CHANCE + (1 - NEAR_CHANCE) / len(matrix)
    ):
        return [
            f"classifier: its validation accuracy of {accuracy:.2%} is no better than always answering with the "
            f"largest class ({largest / examples:.2%}). {way_out}"
        ]
    return []
