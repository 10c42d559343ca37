"""What results show to be wrong is said in one sentence, where it is true and only there."""

import numpy as np
import pytest
import torch

from aepretrain import (
    Arrays,
    Classifier,
    Dense,
    Digits,
    FineTuning,
    Gaussian,
    GreedyStack,
    PlainAutoencoder,
    Pretraining,
    RunContext,
    VariationalAutoencoder,
)
from aepretrain.finetuning.finetune import finetune
from aepretrain.results.classifier import ClassifierResult, Measurement, PerClass
from aepretrain.results.findings import classifier_findings, merge_findings, regressor_findings
from aepretrain.results.regressor import RegressionMeasurement, RegressorResult
from aepretrain.results.stage import StageRecord
from aepretrain.runs.measuring import measure

QUIET = RunContext(progress=False)


def result_of(tuned, data):
    """The result of a trained head, whatever it measures."""
    measured = measure(tuned.head, data, 0)
    return tuned.result(measured.validation, measured.test)


def noise(scale=1.0, offset=0.0, features=20, examples=400):
    x = np.random.default_rng(0).normal(size=(examples, features))
    return Arrays((offset + scale * x).astype(np.float32))


def findings(data, *layers, epochs=10):
    stack = GreedyStack(data.in_shape, layers).fit(data, Pretraining(epochs, 32), QUIET)
    return [sentence for k in range(len(layers)) for sentence in stack.findings(k)], stack


def sigmoid(shape):
    return PlainAutoencoder(shape, Dense(8))


def test_unscaled_inputs_are_no_better_reconstructed_than_by_their_mean():
    found, stack = findings(noise(scale=100, offset=32768), sigmoid)
    sentence = next(each for each in found if "no better than the mean" in each)
    assert sentence.startswith("00-plain: the reconstruction (")
    assert "data.transform standardize" in sentence
    result = stack.result(0)
    x = noise(scale=100, offset=32768).splits().validation.x
    by_hand = 0.5 * (x - x.mean(dim=0)).square().sum(dim=1).mean().item()
    assert result.diagnostics["mean_reconstruction"] == pytest.approx(by_hand, rel=1e-4)
    assert any("saturated" in each or "almost the same" in each for each in found)


def test_a_code_that_is_the_same_for_all_examples_is_named_before_its_dead_or_saturated_units():
    found, _ = findings(noise(scale=1e-6, offset=1.0), sigmoid, epochs=1)
    assert "00-plain: the code is almost the same for all examples: none of its 8 units varies." in " ".join(found)
    assert not any("dead" in each or "saturated" in each for each in found)


def test_relu_units_that_never_fire_are_dead():
    def dying(shape):
        layer = PlainAutoencoder(shape, Dense(8, activation="relu"))
        torch.nn.init.constant_(layer.f.affine.bias[:6], -1e3)
        return layer

    found, _ = findings(noise(), dying, epochs=1)
    assert "00-plain: 6 of 8 units are dead: they are 0 for all examples." in " ".join(found)


def test_a_collapsed_posterior_is_named_with_its_cures_and_one_that_is_used_is_not():
    def vae(beta):
        return lambda shape: VariationalAutoencoder(shape, Dense(4, activation="tanh", hidden=(16,)), beta=beta)

    collapsed, stack = findings(Digits(), vae(50.0), epochs=5)
    assert "00-variational: posterior collapse" in " ".join(collapsed)
    assert "Lower beta" in " ".join(collapsed)
    assert stack.result(0).diagnostics["used_units"] == 0
    assert "uses 0 of 4 dimensions" in stack.summary(0)
    used, stack = findings(Digits(), vae(0.1), epochs=5)
    assert "posterior collapse" not in " ".join(used)
    assert stack.result(0).diagnostics["used_units"] == 4


def test_the_kl_of_the_units_adds_up_and_counts_the_used_ones():
    def vae(shape):
        return VariationalAutoencoder(shape, Dense(12, activation="tanh", hidden=(32,)), beta=1.0)

    _, stack = findings(Digits(), vae, epochs=8)
    result, (layer,) = stack.result(0), stack
    with torch.no_grad():
        mean, log_var = layer.posterior(Digits().splits().validation.x)
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * log_var).exp()), prior).mean(dim=0)
    assert result.units["kl"] == pytest.approx(kl.tolist(), abs=1e-4)
    assert sum(result.units["kl"]) == pytest.approx(result.diagnostics["kl"], rel=1e-3)
    assert result.diagnostics["used_units"] == (kl > 0.1).sum().item()


def test_a_loss_that_still_falls_is_named_and_one_that_has_settled_is_not():
    short, stack = findings(Digits(), lambda shape: PlainAutoencoder(shape, Dense(32)), epochs=3)
    losses = [row["val/reconstruction"] for row in stack.records[0].history]
    assert losses[2] > stack.result(0).diagnostics["mean_reconstruction"]
    assert "no better than the mean" in " ".join(short)
    assert "but still falls. Raise pretrain.epochs" in " ".join(short)
    longer, stack = findings(Digits(), lambda shape: PlainAutoencoder(shape, Dense(32)), epochs=6)
    losses = [row["val/reconstruction"] for row in stack.records[0].history]
    assert losses[5] < stack.result(0).diagnostics["mean_reconstruction"]
    assert f"the last tenth of the epochs brought {losses[4] - losses[5]:.3g} nats" in " ".join(longer)
    assert "Raise pretrain.epochs" in " ".join(longer)
    long, _ = findings(Digits(), lambda shape: PlainAutoencoder(shape, Dense(32)), epochs=60)
    assert "still falls" not in " ".join(long)


def test_the_identity_score_of_data_that_do_not_vary_is_not_defined():
    found, stack = findings(Arrays(np.full((100, 6), 0.1, np.float32)), sigmoid, epochs=1)
    assert stack.result(0).diagnostics["identity_score"] is None
    assert stack.summary(0).endswith("identity not defined")
    assert "the identity score is not defined, because no input of this layer varies" in " ".join(found)


def test_a_sound_training_has_no_findings():
    found, _ = findings(Digits(), lambda shape: PlainAutoencoder(shape, Dense(32), likelihood=Gaussian()), epochs=60)
    assert found == []


def test_a_classifier_that_always_gives_one_answer_is_named():
    y = (np.arange(400) % 20 == 0).astype(int)
    data = Arrays(np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32), y)
    encoder = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh()))
    head = Classifier(encoder, 2, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.01))
    tuned = finetune(head, data, FineTuning(5, 32), QUIET)
    (sentence,) = classifier_findings(result_of(tuned, data), ["no", "yes"])
    assert sentence.startswith("classifier: it answers 'no' for all 80 validation examples.")
    assert "finetune.monitor balanced_accuracy" in sentence


def test_a_good_classifier_has_no_findings():
    data = Digits()
    encoder = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh()))
    tuned = finetune(Classifier(encoder, 10), data, FineTuning(10, 32), QUIET)
    assert classifier_findings(result_of(tuned, data)) == []


@pytest.mark.parametrize(
    ("counts", "way_out"),
    [((30, 20), "The classes are of like size: train longer"), ((31, 20), "Try finetune.monitor")],
)
def test_weights_of_classes_are_the_way_out_only_where_classes_differ_in_size(counts, way_out):
    matrix = [[counts[0], 0], [counts[1], 0]]
    per_class = PerClass(recall=[1.0, 0.0], precision=[0.5, 0.0], f1=[0.67, 0.0])
    measured = Measurement(counts[0] / sum(counts), 0.4, 0.7, sum(counts), per_class, matrix, 0.5)
    result = ClassifierResult(measured, measured, None, False, 3, 2, 12, 0.2)
    (sentence,) = classifier_findings(result)
    assert f"for all {sum(counts)} validation examples. {way_out}" in sentence


def classes_apart(examples=300):
    """Three classes of equal size, far apart."""
    y = np.arange(examples) % 3
    x = np.eye(3)[y] + 0.1 * np.random.default_rng(0).normal(size=(examples, 3))
    return Arrays(x.astype(np.float32), y)


def classifier(data, epochs, rate):
    encoder = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(*data.in_shape, 8), torch.nn.Tanh()))
    head = Classifier(encoder, data.num_classes, optimizer=lambda groups: torch.optim.SGD(groups, lr=rate))
    tuned = finetune(head, data, FineTuning(epochs, 32), QUIET)
    return result_of(tuned, data), tuned.record


def test_a_classifier_that_still_improves_is_named_and_one_that_has_settled_is_not():
    found, record = classifier(classes_apart(), epochs=10, rate=0.05)
    losses = [row["val/loss"] for row in record.history]
    assert record.kept_epoch == 9
    (sentence,) = [each for each in classifier_findings(found, None, record) if "still falls" in each]
    gain = losses[-2] - losses[-1]
    assert f"brought {gain:.3g} nats, {gain / np.log(3):.0%} of the loss of the classes' shares" in sentence
    assert sentence.endswith("Raise finetune.epochs.")
    settled, record = classifier(classes_apart(), epochs=60, rate=1.0)
    assert classifier_findings(settled, None, record) == []


def test_a_class_that_is_never_answered_is_named_unless_it_hardly_occurs():
    per_class = PerClass(recall=[1.0, 0.0, 1.0], precision=[0.5, 0.0, 1.0], f1=[0.67, 0.0, 1.0])

    def measured(rare):
        return Measurement(0.8, 0.2, 0.5, 25 + rare, per_class, [[10, 0, 0], [rare, 0, 0], [0, 0, 15]], 2 / 3)

    def found(rare):
        return ClassifierResult(measured(rare), measured(rare), None, False, 3, 2, 12, 0.2)

    (sentence,) = classifier_findings(found(6), ["Adelie", "Chinstrap", "Gentoo"])
    assert sentence.startswith("classifier: it never answers 'Chinstrap' (6 examples) on validation data. Try")
    assert classifier_findings(found(4), ["Adelie", "Chinstrap", "Gentoo"]) == []


def regressor_of(r2, losses, kept):
    measured = RegressionMeasurement(r2, rmse=2.0, mae=1.0, loss=0.5, examples=40, sampling_error=0.1)
    result = RegressorResult(measured, measured, None, False, len(losses), kept, 12, 0.2)
    return result, StageRecord(
        "regressor", len(losses), kept, 12, 0.2, [{"val/loss": loss} for loss in losses], "cpu", 1
    )


@pytest.mark.parametrize("r2", [-3.0, -0.01, 0.0])
def test_a_regressor_that_is_no_better_than_the_mean_is_named(r2):
    [sentence] = regressor_findings(regressor_of(r2, [0.5], 0)[0])
    assert f"its validation R² of {r2:.2f} is no better than that of the mean (0)" in sentence


def test_a_good_regressor_that_has_settled_has_no_findings():
    assert regressor_findings(*regressor_of(0.01, [0.5, 0.3, 0.299], 2)) == []
    assert regressor_findings(*regressor_of(0.6, [0.5, 0.2, *[0.3] * 9], 1)) == []


@pytest.mark.parametrize(("last", "named"), [(0.3 - 0.0099, False), (0.3 - 0.0101, True)])
def test_a_regressor_that_still_improves_is_named_from_2_percent_of_the_loss_of_the_mean_on(last, named):
    found = regressor_findings(*regressor_of(0.4, [0.5, 0.3, last], 2))
    assert [sentence for sentence in found if "its validation loss still falls" in sentence] == found
    assert len(found) == named


def test_data_that_are_scaled_already_are_not_to_be_scaled_again():
    x = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    found, _ = findings(Arrays(100 * x + 32768, transform="standardize"), sigmoid, epochs=1)
    sentence = next(each for each in found if "no better than the mean" in each)
    assert "transform" not in sentence
    assert "change the learning rate" in sentence


def test_the_way_out_for_a_layer_above_the_first_is_not_to_scale_the_data():
    def dead(shape):
        layer = sigmoid(shape)
        torch.nn.init.constant_(layer.f.affine.bias, 50.0)
        torch.nn.init.zeros_(layer.f.affine.weight)
        return layer

    found, _ = findings(noise(), sigmoid, dead, epochs=1)
    (sentence,) = [each for each in found if each.startswith("01-plain: the code is almost the same")]
    assert "none of its 8 units varies. Lower the learning rate, or weaken the penalty." in sentence


def test_findings_of_runs_that_differ_in_figures_alone_are_one_and_others_are_not():
    still = "00-plain: the reconstruction still falls: it brought {} nats."
    runs = {f"seed{k}": [still.format(0.1 * k)] for k in range(5)}
    assert merge_findings(runs) == [f"seed0, seed1, seed2 and 2 more: {still.format(0.0)}"]
    others = {"a": ["00-plain: 3 units are dead.", "never answers '1'"], "b": ["01-plain: 3 units are dead."]}
    assert len(merge_findings({**others, "c": ["never answers '2'", "layer 0 can copy.", "layer 1 can copy."]})) == 6
    assert merge_findings({"a": [f"finding {letter}" for letter in "abcd"]}, most=2)[2:] == [
        "2 more are in results.json of the runs."
    ]
    assert merge_findings({f"seed{k}": ["3 units are dead."] for k in range(3)}) == [
        "seed0, seed1, seed2: 3 units are dead."
    ]


@pytest.mark.parametrize(("count", "left"), [(10, []), (11, ["1 more are in results.json of the runs."])])
def test_ten_findings_are_listed_and_the_others_counted(count, left):
    found = [f"finding {letter}." for letter in "abcdefghijk"[:count]]
    assert merge_findings({"seed0": found}) == [*(f"seed0: {sentence}" for sentence in found[:10]), *left]
