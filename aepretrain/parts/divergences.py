"""KL divergence of a Gaussian posterior from the standard normal prior, in nats."""

from torch import Tensor

from aepretrain.parts.precision import at_least_float32


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Compute the KL divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, in nats.

    .. math:: \tfrac12 \sum_j \mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1

    Args:
        mean: :math:`\mu`, shape ``(B, ...)``.
        log_var: :math:`\log \sigma^2`, shape ``(B, ...)``.

    Returns:
        One value per example, summed over the code, shape ``(B,)``.

    Reference:
        Kingma, Welling: Auto-Encoding Variational Bayes (2014), appendix B.

    Example:
        >>> kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3))
        tensor([0., 0.])
    """
    return 0.5 * _twice_the_kl(mean, log_var).flatten(1).sum(dim=1)


def kl_per_unit(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Compute the KL divergence of every unit by itself, in nats; they add up to :func:`kl_to_standard_normal`.

    .. math:: \tfrac12 (\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1)

    Args:
        mean: :math:`\mu`, shape ``(B, ...)``.
        log_var: :math:`\log \sigma^2`, shape ``(B, ...)``.

    Returns:
        One value per example and unit, shape ``(B, H)``.

    Example:
        >>> kl_per_unit(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        tensor([[0., 2.]])
    """
    return 0.5 * _twice_the_kl(mean, log_var).flatten(1)


def kl_with_free_bits(mean: Tensor, log_var: Tensor, free_bits: float) -> Tensor:
    r"""Compute the KL divergence of a batch, where every unit has at least so many nats for nothing.

    .. math:: \sum_j \max\Big(\lambda, \; \frac1B \sum_b \mathrm{KL}_{bj}\Big)

    Args:
        mean: :math:`\mu`, shape ``(B, ...)``.
        log_var: :math:`\log \sigma^2`, shape ``(B, ...)``.
        free_bits: :math:`\lambda`, in nats per unit.

    Returns:
        One value for the whole batch, shape ``()``. If several processes share a batch, each averages over its part.

    Reference:
        Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow (2016), equation 15.

    Example:
        >>> kl_with_free_bits(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2), 0.5)
        tensor(2.5000)
    """
    return kl_per_unit(mean, log_var).mean(dim=0).clamp(min=free_bits).sum()


def kl_of_draw(epsilon: Tensor, z: Tensor, log_var: Tensor) -> Tensor:
    r"""Compute the log-ratio of posterior and prior at a draw; its expectation is :func:`kl_to_standard_normal`.

    .. math:: \log \frac{q(z \mid x)}{p(z)} = \tfrac12 \sum_j z_j^2 - \epsilon_j^2 - \log \sigma_j^2,
              \qquad z = \mu + \sigma \epsilon

    Args:
        epsilon: :math:`\epsilon \sim N(0, I)`, shape ``(B, ...)``.
        z: The draw, shape ``(B, ...)``.
        log_var: :math:`\log \sigma^2`, shape ``(B, ...)``.

    Returns:
        One value per example, summed over the code, shape ``(B,)``.

    Reference:
        Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders (2016), equation 8.

    Example:
        >>> kl_of_draw(torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2))
        tensor([1.])
    """
    epsilon, z, log_var = at_least_float32(epsilon), at_least_float32(z), at_least_float32(log_var)
    return 0.5 * (z.square() - epsilon.square() - log_var).flatten(1).sum(dim=1)


def _twice_the_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    mean, log_var = at_least_float32(mean), at_least_float32(log_var)
    return mean.square() + log_var.exp() - log_var - 1
