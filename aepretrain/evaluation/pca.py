"""Principal components, the linear autoencoder with the least squared error."""

import numpy as np
from sklearn.decomposition import PCA
from torch import Tensor

from aepretrain.data.rows import Inputs

MOST = 60_000
"""Number of training examples that the components are found on, at most."""


def pca_errors(train: Inputs, others: list[Tensor], components: int) -> list[float]:
    r"""Compute the mean squared error of reconstruction from principal components, :math:`\lVert x - \hat x \rVert^2`.

    Args:
        train: Examples that the components are found on, shape ``(N, *in_shape)``; the first 60,000 are used.
        others: Examples to reconstruct, each of shape ``(M, *in_shape)``.
        components: Number of components; more than there can be are as good as all.

    Returns:
        For each tensor of ``others`` the mean over its examples of the error summed over features.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 2.12.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> [round(error, 4) for error in pca_errors(x, [x, torch.tensor([[1.0, 0.0]])], components=1)]
        [0.0, 0.5]
    """
    fitted = train[:MOST].flatten(1).double().numpy()
    pca = PCA(min(components, *fitted.shape), svd_solver="full" if fitted.size < 1e6 else "covariance_eigh").fit(fitted)
    flat = [x.flatten(1).double().numpy() for x in others]
    return [float(np.square(x - pca.inverse_transform(pca.transform(x))).sum(axis=1).mean()) for x in flat]
