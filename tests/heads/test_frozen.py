"""What is frozen of an encoder stays frozen: as a whole, its lowest layers, or what the user froze."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from aepretrain import (
    Classifier,
    Dense,
    Digits,
    FineTuning,
    GreedyStack,
    PlainAutoencoder,
    Pretraining,
    Regressor,
    RunContext,
    finetune,
)
from aepretrain.ensembles.classifiers import reason_not_batchable
from aepretrain.errors import StoppedError
from aepretrain.training.options import Saving
from tests.support.watching import before_chunks

QUIET = RunContext(progress=False)


def encoder():
    torch.manual_seed(1)
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Sigmoid())
    second = nn.Sequential(nn.Linear(20, 12), nn.BatchNorm1d(12), nn.ReLU())
    return nn.Sequential(first, second)


def changed_by_training(model, **context):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    finetune(model, Digits(labels=200), FineTuning(2, 32), RunContext(progress=False, **context))
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def names(model, *prefixes):
    return {name for name in model.state_dict() if name.startswith(prefixes)}


def optimized(model):
    return {id(weights) for group in model.make_optimizer().param_groups for weights in group["params"]}


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({}, ("head", "encoder.0", "encoder.1")),
        ({"freeze_layers": 1}, ("head", "encoder.1")),
        ({"freeze_layers": 2}, ("head",)),
        ({"freeze_encoder": True}, ("head",)),
        ({"freeze_encoder": True, "freeze_layers": 1}, ("head",)),
        ({"freeze_layers": 1, "weight_decay": 0.1, "layer_lr_decay": 0.5, "max_norm": 0.1}, ("head", "encoder.1")),
    ],
)
def test_the_lowest_layers_stay_as_they_are_with_their_statistics(settings, trained):
    model = Classifier(encoder(), 10, **settings)
    assert changed_by_training(model) == names(model, *trained)


def test_what_the_user_froze_stays_as_it_is():
    f = encoder()
    f[0].requires_grad_(False)
    model = Classifier(f, 10, optimizer=partial(torch.optim.SGD, lr=0.5, weight_decay=0.1))
    assert changed_by_training(model) == names(model, "head", "encoder.1")
    f = encoder()
    f[1][0].weight.requires_grad_(False)
    model = Classifier(f, 10)
    assert changed_by_training(model) == set(model.state_dict()) - {"encoder.1.0.weight"}
    f = encoder()
    f[1][1].requires_grad_(False)
    model = Regressor(f, 1)
    assert not f[1][1].weight.requires_grad
    model.train()
    assert [f[1].training, f[1][1].training, f[0][2].training] == [True, False, True]


def test_the_optimizer_gets_only_what_is_trained():
    f = encoder()
    f[0].requires_grad_(False)
    for model in (Classifier(f, 10), Classifier(encoder(), 10, freeze_layers=1)):
        expected = [*model.head.parameters(), *model.encoder[1].parameters()]
        assert optimized(model) == {id(weights) for weights in expected}
    rates = [group["lr"] for group in Classifier(f, 10, layer_lr_decay=0.5).make_optimizer().param_groups]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4])
    layer = PlainAutoencoder((6,), Dense(4))
    layer.g.requires_grad_(False)
    assert optimized(layer) == {id(weights) for weights in layer.f.parameters()}


@pytest.mark.parametrize(("freeze_layers", "layers"), [(3, 2), (-1, 2), (2, 1)])
def test_more_layers_than_there_are_cannot_be_frozen(freeze_layers, layers):
    f = encoder() if layers == 2 else nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    rule = f"freeze_layers must lie between 0 and the encoder's {layers} layers, but got {freeze_layers}"
    with pytest.raises(ValueError, match=rule):
        Classifier(f, 10, freeze_layers=freeze_layers)


def test_a_copied_encoder_of_a_stack_is_trained_even_after_a_probe():
    data = Digits(labels=200)
    make = partial(PlainAutoencoder, coder=Dense(8))
    stack = GreedyStack(data.in_shape, [make, make]).fit(data, Pretraining(1), QUIET)
    Classifier(stack.encoder, 10, freeze_encoder=True)
    assert all(weights.requires_grad for weights in stack.encoder.parameters())
    stack.requires_grad_(False)
    model = Classifier(stack.encoder, 10, freeze_layers=1)
    tuned = finetune(model, data, FineTuning(1, 32), QUIET, pretrained=stack.encoder)
    assert tuned.weights_arrived is True
    assert torch.equal(model.encoder[0][1].weight, stack.encoder[0][1].weight)
    assert not torch.equal(model.encoder[1][0].weight, stack.encoder[1][0].weight)


@pytest.mark.parametrize("copies", [False, True])
def test_what_a_probe_froze_is_trained_by_the_next_head_but_not_what_the_user_froze(copies):
    f = encoder()
    f[1][0].bias.requires_grad_(False)
    Classifier(f, 10, freeze_encoder=True)
    assert not any(weights.requires_grad for weights in f.parameters())
    f = copy.deepcopy(f) if copies else f
    flags = {name for name, weights in Classifier(f, 10).encoder.named_parameters() if not weights.requires_grad}
    assert flags == {"1.0.bias"}
    Classifier(f, 10, freeze_layers=1)
    flags = {name for name, weights in f.named_parameters() if not weights.requires_grad}
    assert flags == {"0.1.weight", "0.1.bias", "0.2.weight", "0.2.bias", "1.0.bias"}


def test_frozen_layers_are_a_reason_against_many_seeds_at_once():
    f = nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Sequential(nn.Linear(4, 3), nn.Tanh()))
    assert reason_not_batchable(Classifier(copy.deepcopy(f), 2)) is None
    assert reason_not_batchable(Classifier(copy.deepcopy(f), 2, freeze_encoder=True)) is None
    assert reason_not_batchable(Classifier(copy.deepcopy(f), 2, freeze_layers=1)) == "a part of the encoder is frozen"
    f[1][0].bias.requires_grad_(False)
    assert reason_not_batchable(Classifier(f, 2)) == "a part of the encoder is frozen"


def test_a_run_that_stopped_goes_on_with_its_frozen_layers(monkeypatch, tmp_path):
    whole = Classifier(encoder(), 10, freeze_layers=1)
    changed_by_training(whole)

    def stop(state):
        if state.step == 8:
            raise StoppedError("enough", 15)

    stopped = Classifier(encoder(), 10, freeze_layers=1)
    before_chunks(monkeypatch, stop)
    with pytest.raises(StoppedError):
        changed_by_training(stopped, out=tmp_path, saving=Saving(every_steps=2))
    monkeypatch.undo()
    resumed = Classifier(encoder(), 10, freeze_layers=1)
    changed_by_training(resumed, out=tmp_path, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
