"""The contraction: the squared norm of an encoder's Jacobian, in closed form or from random projections."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, jvp, vmap

from aepretrain.parts.noise import Noise


def contraction(f: nn.Module, x: Tensor, *, projections: int | None = None, noise: Noise = Noise()) -> Tensor:
    r"""Compute the squared Frobenius norm of an encoder's Jacobian, :math:`\lVert \partial f / \partial x \rVert_F^2`.

    A single dense layer :math:`h = \varphi(W x + b)` has the closed form
    :math:`\sum_j \varphi'(a_j)^2 \lVert w_j \rVert^2`. So does a single convolution, where :math:`w_j` is the part of
    the kernel that lies within the input, and any other layer whose affine map is in :data:`CLOSED_FORMS`. Other
    encoders are differentiated exactly, at one derivative per input or unit, whichever are fewer, or estimated without
    bias from random projections, at one derivative each:
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
        if weighted is not None and type(activation) in ELEMENTWISE and _fits(affine, inputs):
            h, slope = _value_and_slope(activation, affine(inputs))
            return h, weighted(affine, inputs, slope.square())
        if projections is None:
            return f(x), _contraction_by_jacobian(f, x)
        pairs = [_projected(f, x, noise) for _ in range(projections)]
        return pairs[0][0], torch.stack([estimate for _, estimate in pairs]).mean(dim=0)


JACOBIAN_CHUNK = 64
"""Number of examples whose exact Jacobians are in memory at once."""

ELEMENTWISE = (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.SiLU, nn.GELU, nn.Identity)


def _parts(f: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return body, affine map and activation if the body only reshapes, else the encoder between two identities."""
    if isinstance(f, nn.Sequential) and [name for name, _ in f.named_children()] == ["body", "affine", "activation"]:
        body, affine, activation = f
        if all(isinstance(module, nn.Sequential | nn.Flatten | nn.Unflatten) for module in body.modules()):
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


def _of_convolution(convolution: nn.Conv1d | nn.Conv2d, inputs: Tensor, values: Tensor) -> Tensor:
    convolve: Any = F.conv1d if isinstance(convolution, nn.Conv1d) else F.conv2d
    how = convolution.stride, convolution.padding, convolution.dilation, convolution.groups
    # Of the kernel at a border, only the weights within the input count: there the input of ones is 1.
    squared_norms = convolve(torch.ones_like(inputs[:1]), convolution.weight.square(), None, *how)
    return (values * squared_norms).flatten(1).sum(dim=1)


CLOSED_FORMS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.Linear: lambda linear, inputs, values: values @ _SquaredNorms.apply(linear.weight),
    nn.Conv1d: _of_convolution,
    nn.Conv2d: _of_convolution,
}
r"""For each type of affine map, :math:`\sum_j s_j \lVert w_j \rVert^2` for inputs and values s of its outputs:
``(B, *in_shape), (B, *code_shape) -> (B,)``."""


def _fits(affine: nn.Module, inputs: Tensor) -> bool:
    """Whether the closed form holds for these inputs: a dense layer of rows, a convolution with zeros around them."""
    is_convolution = isinstance(affine, nn.Conv1d | nn.Conv2d)
    return affine.padding_mode == "zeros" if is_convolution else inputs.ndim == 2


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
