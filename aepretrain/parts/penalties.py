"""Penalties that regularized autoencoders add to the reconstruction loss, in nats."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aepretrain.parts.precision import at_least_float32
from aepretrain.parts.sparse_codes import JumpReLU


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

    def of_encoder(self, f: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Compute the codes of inputs ``(B, *in_shape)``, shape ``(B, ...)``, and their penalty: :math:`h, \Omega(h)`.

        Args:
            f: The encoder, with children body, affine and activation.
            x: The inputs.
        """
        h = f(x)
        return h, self(h)

    def check(self, code_range: tuple[float, float]) -> None:
        """Raise a ValueError if the penalty is undefined for codes in ``code_range``. By default, accept all codes."""
        return

    def check_activation(self, activation: nn.Module) -> None:
        """Raise a ValueError if the penalty is undefined for codes of this activation. By default, accept all."""
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


@dataclass(frozen=True)
class L0(SparsityPenalty):
    r"""Number of active units of a code with learnt thresholds, :math:`\sum_i [h_i > \theta_i]`.

    The thresholds learn by the straight-through estimate of :meth:`~aepretrain.parts.sparse_codes.JumpReLU.count`. The
    coder needs ``threshold``.

    Reference:
        Rajamanoharan et al.: Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders (2024),
        sections 3 and 4.

    Example:
        >>> L0()(torch.tensor([[0.0, 2.0, 0.5]]))
        tensor([2.])
    """

    def __call__(self, h: Tensor) -> Tensor:
        return (h != 0).flatten(1).sum(dim=1).float()

    def of_encoder(self, f: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
        body, affine, gated = f
        assert isinstance(gated, nn.Sequential)
        activation, jump = gated
        assert isinstance(jump, JumpReLU)
        a = activation(affine(body(x)))
        return jump(a), jump.count(a)

    def check_activation(self, activation: nn.Module) -> None:
        if not isinstance(activation, nn.Sequential) or not isinstance(activation[-1], JumpReLU):
            raise ValueError(
                f"L0 needs units with thresholds, but their activation is {type(activation).__name__}. Set threshold "
                "in the coder, or use the penalty L1."
            )
