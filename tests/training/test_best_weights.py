"""The best epoch: its figure decides, then its loss; it waits as long as it is told, and gives its weights back."""

import pytest
import torch
from torch import nn

from aepretrain.training.best_weights import BestWeights


def run(best, figures):
    """Update with a module whose weight is the number of the epoch."""
    module = nn.Linear(1, 1, bias=False)
    for epoch, (value, loss) in enumerate(figures):
        nn.init.constant_(module.weight, float(epoch))
        best.update(module, {"val/x": torch.tensor(value), "val/loss": torch.tensor(loss)}, epoch)
    return module


@pytest.mark.parametrize(
    ("mode", "figures", "epoch", "waited"),
    [
        ("max", [(0.1, 1.0), (0.3, 2.0), (0.2, 0.1)], 1, 1),
        ("min", [(0.3, 1.0), (0.1, 2.0), (0.2, 0.1)], 1, 1),
        ("max", [(0.3, 1.0), (0.3, 0.5), (0.3, 0.5), (0.3, 0.7)], 1, 2),
        ("min", [(0.3, 1.0), (0.3, 0.5), (0.3, 0.5)], 1, 1),
        ("max", [(-5.0, 9.0)], 0, 0),
        ("min", [(3.0, 1.0), (2.0, 1.0), (1.0, 1.0)], 2, 0),
    ],
)
def test_a_better_figure_is_kept_and_of_equal_ones_that_of_the_smaller_loss(mode, figures, epoch, waited):
    best = BestWeights("val/x", mode)
    assert (best.epoch, best.waited, best.weights) == (-1, 0, {})
    module = run(best, figures)
    assert (best.epoch, best.waited) == (epoch, waited)
    sign = 1.0 if mode == "max" else -1.0
    assert best.best == pytest.approx((sign * figures[epoch][0], -figures[epoch][1]))
    best.restore(module)
    assert module.weight.item() == epoch


def test_without_keeping_the_last_weights_stay():
    best = BestWeights("val/x", "max", keeps=False)
    module = run(best, [(0.3, 1.0), (0.2, 1.0), (0.1, 1.0)])
    best.restore(module)
    assert (best.epoch, best.weights, module.weight.item()) == (0, {}, 2.0)


@pytest.mark.parametrize(("patience", "over"), [(None, [False] * 4), (1, [False, False, True, True]),
                                                (2, [False, False, False, True])])  # fmt: skip
def test_patience_is_over_after_as_many_validations_without_improvement(patience, over):
    best, found = BestWeights("val/x", "max", patience=patience), []
    for value in (0.1, 0.2, 0.2, 0.2):
        run(best, [(value, 1.0)])
        found.append(best.is_patience_over)
    assert found == over


def test_a_figure_without_a_loss_is_compared_by_itself():
    best, module = BestWeights("val/x", "min"), nn.Linear(1, 1)
    for epoch, value in enumerate((0.3, 0.2, 0.2)):
        best.update(module, {"val/x": torch.tensor(value)}, epoch)
    assert (best.epoch, best.waited, best.best) == (1, 1, pytest.approx((-0.2, 0.0)))


def test_an_ensemble_has_a_score_for_every_seed():
    best = BestWeights("val/x", "min")
    figures = {"val/x": torch.tensor([0.25, 0.5]), "val/loss": torch.tensor([2.0, 1.0])}
    assert best.scores(figures) == [(-0.25, -2.0), (-0.5, -1.0)]
    assert best.scores({"val/x": torch.tensor([0.25, 0.5])}) == [(-0.25, 0.0), (-0.5, 0.0)]


def test_what_is_kept_is_a_copy_without_a_graph():
    best, module = BestWeights("val/x", "max"), nn.Linear(1, 1)
    best.update(module, {"val/x": torch.tensor(0.5)}, 0)
    weight = module.weight.item()
    nn.init.constant_(module.weight, 9.0)
    assert best.weights["weight"].item() == weight
    assert not best.weights["weight"].requires_grad
