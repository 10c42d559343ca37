"""The updates of torch's fused optimizers written out in tensor operations, which a compiler can fuse with the rest."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from aepretrain.training.acceleration.tape import Operation
from aepretrain.training.acceleration.updates import group_of

Settings = Mapping[str, Any]


def sgd(w: Tensor, g: Tensor, buffer: Tensor | None = None, *, s: Settings, nesterov: bool, **_: Any) -> None:
    r"""Stochastic gradient descent, with momentum if there is a buffer.

    .. math:: g' = g + \lambda w, \quad b \leftarrow \mu b + (1 - \tau) g', \quad w \leftarrow w - \eta b

    and with Nesterov's momentum :math:`w \leftarrow w - \eta (g' + \mu b)`. All tensors have the shape of the weights.

    Args:
        w: The weights, changed in place, as is the buffer.
        g: The gradient.
        buffer: :math:`b`; ``None`` without momentum.
        s: The numbers of :func:`sgd_settings`.
        nesterov: Whether the momentum is Nesterov's.

    Reference:
        Sutskever, Martens, Dahl, Hinton: On the Importance of Initialization and Momentum in Deep Learning (2013).

    Example:
        >>> w = torch.ones(2)
        >>> sgd(w, torch.ones(2), s={"lr": 0.25, "decay": 0.0}, nesterov=False)
        >>> w
        tensor([0.7500, 0.7500])
    """
    g = g + s["decay"] * w
    if buffer is not None:
        buffer.copy_(s["momentum"] * buffer + s["share"] * g)
        g = g + s["momentum"] * buffer if nesterov else buffer
    w.sub_(s["lr"] * g)


def sgd_settings(group: Settings, step: float) -> dict[str, float]:
    """The settings of :func:`sgd`; ``share`` is 1 minus the dampening."""
    return {
        "lr": group["lr"],
        "decay": group["weight_decay"],
        "momentum": group["momentum"],
        "share": 1 - group["dampening"],
    }


def adam(w: Tensor, g: Tensor, m: Tensor, v: Tensor, largest: Tensor | None = None, *, s: Settings, **_: Any) -> None:
    r"""Adam, AdamW and AMSGrad.

    .. math:: m \leftarrow m + (1 - \beta_1)(g - m), \quad v \leftarrow v + (1 - \beta_2)(g^2 - v), \quad
              w \leftarrow w - \frac{\eta}{1 - \beta_1^t} \, m \Big/ \Big(\sqrt{v / (1 - \beta_2^t)} + \epsilon\Big)

    AdamW decays the weights before, Adam adds the decay to the gradient, AMSGrad divides by the largest v so far. All
    tensors have the shape of the weights.

    Args:
        w: The weights, changed in place, as are the states.
        g: The gradient.
        m: The mean of gradients.
        v: The mean of their squares.
        largest: The largest v so far; ``None`` without AMSGrad.
        s: The numbers of :func:`adam_settings`.

    Reference:
        Kingma, Ba: Adam (2015), algorithm 1; Loshchilov, Hutter: Decoupled Weight Decay Regularization (2019),
        algorithm 2; Reddi, Kale, Kumar: On the Convergence of Adam and Beyond (2018), algorithm 2.

    Example:
        >>> w, m, v = torch.ones(1), torch.zeros(1), torch.zeros(1)
        >>> group = {"lr": 0.25, "betas": (0.9, 0.999), "weight_decay": 0.0, "eps": 1e-8}
        >>> adam(w, torch.ones(1), m, v, s=adam_settings(group, step=1))
        >>> w
        tensor([0.7500])
    """
    w.mul_(s["kept"])
    g = g + s["decay"] * w
    m.add_(s["share1"] * (g - m))
    v.add_(s["share2"] * (g * g - v))
    if largest is not None:
        v = largest.copy_(largest.maximum(v))
    w.sub_(s["rate"] * m / (v.sqrt() * s["scale"] + s["eps"]))


def adam_settings(group: Settings, step: float) -> dict[str, float]:
    r"""The settings of :func:`adam`, whose corrections for step ``t`` need float64.

    AdamW decays weights (``kept`` is :math:`1 - \eta \lambda`), Adam adds ``decay`` times the weights to the gradient.
    """
    (beta1, beta2), decoupled = group["betas"], group.get("decoupled_weight_decay", False)
    return {
        "kept": 1 - group["lr"] * group["weight_decay"] if decoupled else 1.0,
        "decay": 0.0 if decoupled else group["weight_decay"],
        "share1": 1 - beta1,
        "share2": 1 - beta2,
        "rate": group["lr"] / (1 - beta1**step),
        "scale": (1 - beta2**step) ** -0.5,
        "eps": group["eps"],
    }


def adagrad(w: Tensor, g: Tensor, total: Tensor, *, s: Settings, **_: Any) -> None:
    r"""Adagrad.

    .. math:: v \leftarrow v + g^2, \quad w \leftarrow w - \frac{\eta}{1 + (t - 1) \gamma} \, g / (\sqrt v + \epsilon)

    Args:
        w: The weights, changed in place, as is the state.
        g: The gradient.
        total: The sum v of squared gradients.
        s: The numbers of :func:`adagrad_settings`.

    Reference:
        Duchi, Hazan, Singer: Adaptive Subgradient Methods for Online Learning and Stochastic Optimization (2011).

    Example:
        >>> w, v = torch.ones(1), torch.zeros(1)
        >>> adagrad(w, torch.ones(1), v, s={"decay": 0.0, "rate": 0.25, "eps": 0.0})
        >>> w
        tensor([0.7500])
    """
    g = g + s["decay"] * w
    total.add_(g * g)
    w.sub_(s["rate"] * g / (total.sqrt() + s["eps"]))


def adagrad_settings(group: Settings, step: float) -> dict[str, float]:
    """The settings of :func:`adagrad`, whose rate falls with the step."""
    rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
    return {"decay": group["weight_decay"], "rate": rate, "eps": group["eps"]}


@dataclass(frozen=True)
class Rule:
    """How one of torch's fused operations updates weights.

    Args:
        update: Changes weights, given their gradient and the tensors of the optimizer's state, in place.
        settings: The numbers that it takes, from the parameter group and the number of the step, counted from 1.
        counts: Whether the optimizer counts steps: the last list of tensors then holds the counts.
    """

    update: Callable[..., None]
    settings: Callable[[Settings, float], dict[str, float]]
    counts: bool = True


RULES = {
    "aten::_fused_sgd_": Rule(sgd, sgd_settings, counts=False),
    "aten::_fused_adam_": Rule(adam, adam_settings),
    "aten::_fused_adamw_": Rule(adam, adam_settings),
    "aten::_fused_adagrad_": Rule(adagrad, adagrad_settings),
}


class WrittenUpdate:
    """A fused update of one parameter group, written out.

    Args:
        operation: The recorded update, one of :data:`RULES`.
        optimizer: The optimizer.
    """

    def __init__(self, operation: Operation, optimizer: Optimizer) -> None:
        self.operation = operation
        self.rule = RULES[operation.name]
        self.group = group_of(operation, optimizer)
        lists = [each for each in operation.args if each]
        self.counts: list[Tensor] = lists.pop() if self.rule.counts else []
        self.tensors = list(zip(*lists, strict=True))
        """Of each matrix or vector the weights, the gradient and the states."""
        self.names = list(self.settings())

    @property
    def reason(self) -> str | None:
        """Why the update cannot be written out; ``None`` if it can."""
        if any(count.item() != self.counts[0].item() for count in self.counts):
            return "the optimizer counts the steps of weights separately"
        return None

    def settings(self, ahead: int = 0) -> dict[str, float]:
        """The numbers of the next step, or of one so many steps ahead, by the settings that the group has now."""
        return self.rule.settings(self.group, self.counts[0].item() + 1 + ahead if self.counts else 1)

    def apply(self, look_up: Callable[[Tensor], Tensor], settings: Iterator[Tensor]) -> None:
        """Change the weights and states in place.

        Args:
            look_up: Finds the tensor that stands for a recorded one.
            settings: The numbers of :meth:`settings`, as tensors of shape ``()``.
        """
        s = {name: next(settings) for name in self.names}
        for own in self.tensors:
            w, g, *states = map(look_up, own)
            self.rule.update(w, -g if self.group["maximize"] else g, *states, s=s, nesterov=self.group.get("nesterov"))
