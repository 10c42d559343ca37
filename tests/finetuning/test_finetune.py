"""Fine-tuning: what a head is told, what it is trained on, and what is said of it afterwards."""

import pytest
import torch
from torch import nn

from aepretrain import AEPretrainError, Arrays, Classifier, ConfigError, DataError, FineTuning, Regressor, RunContext
from aepretrain.finetuning.arrival import check_arrival
from aepretrain.finetuning.finetune import FineTuned, finetune, labelled, prepare_head
from aepretrain.results.classifier import Measurement, PerClass
from aepretrain.results.stage import StageRecord
from tests.support.comparisons import small_data
from tests.support.tables import X
from tests.support.watching import batches_of

QUIET = RunContext(progress=False)


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(5, 4), nn.Tanh()))


def record(**metrics):
    history = [{"val/loss": 9.0, "val/accuracy": 0.0}, metrics]
    return StageRecord("classifier", 2, 1, 8, 0.5, history, "cpu", 1, skipped_steps=3)


def test_of_two_heads_the_better_one_has_the_larger_score():
    def score(head, **metrics):
        return FineTuned(head, record(**metrics), None).score

    classifier, regressor = Classifier(encoder(), 3), Regressor(encoder())
    assert score(classifier, **{"val/loss": 0.25, "val/accuracy": 0.75}) == (0.75, -0.25)
    assert score(regressor, **{"val/loss": 0.25}) == (-0.25, -0.25)
    classifier.watch("loss")
    assert score(classifier, **{"val/loss": 0.25, "val/accuracy": 0.75}) == (-0.25, -0.25)


@pytest.mark.parametrize("arrived", [True, None])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_result_holds_the_record_and_both_measurements(frozen, arrived):
    def measured(accuracy):
        return Measurement(accuracy, 1 - accuracy, 0.5, 4, PerClass([1.0] * 2, [1.0] * 2, [1.0] * 2), [[2, 0], [0, 2]])

    head = Classifier(encoder(), 3, freeze_encoder=frozen)
    found = FineTuned(head, record(), arrived).result(measured(0.5), measured(0.75))
    assert (found.validation, found.test) == (measured(0.5), measured(0.75))
    assert (found.weights_arrived, found.frozen_encoder) == (arrived, frozen)
    assert (found.epochs, found.kept_epoch, found.steps, found.seconds, found.skipped_steps) == (2, 1, 8, 0.5, 3)


def test_a_head_is_trained_on_the_labelled_examples_with_its_settings(monkeypatch):
    seen, data = batches_of(monkeypatch), small_data(labels=9)
    tuned = finetune(Classifier(encoder(), 3), data, FineTuning(2, 4), QUIET)
    assert (tuned.record.stage, tuned.record.epochs, tuned.record.steps) == ("classifier", 2, 6)
    assert tuned.weights_arrived is None
    rows = {tuple(row) for x, _ in seen for row in x.tolist()}
    assert rows == {tuple(row) for row in data.splits().train.x.tolist()}
    by_input = dict(zip(map(tuple, data.splits().train.x.tolist()), data.splits().train.y.tolist(), strict=True))
    assert all(
        by_input[tuple(row)] == label for x, y in seen for row, label in zip(x.tolist(), y.tolist(), strict=True)
    )


def test_the_seed_of_the_run_chooses_the_labels_and_the_stage_has_its_name(monkeypatch):
    seen, data = batches_of(monkeypatch), small_data(labels=9)
    tuned = finetune(Classifier(encoder(), 3), data, FineTuning(1, 9), RunContext(4, progress=False), stage="probe")
    assert tuned.record.stage == "probe"
    assert torch.equal(seen[0][0].sort(dim=0).values, data.splits(4).train.x.sort(dim=0).values)


def test_examples_for_training_and_validation_are_inputs_with_labels():
    data = small_data(labels=9)
    splits = data.splits(2)
    train, validation = labelled(data, RunContext(2))
    for (x, y), split in ((train, splits.train), (validation, splits.validation)):
        assert torch.equal(x, split.x)
        assert torch.equal(y, split.y)


def test_a_head_is_told_what_chooses_its_epoch_and_sees_the_targets():
    head = Classifier(encoder(), 3, class_weights="balanced")
    y = torch.tensor([0, 0, 1, 2])
    prepare_head(head, FineTuning(monitor="loss"), [torch.zeros(4, 5), y])
    assert (head.monitor, head.mode) == ("val/loss", "min")
    torch.testing.assert_close(head.class_weight, torch.tensor([2 / 3, 4 / 3, 4 / 3]))
    prepare_head(head, FineTuning(), [torch.zeros(4, 5), y])
    assert head.monitor == "val/loss"
    with pytest.raises(ConfigError, match=r"^finetune\.monitor must be one of"):
        prepare_head(head, FineTuning(monitor="recall"), [torch.zeros(4, 5), y])


def test_what_cannot_be_fine_tuned_is_refused():
    f = encoder()
    with pytest.raises(ConfigError, match="pretrained must be a copy, not the head's own encoder"):
        finetune(Classifier(f, 3), small_data(), FineTuning(1), QUIET, pretrained=f)
    with pytest.raises(DataError, match="Arrays has no labels, so there is nothing to fine-tune on"):
        finetune(Classifier(f, 3), Arrays(X[:60]), FineTuning(1), QUIET)


def test_weights_that_arrived_are_told_and_others_stop_the_training():
    f = encoder()
    assert finetune(Classifier(encoder(), 3), small_data(), FineTuning(1), QUIET, pretrained=f).weights_arrived is True
    nn.init.zeros_(f[0][0].bias)
    head = Classifier(encoder(), 3)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with pytest.raises(AEPretrainError, match=r"did not arrive in the classifier: 0\.0\.bias differ before the first"):
        finetune(head, small_data(), FineTuning(1), QUIET, pretrained=f)
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("0.0.weight", lambda tensor: tensor.double()),
        ("0.0.weight", lambda tensor: tensor.T),
        ("0.0.weight", lambda tensor: tensor.nextafter(torch.tensor(9.0))),
        ("0.0.bias", lambda tensor: -torch.zeros(4)),
        ("0.0.bias", lambda tensor: None),
        ("1.weight", lambda tensor: torch.zeros(1)),
    ],
)
def test_names_shapes_types_and_every_bit_must_be_those_of_the_pretrained(name, change):
    f = encoder()
    nn.init.zeros_(f[0][0].bias)
    head, other = Classifier(f, 3), nn.Module()
    tensors = {key: tensor.clone() for key, tensor in f.state_dict().items()}
    other.state_dict = lambda: tensors
    check_arrival(head, other)
    if (changed := change(tensors.get(name))) is None:
        del tensors[name]
    else:
        tensors[name] = changed
    with pytest.raises(AEPretrainError, match=rf"did not arrive in the classifier: {name} differ"):
        check_arrival(head, other)
