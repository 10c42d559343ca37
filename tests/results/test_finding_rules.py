"""From which figure on a finding is told, and in which words: results are given, nothing is trained."""

import pytest

from aepretrain.results.classifier import ClassifierResult, Measurement, PerClass
from aepretrain.results.findings import classifier_findings, merge_findings, regressor_findings, stage_findings
from aepretrain.results.regressor import RegressionMeasurement, RegressorResult
from aepretrain.results.stage import StageLosses, StageRecord, StageResult


def stage(losses=(50.0,), *, kept=None, frozen=False, units=16, name="00-plain", **diagnostics):
    """A layer of 16 units whose reconstruction took these values, one for each epoch."""
    epochs = 0 if frozen else len(losses)
    kept = len(losses) - 1 if kept is None else kept
    last = StageLosses(losses[-1], losses[-1], losses[-1])
    record = StageRecord(name, epochs, kept, 9, 0.5, [{"val/reconstruction": loss} for loss in losses], "cpu", 1)
    result = StageResult(
        stage=name, variant="plain", in_shape=(64,), code_shape=(units,), epochs=epochs, kept_epoch=kept, steps=9,
        seconds=0.5, losses=last, diagnostics=diagnostics,
    )  # fmt: skip
    return result, record


def told(*given, may_scale=True, **diagnostics):
    return stage_findings(*stage(*given, **diagnostics), may_scale=may_scale)


@pytest.mark.parametrize("kind", ["dead", "saturated"])
def test_half_of_the_units_is_a_finding_and_one_less_is_none(kind):
    (sentence,) = told(**{f"{kind}_units": 8.0})
    assert sentence.startswith(f"00-plain: 8 of 16 units are {kind}: ")
    assert told(**{f"{kind}_units": 7.0}) == []
    assert told(**{f"{kind}_units": None}) == []
    assert told(units=1, **{f"{kind}_units": 0.0}) == []


@pytest.mark.parametrize(
    ("diagnostics", "may_scale", "words"),
    [
        ({"dead_units": 9.0}, True, "9 of 16 units are dead: they are 0 for all examples. Lower the learning rate, use "
         "another activation, or fewer units."),
        ({"saturated_units": 9.0}, True, "9 of 16 units are saturated: their values lie at an end of the range, where "
         "gradients vanish. Scale the inputs (data.transform standardize or minmax), or lower the learning rate."),
        ({"saturated_units": 9.0}, False, "9 of 16 units are saturated: their values lie at an end of the range, where "
         "gradients vanish. Lower the learning rate."),
        ({"informative_units": 0.0}, True, "the code is almost the same for all examples: none of its 16 units varies. "
         "Scale the inputs (data.transform standardize or minmax), lower the learning rate, or weaken the penalty."),
        ({"informative_units": 0.0, "dead_units": 16.0, "saturated_units": 16.0}, False, "the code is almost the same "
         "for all examples: none of its 16 units varies. Lower the learning rate, or weaken the penalty."),
        ({"dead_units": 8.0, "saturated_units": 16.0}, True, "8 of 16 units are dead: they are 0 for all examples. "
         "Lower the learning rate, use another activation, or fewer units."),
        ({"identity_score": None}, True, "the identity score is not defined, because no input of this layer varies. "
         "Look at the data or layer below."),
    ],
)  # fmt: skip
def test_what_units_show_is_one_sentence_with_the_way_out(diagnostics, may_scale, words):
    assert told(may_scale=may_scale, **diagnostics) == [f"00-plain: {words}"]


def test_scaling_is_a_way_out_unless_it_is_ruled_out():
    given = stage(saturated_units=9.0)
    assert stage_findings(*given) == stage_findings(*given, may_scale=True) != stage_findings(*given, may_scale=False)


def test_units_that_vary_a_little_are_no_finding_nor_is_a_variational_code_that_has_one_of_its_own():
    assert told(informative_units=1.0, identity_score=0.5) == []
    assert told(informative_units=0.0, kl=3.0, used_units=2.0) == []


@pytest.mark.parametrize(
    ("kl", "used", "is_named"), [(0.1, 1.0, False), (0.099, 1.0, True), (5.0, 0.0, True), (0.1, None, False)]
)
def test_a_posterior_has_collapsed_below_a_tenth_of_a_nat_or_where_no_dimension_is_used(kl, used, is_named):
    found = told(kl=kl, used_units=used)
    assert len(found) == is_named
    if found:
        assert found[0].startswith(f"00-plain: posterior collapse: the KL divergence is {kl:.2g} nats over all 16 dim")


@pytest.mark.parametrize(("reconstruction", "is_named"), [(100.0, True), (99.0, True), (98.9, False)])
def test_a_reconstruction_has_to_beat_the_mean_by_a_hundredth(reconstruction, is_named):
    found = told([reconstruction], mean_reconstruction=100.0)
    assert len(found) == is_named
    if found:
        better = "hardly" if reconstruction < 100 else "no"
        assert found[0].startswith(
            f"00-plain: the reconstruction ({reconstruction:.4g} nats) is {better} better than the mean of the "
            "features (100 nats): the layer learnt nothing. Train longer, scale the inputs (data.transform standardize "
            "or minmax), or change the learning rate."
        )


def test_a_bad_reconstruction_that_still_falls_wants_more_epochs_and_a_frozen_layer_fewer_frozen_ones():
    (sentence,) = told([106.0, 104.0], mean_reconstruction=100.0, may_scale=False)
    assert sentence.endswith("(100 nats), but still falls. Raise pretrain.epochs or change the learning rate.")
    (sentence,) = told([106.0, 104.0], mean_reconstruction=100.0, may_scale=False, name="unrolled")
    assert sentence.endswith("Raise pretrain.unroll or change the learning rate.")
    (sentence,) = told([80.0, 60.0], mean_reconstruction=100.0, name="unrolled")
    assert sentence.endswith("of the loss of the features' mean. Raise pretrain.unroll.")
    (sentence,) = told([105.9, 104.0], mean_reconstruction=100.0, may_scale=False)
    assert sentence.endswith(": the layer learnt nothing. Train longer or change the learning rate.")
    (sentence,) = told([104.0], mean_reconstruction=100.0, frozen=True)
    assert sentence.endswith(": what the frozen layer learnt does not fit these data. Lower pretrain.freeze_layers.")


@pytest.mark.parametrize(("gain", "is_named"), [(2.0, True), (1.99, False), (0.0, False), (-3.0, False)])
def test_a_loss_still_falls_if_the_last_tenth_of_the_epochs_brought_a_fiftieth_of_that_of_the_mean(gain, is_named):
    losses = [60.0] * 8 + [50.0 + gain, 55.0, 50.0]  # of 11 epochs, a tenth is two
    found = told(losses, mean_reconstruction=100.0)
    assert len(found) == is_named
    if found:
        assert found[0] == (
            f"00-plain: the reconstruction still falls: the last tenth of the epochs brought {gain:.3g} nats, "
            f"{gain / 100:.0%} of the loss of the features' mean. Raise pretrain.epochs."
        )


def test_a_loss_does_not_fall_if_an_earlier_epoch_was_kept_or_there_is_but_one():
    assert told([6.0, 5.0], mean_reconstruction=10.0, kept=0) == []
    assert told([5.0], mean_reconstruction=10.0) == []
    assert told([6.0, 5.0]) == []
    assert told([5.0, 5.0], mean_reconstruction=0.0) == told([5.0], mean_reconstruction=0.0)


def test_epochs_that_were_not_validated_are_not_judged():
    result, record = stage([6.0, 6.0, 5.0], mean_reconstruction=10.0)
    del record.history[1]["val/reconstruction"]
    assert "brought 1 nats" in stage_findings(result, record)[0]


def classifier(matrix, *, accuracy=None, balanced=None, losses=(), kept=None):
    """A classifier with these answers on validation data: a row for each class."""
    n = sum(map(sum, matrix))
    accuracy = sum(row[k] for k, row in enumerate(matrix)) / n if accuracy is None else accuracy
    zeros = [0.0] * len(matrix)
    measured = Measurement(accuracy, 1 - accuracy, 0.7, n, PerClass(zeros, zeros, zeros), matrix, balanced)
    kept = len(losses) - 1 if kept is None else kept
    found = ClassifierResult(measured, measured, None, False, max(len(losses), 1), max(kept, 0), 12, 0.2)
    if not losses:
        return classifier_findings(found)
    record = StageRecord("classifier", len(losses), kept, 12, 0.2, [{"val/loss": loss} for loss in losses], "cpu", 1)
    return classifier_findings(found, None, record)


def test_classes_without_names_have_their_numbers():
    assert classifier([[0, 9], [0, 9]])[0].startswith("classifier: it answers '1' for all 18 validation examples.")


@pytest.mark.parametrize(("balanced", "is_named"), [(None, True), (0.549, True), (0.55, False)])
def test_no_better_than_the_largest_class_is_a_finding_unless_classes_are_told_apart(balanced, is_named):
    found = classifier([[17, 3], [3, 7]], accuracy=2 / 3, balanced=balanced)  # the largest class has 20 of 30
    assert len(found) == is_named
    if found:
        assert found[0] == (
            "classifier: its validation accuracy of 66.67% is no better than always answering with the largest class "
            "(66.67%). Try finetune.monitor balanced_accuracy and classifier.class_weights balanced, more labels, or "
            "longer training."
        )
    assert classifier([[18, 2], [3, 7]], balanced=balanced) == []


def test_classes_that_are_never_answered_are_named_from_five_examples_on_three_of_them_by_name():
    def never(*counts):
        size = len(counts) + 2
        rows = [[30] + [0] * (size - 1), [0, 30] + [0] * (size - 2)]
        return classifier(rows + [[count] + [0] * (size - 1) for count in counts])

    assert never(4) == []
    assert "it never answers '2' (5 examples) on validation data." in never(5)[0]
    assert "it never answers '2' (5 examples), '3' (6 examples), '4' (7 examples) on" in never(5, 6, 7)[0]
    assert "'4' (7 examples) and 1 other classes on" in never(5, 6, 7, 8)[0]


@pytest.mark.parametrize(("share", "is_named"), [(0.0201, True), (0.0199, False)])
def test_a_classifier_still_improves_from_a_fiftieth_of_the_entropy_of_the_classes_on(share, is_named):
    entropy = 0.6931471805599453  # of two classes of equal size, in nats
    found = classifier([[9, 1], [1, 9]], losses=[0.9, 0.5 + share * entropy, 0.5])
    assert len(found) == is_named
    if found:
        assert found[0] == (
            f"classifier: its validation loss still falls: the last tenth of the epochs brought {share * entropy:.3g} "
            "nats, 2% of the loss of the classes' shares. Raise finetune.epochs."
        )


def test_a_single_class_has_nothing_to_improve():
    assert not any("still falls" in each for each in classifier([[9]], losses=[0.9, 0.5]))


def test_findings_are_those_of_validation_data_whatever_the_test_shows():
    zeros = [0.0] * 2
    fine = Measurement(0.9, 0.1, 0.3, 20, PerClass(zeros, zeros, zeros), [[9, 1], [1, 9]])
    bad = Measurement(0.5, 0.5, 0.7, 20, PerClass(zeros, zeros, zeros), [[10, 0], [10, 0]])
    record = StageRecord("classifier", 2, 1, 12, 0.2, [{"val/loss": 0.9}, {"val/loss": 0.5}], "cpu", 1)
    only_loss, answers = (
        classifier_findings(ClassifierResult(*pair, None, False, 2, 1, 12, 0.2), ["a", "b"], record)
        for pair in ((fine, bad), (bad, fine))
    )
    assert ["still falls" in each for each in only_loss] == [True]
    assert answers[0].startswith("classifier: it answers 'a' for all 20 validation examples.")
    lopsided = Measurement(1.0, 0.0, 0.3, 20, PerClass(zeros, zeros, zeros), [[20, 0], [0, 0]])
    (sentence,) = classifier_findings(ClassifierResult(fine, lopsided, None, False, 2, 1, 12, 0.2), None, record)
    assert "58% of the loss of the classes' shares" in sentence
    good, poor = (RegressionMeasurement(r2, 2.0, 1.0, 0.5, 40, 0.1) for r2 in (0.5, -0.5))
    assert regressor_findings(RegressorResult(good, poor, None, False, 2, 1, 12, 0.2)) == []
    assert "R² of -0.50" in regressor_findings(RegressorResult(poor, good, None, False, 2, 1, 12, 0.2))[0]


def test_sentences_that_differ_in_figures_alone_keep_the_words_of_the_first():
    found = merge_findings(
        {"seed0": ["it fell by 3 % #."], "seed1": ["it fell by # % 3."], "seed2": ["it fell by 4 % #."]}
    )
    assert found == ["seed0, seed2: it fell by 3 % #.", "seed1: it fell by # % 3."]


@pytest.mark.parametrize(
    ("epochs", "kept", "is_named"), [(20, 17, True), (20, 16, False), (15, 12, True), (11, 7, False)]
)
def test_a_best_epoch_in_the_last_tenth_is_near_the_end(epochs, kept, is_named):
    losses = [0.9] * (epochs - 2) + [0.5, 0.4]  # a tenth is two epochs
    assert len(classifier([[9, 1], [1, 9]], losses=losses, kept=kept)) == is_named
    measured = RegressionMeasurement(r2=0.5, rmse=2.0, mae=1.0, loss=0.5, examples=40, sampling_error=0.1)
    result = RegressorResult(measured, measured, None, False, epochs, kept, 12, 0.2)
    record = StageRecord("regressor", epochs, kept, 12, 0.2, [{"val/loss": loss} for loss in losses], "cpu", 1)
    assert len(regressor_findings(result, record)) == is_named
    if is_named:
        assert regressor_findings(result, record) == [
            "regressor: its validation loss still falls: the last tenth of the epochs brought 0.5 nats, 100% of the "
            "loss of the mean. Raise finetune.epochs."
        ]
