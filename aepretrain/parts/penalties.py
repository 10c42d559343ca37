"""Penalties that regularized autoencoders add to the reconstruction loss, in nats."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, jvp, vmap

from aepretrain.parts.noise import Noise
from aepretrain.parts.precision import at_least_float32


def l1(h: Tensor) -> Tensor:
    r"""Compute the sum of absolute values, :math:`\sum_i |h_i|`: a Laplace prior on the code.

    Args:
        h: Code, shape ``(B, ...)``.

    Returns:
        One value per example, shape ``(B,)``.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), equation 14.8.

    Example:
        >>> l1(torch.tensor([[1.0, -2.0]]))
        tensor([3.])
    """
    return at_least_float32(h).abs().flatten(1).sum(dim=1)


def kl_sparsity(h: Tensor, rho: float) -> Tensor:
    r"""Compute the KL divergence between a target activity and each unit's mean activity, summed over units.

    .. math:: \sum_j \rho \log \frac{\rho}{\hat\rho_j} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j},
              \qquad \hat\rho_j = \frac1B \sum_b h_{bj}

    Args:
        h: Code with values in ``[0, 1]``, shape ``(B, ...)``.
        rho: Target activity :math:`\rho`, in ``(0, 1)``.

    Returns:
        One value for the whole batch, shape ``()``, because activity is a mean over examples. If several processes
        share a batch, each averages over its own part.

    Reference:
        Ng: Sparse autoencoder, CS294A lecture notes (2011), section 3.

    Example:
        >>> round(kl_sparsity(torch.full((8, 3), 0.05), rho=0.05).item(), 4)
        0.0
    """
    rho_hat = at_least_float32(h).flatten(1).mean(dim=0)
    # An affine map keeps it off 0 and 1; unlike clamping, it leaves dead units a gradient.
    rho_hat = 1e-6 + (1 - 2e-6) * rho_hat
    target = torch.full_like(rho_hat, rho)
    return (target * (target / rho_hat).log() + (1 - target) * ((1 - target) / (1 - rho_hat)).log()).sum()


class SparsityPenalty(ABC):
    r"""Base class of penalties :math:`\Omega(h)` that favour codes with few active units."""

    @abstractmethod
    def __call__(self, h: Tensor) -> Tensor:
        """Compute the penalty of codes ``h``, shape ``(B, ...)``, in nats per example, shape ``(B,)`` or ``()``."""

    def check(self, code_range: tuple[float, float]) -> None:
        """Raise a ValueError if the penalty is undefined for codes in ``code_range``. By default, accept all codes."""
        return


@dataclass(frozen=True)
class L1(SparsityPenalty):
    """Sum of absolute values: see :func:`l1`.

    Example:
        >>> L1()(torch.tensor([[1.0, -2.0]]))
        tensor([3.])
    """

    def __call__(self, h: Tensor) -> Tensor:
        return l1(h)


@dataclass(frozen=True)
class KLSparsity(SparsityPenalty):
    r"""KL divergence between a target activity and each unit's mean activity: see :func:`kl_sparsity`.

    Args:
        rho: Target activity :math:`\rho`, in ``(0, 1)``.

    Raises:
        ValueError: If ``rho`` lies outside ``(0, 1)``.

    Example:
        >>> round(KLSparsity(0.05)(torch.full((8, 3), 0.05)).item(), 4)
        0.0
    """

    rho: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.rho < 1:
            raise ValueError(f"rho must lie in (0, 1), but got {self.rho}. Usual values are 0.01 to 0.1.")

    def __call__(self, h: Tensor) -> Tensor:
        return kl_sparsity(h, self.rho)

    def check(self, code_range: tuple[float, float]) -> None:
        if code_range != (0, 1):
            raise ValueError(
                f"KLSparsity needs codes in [0, 1], but these lie in {list(code_range)}. "
                "Use the sigmoid activation, or the penalty L1."
            )


def contraction(f: nn.Module, x: Tensor, *, projections: int | None = None, noise: Noise = Noise()) -> Tensor:
    r"""Compute the squared Frobenius norm of an encoder's Jacobian, :math:`\lVert \partial f / \partial x \rVert_F^2`.

    A single dense layer :math:`h = \varphi(W x + b)` has the closed form
    :math:`\sum_j \varphi'(a_j)^2 \lVert w_j \rVert^2`, as does any other layer whose affine map is in
    :data:`CLOSED_FORMS`. Other encoders are differentiated exactly, at one derivative per input or unit, whichever are
    fewer, or estimated without bias from random projections, at one derivative each:
    :math:`\mathbb E_v \lVert J v \rVert^2 = \lVert J \rVert_F^2` for :math:`v_i = \pm 1`.

    Args:
        f: Encoder ``(B, *in_shape) -> (B, *code_shape)`` that treats examples independently. The closed form needs an
            encoder of named parts: see :class:`~aepretrain.parts.coders.CoderParts`.
        x: Inputs, shape ``(B, *in_shape)``.
        projections: Random directions per example if there is no closed form; ``None`` differentiates exactly.
        noise: Source of the directions.

    Returns:
        One value per example, shape ``(B,)``, differentiable with respect to the weights.

    Reference:
        Rifai et al.: Contractive Auto-Encoders (2011), equations 1 and 4; Hutchinson: A Stochastic Estimator of the
        Trace (1989), for the projections.

    Example:
        >>> contraction(nn.Linear(3, 2, bias=False).requires_grad_(False), torch.zeros(5, 3)).shape
        torch.Size([5])
    """
    return code_and_contraction(f, x, projections=projections, noise=noise)[1]


def code_and_contraction(
    f: nn.Module, x: Tensor, *, projections: int | None = None, noise: Noise = Noise()
) -> tuple[Tensor, Tensor]:
    """Compute the code f(x), shape ``(B, *code_shape)``, and the :func:`contraction`, shape ``(B,)``.

    The closed form takes a single forward pass.

    Example:
        >>> f = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
        >>> h, squared_norm = code_and_contraction(f, torch.zeros(5, 3))
        >>> h.shape, squared_norm.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """
    # In bfloat16 the slope of a nearly saturated unit rounds to 0, so the penalty is computed in full precision.
    with torch.autocast(x.device.type, enabled=False):
        body, affine, activation = _parts(f)
        inputs = body(x)
        weighted = CLOSED_FORMS.get(type(affine))
        if weighted is not None and type(activation) in ELEMENTWISE and inputs.ndim == 2:
            h, slope = _value_and_slope(activation, affine(inputs))
            return h, weighted(affine, slope.square())
        if projections is None:
            return f(x), _contraction_by_jacobian(f, x)
        pairs = [_projected(f, x, noise) for _ in range(projections)]
        return pairs[0][0], torch.stack([estimate for _, estimate in pairs]).mean(dim=0)


JACOBIAN_CHUNK = 64
"""Number of examples whose exact Jacobians are in memory at once."""

ELEMENTWISE = (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.SiLU, nn.GELU, nn.Identity)


def _parts(f: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return body, affine map and activation if the body only flattens, else the encoder between two identities."""
    if isinstance(f, nn.Sequential) and [name for name, _ in f.named_children()] == ["body", "affine", "activation"]:
        body, affine, activation = f
        if all(isinstance(module, nn.Flatten) for module in body.modules() if type(module) is not nn.Sequential):
            return body, affine, activation
    return nn.Identity(), f, nn.Identity()


SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda h: h * (1 - h),
    nn.Tanh: lambda h: 1 - h.square(),
    nn.ReLU: lambda h: (h > 0).to(h.dtype),
}
"""Derivatives of activations as functions of the activation's output."""


def _value_and_slope(activation: nn.Module, a: Tensor) -> tuple[Tensor, Tensor]:
    if (slope_at := SLOPES.get(type(activation))) is not None:
        h = activation(a)
        return h, slope_at(h)
    return jvp(activation, (a,), (torch.ones_like(a),))[:2]


class _SquaredNorms(torch.autograd.Function):
    r"""Squared norm of every row, with the gradient :math:`2 w_j` computed in one pass over the weights."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return torch.linalg.vector_norm(w, dim=1).square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        return w * (2 * grad).unsqueeze(1)


CLOSED_FORMS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    nn.Linear: lambda linear, values: values @ _SquaredNorms.apply(linear.weight),
}
r"""For each type of affine map, :math:`\sum_j s_j \lVert w_j \rVert^2` for values s, ``(B, H) -> (B,)``."""


def _projected(f: nn.Module, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return the code, and its squared derivative along a random direction, shape ``(B,)``."""
    h, moved = jvp(f, (x,), (noise.signs_like(x),))[:2]
    return h, moved.square().flatten(1).sum(dim=1)


def _contraction_by_jacobian(f: nn.Module, x: Tensor) -> Tensor:
    def encode_one(example: Tensor) -> Tensor:
        return f(example.unsqueeze(0)).squeeze(0)

    code_size = encode_one(x[0]).numel()
    jacobian = jacrev if code_size <= x[0].numel() else jacfwd
    return vmap(jacobian(encode_one), chunk_size=JACOBIAN_CHUNK)(x).square().flatten(1).sum(dim=1)
