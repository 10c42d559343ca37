"""Activations that leave few units of a code active: the k largest, or those above a learnt threshold."""

import torch
from torch import Tensor, nn

from aepretrain.parts.precision import at_least_float32

BANDWIDTH = 0.001
"""Usual width of the kernel by which a threshold learns, in units of the code."""


class TopK(nn.Module):
    r"""Keeps the k largest values of a code and sets the others to zero.

    .. math:: h_i \mapsto h_i \, [\, h_i \text{ is among the } k \text{ largest}\,]

    Args:
        k: Number of values that are kept, at least 1 and at most H.

    Reference:
        Makhzani, Frey: k-Sparse Autoencoders (2014); Gao et al.: Scaling and Evaluating Sparse Autoencoders (2024).

    Example:
        >>> TopK(2)(torch.tensor([[0.3, 0.1, 0.7]]))
        tensor([[0.3000, 0.0000, 0.7000]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, h: Tensor) -> Tensor:
        largest, places = h.topk(self.k, dim=1)
        return torch.zeros_like(h).scatter(1, places, largest)

    def extra_repr(self) -> str:
        return f"k={self.k}"


class JumpReLU(nn.Module):
    r"""Sets the values of a code to zero that are not above a threshold, which every unit learns.

    .. math:: h_i \mapsto h_i \, [h_i > \theta_i], \qquad
        \frac{\partial}{\partial \theta_i} := -\frac{\theta_i}{\varepsilon} \,
        [\, |h_i - \theta_i| < \tfrac{\varepsilon}{2} \,]

    The derivative by the threshold, zero almost everywhere, is replaced by that of a jump smoothed by a rectangle of
    width :math:`\varepsilon` (straight-through estimate). The parameter is :math:`\log \theta`, so that thresholds stay
    positive.

    Args:
        features: Number of units H.
        threshold: Initial value of all :math:`\theta_i`, above 0.
        bandwidth: :math:`\varepsilon`, above 0.

    Reference:
        Rajamanoharan et al.: Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders (2024),
        equations 3 and 11.

    Example:
        >>> JumpReLU(3, threshold=0.5)(torch.tensor([[0.3, -0.1, 0.7]])).tolist()
        [[0.0, -0.0, 0.699999988079071]]
    """

    def __init__(self, features: int, threshold: float = BANDWIDTH, bandwidth: float = BANDWIDTH) -> None:
        super().__init__()
        self.features = features
        self.bandwidth = bandwidth
        self.log_threshold = nn.Parameter(torch.full((features,), threshold).log())

    def forward(self, h: Tensor) -> Tensor:
        threshold = self.log_threshold.exp()
        gated = h * (h > threshold)
        return gated + self._slope(h, threshold, height=threshold) if self.training else gated

    def count(self, h: Tensor) -> Tensor:
        r"""Count the values of codes ``(B, features)`` above their thresholds, shape ``(B,)``.

        .. math:: \sum_i [h_i > \theta_i], \qquad \frac{\partial}{\partial \theta_i} := -\frac1\varepsilon \,
            [\, |h_i - \theta_i| < \tfrac{\varepsilon}{2} \,]

        The estimate has no gradient with respect to h.

        Example:
            >>> JumpReLU(3, threshold=0.5).count(torch.tensor([[0.3, 0.9, 0.7]])).tolist()
            [2.0]
        """
        h = at_least_float32(h).detach()
        threshold = self.log_threshold.exp()
        return ((h > threshold) + self._slope(h, threshold, height=1.0)).sum(dim=1)

    def _slope(self, h: Tensor, threshold: Tensor, *, height: Tensor | float) -> Tensor:
        """Zero, whose gradient by the threshold is that of a jump of this height, smoothed by the kernel."""
        is_near = (h - threshold).abs() < self.bandwidth / 2
        return (-height / self.bandwidth * is_near).detach() * (threshold - threshold.detach())

    def extra_repr(self) -> str:
        return f"features={self.features}"
