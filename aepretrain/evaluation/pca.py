"""Principal components, the linear autoencoder with the least squared error."""

from collections.abc import Sequence

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from aepretrain.data.rows import Inputs
from aepretrain.evaluation.row_errors import errors_of
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.results.row_errors import RowErrors

MOST = 60_000
"""Number of training examples that the components are found on, at most."""


def pca_errors(train: Inputs, others: Sequence[Inputs], components: int, likelihood: Likelihood) -> list[RowErrors]:
    r"""Compute the errors of reconstruction from principal components, one by one.

    .. math:: \lVert x - \hat x \rVert^2, \qquad L(x, y) \text{ where } \mathbb E_{p(\cdot \mid y)} x = \hat x

    Reconstructions leave the range of probabilities, so for the nats they are first kept
    :data:`~aepretrain.parts.likelihoods.LEAST_PROBABILITY` away from 0 and 1 where the likelihood has logits.

    Args:
        train: Examples that the components are found on, shape ``(N, *in_shape)``; the first 60,000 are used.
        others: Examples to reconstruct, each of shape ``(M, *in_shape)``.
        components: Number of components; more than there can be are as good as all.
        likelihood: The likelihood :math:`L` whose loss is measured.

    Returns:
        For each of ``others`` the errors of its examples, summed over features.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 2.12.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> (found,) = pca_errors(x, [torch.tensor([[1.0, 0.0]])], 1, Gaussian())
        >>> found.squared_error.round(4).tolist(), found.nats.round(4).tolist()
        ([0.5], [0.25])
    """
    fitted = train[:MOST].flatten(1).double().numpy()
    pca = PCA(min(components, *fitted.shape), svd_solver="full" if fitted.size < 1e6 else "covariance_eigh").fit(fitted)

    def errors(x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1).double().numpy()
        mean = torch.from_numpy(pca.inverse_transform(pca.transform(flat))).reshape(x.shape)
        return mean, likelihood(x.double(), likelihood.output_of_mean(mean))

    return [errors_of(x, errors) for x in others]
