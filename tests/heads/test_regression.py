"""A regressor scales its targets by the training targets alone, and says everything in their units."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn
from torch.optim import SGD

from aepretrain import Arrays, Classifier, ConfigError, FineTuning, Regressor, RunContext, finetune
from aepretrain.results.stage import StageRecord
from aepretrain.training.acceleration.recordable import reason_of_module

QUIET = RunContext(progress=False)
X = np.random.default_rng(0).normal(size=(150, 5)).astype(np.float32)
Y = X @ np.array([3.0, -2.0, 1.0, 0.0, 0.5]) + 0.3 * np.random.default_rng(1).normal(size=150)


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(5, 8), nn.Tanh()))


def fine_tuned(y, **options):
    head = Regressor(encoder(), optimizer=partial(SGD, lr=0.05), **options)
    return finetune(head, Arrays(X, y), FineTuning(8, 16), QUIET)


def test_before_the_first_step_the_mean_of_the_training_targets_is_predicted():
    model, y = Regressor(encoder(), 2), torch.tensor([[1.0, 50.0], [3.0, 90.0]])
    model.fit_targets(y)
    torch.testing.assert_close(model(torch.rand(4, 5)), torch.tensor([[2.0, 70.0]]).expand(4, 2))
    torch.testing.assert_close(model.loss(torch.rand(2, 5), y), torch.tensor([1.0, 1.0]))


def test_the_loss_is_that_of_targets_that_were_scaled_by_hand():
    model, plain, y = Regressor(encoder()), Regressor(encoder()), 500 + 20 * torch.randn(30)
    for each in (model, plain):
        nn.init.constant_(each.head.weight, 0.3)
    model.fit_targets(y)
    scaled, x = (y - y.mean()) / y.std(correction=0), torch.rand(30, 5)
    torch.testing.assert_close(model.loss(x, y), plain.loss(x, scaled), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x), y.mean() + y.std(correction=0) * plain(x))


def test_targets_that_are_alike_are_scaled_by_nothing():
    model = Regressor(encoder())
    model.fit_targets(torch.full((5,), 7.0))
    assert (model.target_mean.item(), model.target_scale.item()) == (7.0, 1.0)


def test_the_units_of_the_target_change_no_step():
    plain, metres = fine_tuned(Y), fine_tuned(1000 * Y + 3000)
    for one, other in zip(plain.head.parameters(), metres.head.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    one, other = plain.record.history[-1], metres.record.history[-1]
    assert other["val/r2"] == pytest.approx(one["val/r2"], abs=1e-4)
    assert other["val/rmse"] == pytest.approx(1000 * one["val/rmse"], rel=1e-3)
    assert other["val/mae"] == pytest.approx(1000 * one["val/mae"], rel=1e-3)


def test_targets_of_held_out_rows_scale_nothing():
    data = Arrays(X, Y)
    tuned = finetune(Regressor(encoder()), data, FineTuning(1, 16), QUIET)
    y = data.splits().train.y.double()
    assert tuned.head.target_mean.item() == pytest.approx(y.mean().item(), rel=1e-6)
    assert tuned.head.target_scale.item() == pytest.approx(y.std(correction=0).item(), rel=1e-6)


def test_the_scale_is_saved_with_the_weights():
    tuned, again = fine_tuned(Y).head, Regressor(encoder())
    again.load_state_dict(tuned.state_dict())
    x = torch.from_numpy(X)
    assert torch.equal(again.eval()(x), tuned.eval()(x))


def test_the_figures_of_an_epoch_are_those_of_scikit_learn_in_units_of_the_target():
    model, x, y = Regressor(encoder()).eval(), torch.rand(30, 5), 40 + 3 * torch.randn(30)
    nn.init.normal_(model.head.weight)
    model.fit_targets(y[:10])
    for _ in range(2):
        losses = [model.validation_values(a, b)["loss"] for a, b in zip(x.split(7), y.split(7), strict=True)]
        torch.testing.assert_close(torch.cat(losses), model.loss(x, y))
        found, answers = model.validation_totals(), model(x)[:, 0].detach().numpy()
        assert list(found) == ["r2", "rmse", "mae"]
        assert found["r2"].item() == pytest.approx(r2_score(y, answers), rel=1e-4)
        assert found["rmse"].item() == pytest.approx(root_mean_squared_error(y, answers), rel=1e-4)
        assert found["mae"].item() == pytest.approx(mean_absolute_error(y, answers), rel=1e-4)
    measured = model.measure(x, y)
    assert measured.r2 == pytest.approx(found["r2"].item(), rel=1e-4)
    assert measured.loss == pytest.approx(model.loss(x, y).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("predicted", "score"), [(7.0, 1.0), (8.0, 0.0)])
def test_of_equal_targets_the_score_is_1_or_0_as_in_scikit_learn(predicted, score):
    model, x, y = Regressor(encoder()).eval(), torch.rand(4, 5), torch.full((4,), 7.0)
    nn.init.constant_(model.head.bias, predicted)
    model.validation_values(x, y)
    assert model.validation_totals()["r2"].item() == model.measure(x, y).r2 == score


@pytest.mark.parametrize("monitor", ["r2", "rmse", "mae", "loss"])
def test_each_figure_may_choose_the_epoch(monitor):
    tuned = finetune(Regressor(encoder()), Arrays(X, Y), FineTuning(5, 16, monitor=monitor), QUIET)
    history, head = tuned.record.history, tuned.head
    best = {"min": min, "max": max}[head.mode](row[f"val/{monitor}"] for row in history)
    assert history[tuned.record.kept_epoch][f"val/{monitor}"] == best
    assert head.measure(*Arrays(X, Y).splits().validation.tensors()).r2 == pytest.approx(
        tuned.record.metrics["val/r2"], abs=1e-4
    )


def test_its_steps_are_recorded_and_bitwise_those_of_the_launched_ones():
    model = Regressor(encoder(), optimizer=partial(SGD, lr=0.05, fused=True))
    assert reason_of_module(model, model.make_optimizer()) is None


def test_the_options_of_heads_are_those_of_a_regressor():
    tuned = fine_tuned(
        Y, dropout=0.1, input_dropout=0.1, max_norm=2.0, weight_decay=0.01, layer_lr_decay=0.5, freeze_layers=1
    )
    assert isinstance(tuned.record, StageRecord)
    assert tuned.record.stage == "regressor"
    assert torch.equal(tuned.head.encoder[0][0].weight, encoder()[0][0].weight)


def test_a_classifier_does_not_take_real_targets():
    data = Arrays(X, Y)
    assert (data.num_classes, data.num_targets) == (None, 1)
    with pytest.raises(ConfigError, match=r"monitor must be one of loss, r2, rmse, mae, but got 'accuracy'"):
        finetune(Regressor(encoder()), data, FineTuning(1, 16, monitor="accuracy"), QUIET)
    assert Classifier.stage == "classifier"
