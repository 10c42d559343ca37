"""What every head does: dropout, norms, rates and decay, and its figures, against plain calculations."""

from types import MappingProxyType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import r2_score, root_mean_squared_error
from torch import nn
from torch.optim import SGD, AdamW

from aepretrain import (
    Arrays,
    Classifier,
    Dense,
    Encoder,
    FineTuning,
    GreedyStack,
    Head,
    NoTransform,
    PlainAutoencoder,
    Regressor,
    RunContext,
    evaluate_classifier,
    finetune,
)
from aepretrain.export.heads import with_outputs
from aepretrain.heads.base import code_width
from aepretrain.heads.regression_metrics import measure_predictions
from aepretrain.parts.noise import Noise
from aepretrain.results.classifier import ClassifierResult
from aepretrain.runs.measuring import measure


def encoder():
    return nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Sequential(nn.Linear(5, 4), nn.Tanh()))


def masks(shapes, p, seed):
    """The masks that are drawn one after another from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.empty(shape).uniform_(generator=generator) >= q) / (1 - q) for shape, q in zip(shapes, p, strict=True)
    ]


@pytest.mark.parametrize("head", [lambda **k: Classifier(encoder(), 3, **k), lambda **k: Regressor(encoder(), 3, **k)])
def test_dropout_damages_the_input_and_the_code_of_every_layer_in_training(head):
    model, x = head(dropout=0.4, input_dropout=0.2), torch.rand(7, 6)
    nn.init.normal_(model.head.weight)
    model.noise = Noise(torch.Generator().manual_seed(3))
    m = masks([(7, 6), (7, 5), (7, 4)], [0.2, 0.4, 0.4], seed=3)
    first, second = model.encoder
    expected = model.head(m[2] * second(m[1] * first(m[0] * x)))
    torch.testing.assert_close(model.train()(x), expected)
    torch.testing.assert_close(model.eval()(x), model.head(second(first(x))))
    assert torch.equal(model.predict_step([x, None], 0), model(x))


class Margins(Head):
    """A head for classes that is no Classifier."""

    stage, monitor, monitors = "classifier", "val/loss", MappingProxyType({"loss": "min"})

    def loss(self, *batch):
        return F.multi_margin_loss(self(batch[0]), batch[1], reduction="none")

    def validation_values(self, *batch):
        return {"loss": self.loss(*batch)}

    def measure(self, x, y, *, batch_size=1024):
        return evaluate_classifier(self, x, y, batch_size=batch_size)


def test_what_a_head_predicts_is_told_by_its_stage_not_by_its_class():
    x, y = torch.rand(60, 6), torch.arange(60) % 3
    head = Margins(encoder(), 3)
    head.num_classes = 3
    data = Arrays(x, y, num_classes=3)
    tuned = finetune(head, data, FineTuning(1, 20), RunContext(progress=False))
    measured = head.measure(x, y)
    assert isinstance(tuned.result(measured, measured), ClassifierResult)
    outputs = with_outputs(head, Encoder(NoTransform(), encoder(), (6,), (4,)))(x)
    torch.testing.assert_close(outputs, head(x).softmax(dim=1))
    assert [each.predicts_classes for each in (head, Classifier(encoder(), 3), Regressor(encoder()))] == [
        True,
        True,
        False,
    ]


class Medians(Head):
    """A head for numbers that is no Regressor."""

    stage, monitor, monitors = "regressor", "val/loss", MappingProxyType({"loss": "min"})

    def loss(self, *batch):
        return (self(batch[0])[:, 0] - batch[1]).abs()

    def validation_values(self, *batch):
        return {"loss": self.loss(*batch)}

    def measure(self, x, y, *, batch_size=1024):
        return measure_predictions(y.double()[:, None].numpy(), self.predict(x), np.ones(1))


def test_a_head_for_numbers_of_ones_own_leaves_its_predictions_for_a_comparison():
    data = Arrays(torch.rand(60, 6), torch.rand(60) * 9.5)
    head = Medians(encoder(), 1)
    finetune(head, data, FineTuning(1, 20), RunContext(progress=False))
    measured, test = measure(head, data, seed=0), data.splits().test
    np.testing.assert_allclose(measured.predictions.targets, test.y)
    np.testing.assert_allclose(measured.predictions.predicted, head(test.x)[:, 0].detach(), rtol=1e-6)


def test_a_head_predicts_classes_or_values():
    with pytest.raises(TypeError, match="the stage of Ranking must be classifier or regressor, but is 'ranking'"):
        type("Ranking", (Head,), {"stage": "ranking"})


def test_without_dropout_training_draws_no_noise():
    model, before = Classifier(encoder(), 3).train(), torch.get_rng_state()
    model(torch.rand(7, 6, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)
    assert (model.dropout.p, model.input_dropout.p) == (0.0, 0.0)


def test_the_output_begins_at_zero():
    for model in (Classifier(encoder(), 3), Regressor(encoder(), 2)):
        assert not model.head.weight.any()
        assert not model.head.bias.any()
        assert model.head.in_features == 4
    assert Regressor(encoder()).head.out_features == 1


def test_norms_are_bounded_after_every_step_where_weights_are_trained():
    model = Classifier(encoder(), 3, max_norm=0.1, freeze_layers=1, optimizer=lambda p: SGD(p, lr=0.0))
    nn.init.normal_(model.head.weight)
    before = model.encoder[0][0].weight.clone()
    optimizer = model.make_optimizer()
    model.loss(torch.rand(7, 6), torch.arange(7) % 3).sum().backward()
    optimizer.step()
    for weight in (model.encoder[1][0].weight, model.head.weight):
        torch.testing.assert_close(weight.norm(dim=1), torch.full((len(weight),), 0.1))
    assert torch.equal(model.encoder[0][0].weight, before)


def test_without_a_bound_norms_are_left_alone():
    model = Classifier(encoder(), 3, optimizer=lambda p: SGD(p, lr=0.0))
    nn.init.constant_(model.head.weight, 9.0)
    optimizer = model.make_optimizer()
    model.loss(torch.rand(7, 6), torch.arange(7) % 3).sum().backward()
    optimizer.step()
    assert (model.head.weight == 9.0).all()


@pytest.mark.parametrize(("decay", "weights", "biases"), [(None, 0.01, 0.01), (0.2, 0.2, 0.0), (0.0, 0.0, 0.0)])
def test_weight_decay_is_for_matrices_and_left_to_the_optimizer_where_none_is_given(decay, weights, biases):
    f = nn.Sequential(nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten()))
    model = Classifier(f, 3, weight_decay=decay, code_features=6, optimizer=lambda p: AdamW(p, lr=0.1))
    groups = model.make_optimizer().param_groups
    found = {id(p): (group["weight_decay"], group["lr"]) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        decayed = name in ("head.weight", "encoder.0.0.weight")
        assert found.pop(id(parameter)) == (weights if decayed else biases, 0.1), name
    assert not found
    assert not any("depth" in group for group in groups)


class Offsets(nn.Module):
    """Adds a bias of two dimensions."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2, 3))

    def forward(self, x):
        return x + self.bias.flatten()


def test_a_bias_of_any_number_of_dimensions_does_not_decay():
    model = Classifier(Offsets(), 2, weight_decay=0.1, code_features=6, optimizer=lambda p: AdamW(p, lr=0.1))
    groups = model.make_optimizer().param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (1, 0.0), (1, 0.0)]


def test_rates_fall_by_the_factor_per_layer_below_the_output():
    model = Regressor(encoder(), layer_lr_decay=0.5, optimizer=lambda p: SGD(p, lr=1.0))
    rates = {id(p): group["lr"] for group in model.make_optimizer().param_groups for p in group["params"]}
    expected = {"head": 1.0, "encoder.1": 0.5, "encoder.0": 0.25}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == next(rate for begin, rate in expected.items() if name.startswith(begin))


@pytest.mark.parametrize("head", [lambda f, **k: Classifier(f, 3, **k), lambda f, **k: Regressor(f, 3, **k)])
def test_the_ends_of_the_ranges_are_taken_and_what_lies_beyond_is_refused(head):
    head(encoder(), weight_decay=0.0, layer_lr_decay=1.0, freeze_layers=2, max_norm=1e-9, dropout=0.999)
    refused = {
        "weight_decay": (-1e-9, float("inf"), float("nan")),
        "layer_lr_decay": (0.0, 1.0001),
        "max_norm": (0.0, float("inf"), float("nan")),
        "freeze_layers": (-1, 3),
    }
    for name, values in refused.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"{name} must .*but got\s+{value}"):
                head(encoder(), **{name: value})


def test_outputs_of_every_kind_need_their_least_number():
    assert Classifier(encoder(), 2, label_smoothing=0.0).num_classes == 2
    assert Regressor(encoder(), 1).targets == 1
    with pytest.raises(ValueError, match="targets must be >= 1, but got 0"):
        Regressor(encoder(), 0)
    for smoothing in (-0.01, 1.0):
        with pytest.raises(ValueError, match="label_smoothing must lie in"):
            Classifier(encoder(), 2, label_smoothing=smoothing)


def test_what_chooses_the_epoch_can_be_named_and_must_be_measured():
    model = Classifier(encoder(), 3)
    assert (model.monitor, model.mode) == ("val/accuracy", "max")
    for name, mode in (
        ("loss", "min"),
        ("balanced_accuracy", "max"),
        ("average_precision", "max"),
        ("accuracy", "max"),
    ):
        model.watch(name)
        assert (model.monitor, model.mode) == (f"val/{name}", mode)
    assert (Regressor(encoder()).monitor, Regressor(encoder()).mode) == ("val/loss", "min")
    for name, mode in (("r2", "max"), ("rmse", "min"), ("mae", "min"), ("loss", "min")):
        regressor = Regressor(encoder())
        regressor.watch(name)
        assert (regressor.monitor, regressor.mode) == (f"val/{name}", mode)
    with pytest.raises(ValueError, match="monitor must be one of loss, r2, rmse, mae, but got 'accuracy'"):
        Regressor(encoder()).watch("accuracy")


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("batch_size", [4, 1024])
def test_the_figures_of_a_regression_are_those_of_scikit_learn(targets, batch_size):
    model, x, y = Regressor(encoder(), targets), torch.rand(30, 6), 5 + torch.randn(30, targets)
    nn.init.normal_(model.head.weight)
    found = model.train().measure(x, y[:, 0] if targets == 1 else y, batch_size=batch_size)
    assert not model.training
    answers, reference = model(x).detach().double().numpy(), y.double().numpy()
    squared = ((reference - answers) ** 2).sum(axis=1)
    spread = ((reference - reference.mean(axis=0)) ** 2).sum()
    assert found.rmse == pytest.approx(np.sqrt(squared.sum() / reference.size), rel=1e-5)
    assert found.mae == pytest.approx(np.abs(reference - answers).mean(), rel=1e-5)
    assert found.r2 == pytest.approx(1 - squared.sum() / spread, rel=1e-4)
    assert found.loss == pytest.approx(0.5 * squared.mean(), rel=1e-5)
    assert found.examples == 30
    if targets == 1:
        assert found.rmse == pytest.approx(root_mean_squared_error(reference, answers), rel=1e-5)
        assert found.r2 == pytest.approx(r2_score(reference, answers), rel=1e-4)
    torch.testing.assert_close(model.loss(x, y).double(), torch.from_numpy(0.5 * squared), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.validation_values(x, y)["loss"], model.loss(x, y))


def test_targets_far_from_zero_are_measured_in_double_precision():
    model, x, y = Regressor(encoder()), torch.rand(30, 6), 1e4 + torch.randn(30)
    found, targets = model.measure(x, y), y.double().numpy()
    assert found.r2 == pytest.approx(r2_score(targets, np.zeros(30)), rel=1e-9)
    assert found.rmse == pytest.approx(root_mean_squared_error(targets, np.zeros(30)), rel=1e-12)


def test_every_process_measures_all_examples_by_itself(monkeypatch):
    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    assert Classifier(encoder(), 3).measure(torch.rand(20, 6), torch.arange(20) % 3).examples == 20


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
def test_a_classifier_is_measured_alike_in_batches_of_any_size(batch_size):
    model, x, y = Classifier(encoder(), 3), torch.rand(20, 6), torch.arange(20) % 3
    nn.init.normal_(model.head.weight)
    found = model.train().measure(x, y, batch_size=batch_size)
    assert not model.training
    logits = model(x).detach().double()
    matrix = [[((y == a) & (logits.argmax(dim=1) == b)).sum().item() for b in range(3)] for a in range(3)]
    assert found.confusion_matrix == matrix
    assert found.accuracy == sum(matrix[k][k] for k in range(3)) / 20
    assert found.error == 1 - found.accuracy
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert found.balanced_accuracy == pytest.approx(np.mean([matrix[k][k] / sum(matrix[k]) for k in range(3)]))
    assert found.examples == 20


def test_totals_are_over_all_batches_since_the_last_call():
    model, x, y = Classifier(encoder(), 3).eval(), torch.rand(20, 6), torch.arange(20) % 3
    nn.init.normal_(model.head.weight)
    for _ in range(2):
        losses = [model.validation_values(a, b)["loss"] for a, b in zip(x.split(7), y.split(7), strict=True)]
        torch.testing.assert_close(torch.cat(losses), nn.functional.cross_entropy(model(x), y, reduction="none"))
        found = model.validation_totals()
        assert list(found) == ["accuracy", "error", "balanced_accuracy"]
        accuracy = (model(x).argmax(dim=1) == y).float().mean().item()
        assert found["accuracy"].item() == pytest.approx(accuracy)
        assert found["error"].item() == pytest.approx(1 - accuracy)
    model.validation_values(x[:1], model(x[:1]).argmax(dim=1))
    assert model.validation_totals()["accuracy"].item() == 1
    assert not model.average_precision.update_called  # it keeps all answers


@pytest.mark.parametrize(("labels", "weights"), [([0, 0, 1], [0.5, 1.0, 1.0]), ([2, 2, 2, 2], [4 / 3, 4 / 3, 1 / 3])])
def test_a_class_that_does_not_occur_weighs_as_if_it_had_one_example(labels, weights):
    model = Classifier(encoder(), 3, class_weights="balanced")
    model.fit_targets(torch.tensor(labels))
    torch.testing.assert_close(model.class_weight, torch.tensor(weights))


def test_weights_of_classes_are_settings_and_no_part_of_what_is_saved():
    names = Classifier(encoder(), 3).state_dict().keys()
    assert Classifier(encoder(), 3, class_weights=[1.0, 2.0, 3.0]).state_dict().keys() == names


def test_a_figure_that_may_choose_the_epoch_knows_which_way_is_better():
    assert (Classifier.monitors) == {
        "accuracy": "max",
        "balanced_accuracy": "max",
        "average_precision": "max",
        "loss": "min",
    }
    assert Regressor.monitors == {"loss": "min", "r2": "max", "rmse": "min", "mae": "min"}


def test_a_frozen_encoder_is_one_whole_and_layers_are_counted_from_the_input():
    stacked, plain = encoder(), nn.Sequential(nn.Linear(6, 5), nn.Tanh())
    assert Classifier(stacked, 2).layers == list(stacked)
    assert Classifier(plain, 2).layers == [plain]
    assert Classifier(stacked[0][0], 2).layers == [stacked[0][0]]
    mixed = nn.Sequential(stacked[0], nn.Linear(5, 4))
    assert Classifier(mixed, 2).layers == [mixed]


@pytest.mark.parametrize(
    ("frozen", "training"),
    [({}, [True, True]), ({"freeze_layers": 1}, [False, True]), ({"freeze_encoder": True}, [False, False])],
)
def test_modules_without_weights_follow_the_layer_that_they_belong_to(frozen, training):
    layers = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)) for _ in range(2)]
    model = Classifier(nn.Sequential(*layers), 2, **frozen)
    for _ in range(2):
        model.train()
        assert [layer[1].training for layer in layers] == training
        assert model.head.training
    model.eval()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("frozen", [{"freeze_layers": 1}, {"freeze_encoder": True}])
def test_a_layer_without_any_weights_can_be_frozen(frozen):
    noise = nn.Dropout(0.5)
    encoder = nn.Sequential(nn.Sequential(noise)) if "freeze_encoder" in frozen else nn.Sequential(
        nn.Sequential(noise), nn.Sequential(nn.Linear(6, 6))
    )  # fmt: skip
    assert Classifier(encoder, 2, code_features=6).train().encoder[0][0].training
    Classifier(encoder, 2, code_features=6, **frozen).train()
    assert not noise.training


def test_a_code_of_any_shape_is_flattened():
    model, x = Classifier(nn.Unflatten(1, (2, 3)), 4, code_features=6), torch.rand(5, 6)
    nn.init.normal_(model.head.weight)
    torch.testing.assert_close(model(x), model.head(x))


def test_the_width_of_a_code_is_that_of_what_the_encoder_gives():
    stack = GreedyStack((2, 3), [lambda s: PlainAutoencoder(s, Dense(7)), lambda s: PlainAutoencoder(s, Dense(4))])
    f = stack.encoder.double().train()
    assert code_width(f) == 4
    assert f.training
    assert next(f.parameters()).dtype == torch.float64
    normed = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    normed.in_shape = (6,)
    assert code_width(normed) == 5
    assert normed.training
    assert code_width(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Tanh())) == 3
    assert Classifier(nn.Flatten(), 2, code_features=9).head.in_features == 9
