"""Each figure is a finding from its threshold on, and only from there."""

import pytest

from aepretrain.results.classifier import ClassifierResult, Measurement, PerClass
from aepretrain.results.findings import classifier_findings, stage_findings
from aepretrain.results.stage import StageLosses, StageRecord, StageResult


def stage(losses=(5.0, 4.99), kept=None, reconstruction=1.0, code_shape=(2, 5), may_scale=True, **diagnostics):
    """The findings of a layer of 10 units with these figures, sound where none is given."""
    sound = {"dead_units": 0, "informative_units": 10, "mean_reconstruction": 10.0, "identity_score": 0.5}
    record = StageRecord("00-x", 1, 0, 1, 0.1, [{"val/reconstruction": loss} for loss in losses], "cpu", 1)
    result = StageResult(
        stage="00-x", variant="x", in_shape=(20,), code_shape=code_shape, epochs=1, steps=1, seconds=0.1,
        kept_epoch=len(losses) - 1 if kept is None else kept, losses=StageLosses(1.0, 1.0, reconstruction),
        diagnostics={name: value for name, value in {**sound, **diagnostics}.items() if value is not ...},
    )  # fmt: skip
    return stage_findings(result, record, may_scale=may_scale)


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        ({}, []),
        ({"dead_units": 4}, []),
        ({"dead_units": 5}, ["5 of 10 units are dead"]),
        ({"dead_units": ..., "saturated_units": 5}, ["5 of 10 units are saturated"]),
        ({"saturated_units": 4}, []),
        ({"dead_units": 5, "saturated_units": 5}, ["5 of 10 units are dead"]),
        ({"informative_units": 0, "dead_units": 10}, ["the code is almost the same for all examples: none of its 10"]),
        ({"informative_units": 1}, []),
        ({"informative_units": ...}, []),
        ({"informative_units": 0, "kl": 0.1}, []),
        ({"kl": 0.1}, []),
        ({"kl": 0.099}, ["posterior collapse: the KL divergence is 0.099 nats over all 10 dimensions, so none"]),
        ({"kl": 0.4, "used_units": 0}, ["posterior collapse: the KL divergence is 0.4 nats over all 10 dimensions"]),
        ({"kl": 0.4, "used_units": 1}, []),
        ({"identity_score": None}, ["the identity score is not defined"]),
        ({"identity_score": ...}, []),
        ({"reconstruction": 9.89}, []),
        (
            {"reconstruction": 9.9},
            ["the reconstruction (9.9 nats) is hardly better than the mean of the features (10 nats)"],
        ),
        ({"code_shape": (1,), "dead_units": 0, "saturated_units": 0}, []),
        (
            {"reconstruction": 9.91},
            ["the reconstruction (9.91 nats) is hardly better than the mean of the features"],
        ),
        ({"reconstruction": 9.91, "mean_reconstruction": ...}, []),
        ({"reconstruction": 9.91, "kl": 0.0}, ["the reconstruction (9.91 nats)", "posterior collapse"]),
    ],
)
def test_each_figure_is_a_finding_from_its_threshold_on(figures, found):
    sentences = stage(**figures)
    assert len(sentences) == len(found)
    for sentence, begin in zip(sentences, found, strict=True):
        assert sentence.startswith(f"00-x: {begin}"), sentence


@pytest.mark.parametrize(
    ("losses", "gain"),
    [
        ((5.0, 4.79), "0.21 nats, 2%"),
        ((5.0, 4.81), None),
        ((5.0,), None),
        ((*range(30, 19, -1), 19.9), "1.1 nats, 11%"),  # of 12 epochs the last two
        ((*range(30, 20, -1), 20.9), "1.1 nats, 11%"),
        ((*range(30, 21, -1), 21.9), "0.1 nats"),  # of 10 epochs the last
    ],
)
def test_the_gain_of_the_last_tenth_of_the_epochs_is_compared_with_the_mean(losses, gain):
    found = stage(losses)
    if gain is None or gain == "0.1 nats":
        assert found == []
    else:
        assert found == [
            f"00-x: the reconstruction still falls: the last tenth of the epochs brought {gain} of the loss of the "
            "features' mean. Raise pretrain.epochs."
        ]
    assert stage(losses, kept=0) == [] or len(losses) == 1
    assert stage(losses, mean_reconstruction=...) == []


def test_a_layer_that_is_no_better_than_the_mean_is_told_whether_it_still_falls():
    for losses in ((30.0, 20.0), (0.2, 0.0)):
        (falls,) = stage(losses, reconstruction=20.0)
        assert "but still falls. Raise pretrain.epochs, scale the inputs" in falls
    for losses in ((20.0, 20.0), (20.1, 20.0), (20.0, 20.1)):
        (settled,) = stage(losses, reconstruction=20.0)
        assert ": the layer learnt nothing. Train longer, scale the inputs" in settled


@pytest.mark.parametrize(
    ("figures", "scaled", "unscaled"),
    [
        (
            {"informative_units": 0},
            "varies. Lower the learning rate, or weaken the penalty.",
            "varies. Scale the inputs (data.transform standardize or minmax), lower the learning rate, or weaken the "
            "penalty.",
        ),
        (
            {"saturated_units": 9},
            "vanish. Lower the learning rate.",
            "vanish. Scale the inputs (data.transform standardize or minmax), or lower the learning rate.",
        ),
        (
            {"reconstruction": 10.0},
            "Train longer or change the learning rate.",
            "Train longer, scale the inputs (data.transform standardize or minmax), or change the learning rate.",
        ),
    ],
)
def test_inputs_are_to_be_scaled_only_if_they_can_be(figures, scaled, unscaled):
    for may_scale, end in ((True, unscaled), (False, scaled)):
        (sentence,) = stage(may_scale=may_scale, **figures)
        assert sentence.endswith(end)


def test_epochs_without_a_validation_do_not_count():
    record = StageRecord("00-x", 1, 2, 1, 0.1, [{"val/reconstruction": 5.0}, {}, {"val/reconstruction": 4.0}], "cpu", 1)
    result = StageResult(
        stage="00-x", variant="x", in_shape=(20,), code_shape=(10,), epochs=3, steps=1, seconds=0.1, kept_epoch=2,
        losses=StageLosses(1.0, 1.0, 4.0), diagnostics={"mean_reconstruction": 10.0},
    )  # fmt: skip
    (sentence,) = stage_findings(result, record)
    assert "the last tenth of the epochs brought 1 nats, 10%" in sentence


def measured(matrix, balanced, losses=(), kept=None):
    """The findings of a classifier with this confusion matrix on validation data, and another one on test data."""
    examples, right = sum(map(sum, matrix)), sum(row[k] for k, row in enumerate(matrix))
    per_class = PerClass([0.0] * len(matrix), [0.0] * len(matrix), [0.0] * len(matrix))
    validation = Measurement(
        right / examples, 1 - right / examples, 0.7, examples, per_class, matrix, balanced_accuracy=balanced
    )
    always_first = [[1] + [0] * (len(matrix) - 1) for _ in matrix]
    test = Measurement(0.5, 0.5, 0.7, len(matrix), per_class, always_first, balanced_accuracy=0.5)
    kept = len(losses) - 1 if kept is None else kept
    result = ClassifierResult(validation, test, None, False, epochs=19, kept_epoch=max(kept, 0), steps=12, seconds=0.2)
    history = [{} if loss is None else {"val/loss": loss} for loss in losses]
    record = StageRecord("classifier", 19, kept, 12, 0.2, history, "cpu", 1) if losses else None
    return classifier_findings(result, record=record)


@pytest.mark.parametrize(
    ("matrix", "balanced", "found"),
    [
        ([[6, 0], [4, 0]], 0.5, "it answers '0' for all 10 validation examples"),
        ([[0, 6], [0, 4]], 0.5, "it answers '1' for all 10 validation examples"),
        ([[5, 1], [3, 1]], 0.54, "its validation accuracy of 60.00% is no better than always answering with the large"),
        ([[5, 1], [3, 1]], None, "its validation accuracy of 60.00%"),
        ([[5, 1], [3, 1]], 0.55, None),
        ([[6, 0], [3, 1]], 0.5, None),
        ([[2, 1, 0], [2, 1, 0], [1, 1, 0]], 0.39, "its validation accuracy of 37.50%"),
        ([[2, 1, 0], [2, 1, 0], [1, 1, 0]], 0.41, None),
        ([[9, 0, 0], [0, 9, 0], [5, 0, 0]], 0.7, "it never answers '2' (5 examples) on validation data. Try"),
        ([[9, 0, 0], [0, 9, 0], [4, 0, 0]], 0.7, None),
        (
            [[9, 1] + [0] * 4, [0, 9] + [0] * 4, *([5, 0] + [0] * 4 for _ in range(4))],
            0.7,
            "it never answers '2' (5 examples), '3' (5 examples), '4' (5 examples) and 1 other classes on",
        ),
        (
            [[9, 1] + [0] * 3, [0, 9] + [0] * 3, *([5, 0] + [0] * 3 for _ in range(3))],
            0.7,
            "it never answers '2' (5 examples), '3' (5 examples), '4' (5 examples) on",
        ),
    ],
)
def test_a_classifier_near_chance_is_named_and_a_better_one_is_not(matrix, balanced, found):
    sentences = measured(matrix, balanced)
    if found is None:
        assert sentences == []
    else:
        (sentence,) = sentences
        assert sentence.startswith(f"classifier: {found}")


@pytest.mark.parametrize(
    ("losses", "kept", "gain"),
    [
        ((0.9, 0.8), 1, "0.1 nats, 20%"),
        ((0.9, 0.8), 0, "0.1 nats, 20%"),  # the best epoch is near the end
        ((0.95, 0.9, 0.8), 0, None),
        ((0.9, None, 0.8), 2, "0.1 nats, 20%"),
        ((0.815, 0.8), 1, "0.015 nats, 3%"),
        ((0.8, 0.795), 1, None),
        ((0.8, 0.9), 1, None),
        ((0.8,), 0, None),
        ([2 - 0.05 * k for k in range(12)], 9, "0.1 nats, 20%"),
        ([2 - 0.05 * k for k in range(12)], 8, None),
        ([2 - 0.05 * k for k in range(11)], 8, "0.1 nats, 20%"),
        ([2 - 0.05 * k for k in range(11)], 7, None),
    ],
)
def test_a_validation_loss_that_still_falls_is_compared_with_the_entropy_of_the_classes(losses, kept, gain):
    sentences = measured([[8, 0, 0], [0, 2, 0], [0, 0, 0]], 1.0, losses, kept)
    if gain is None:
        assert sentences == []
    else:
        assert sentences == [
            f"classifier: its validation loss still falls: the last tenth of the epochs brought {gain} of the loss of "
            "the classes' shares. Raise finetune.epochs."
        ]


def test_a_validation_split_of_one_class_has_no_loss_to_compare_with():
    (sentence,) = measured([[9, 0], [0, 0]], 1.0, (0.9, 0.8))
    assert sentence.startswith("classifier: it answers '0' for all 9")
    assert measured([[8, 1], [0, 0]], 1.0, (0.9, 0.8)) == []
