"""The module of a loaded autoencoder: the encoder of raw values, and the decoders that lead back to them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from aepretrain.errors import ConfigError, StorageError
from aepretrain.export.decoders import load_decoders
from aepretrain.export.encoder import load_encoder, read_encoder_config
from aepretrain.export.module import Encoder
from aepretrain.export.outliers import CONTAMINATION, ValidationErrors
from aepretrain.export.places import local_folder
from aepretrain.parts.likelihoods import Likelihood


class StackedAutoencoder(nn.Module):
    r"""A pretrained stack with its decoders, for raw values.

    .. math:: h = f_n(\ldots f_1(t(r))), \qquad y = g_1(\mu_2(g_2(\ldots \mu_n(g_n(h))))), \qquad
        L = -\log p_1(t(r) \mid y)

    :math:`\mu_k` is the mean of the likelihood of layer k.

    Args:
        encoder: The transform :math:`t` and the layers :math:`f_k`.
        decoders: :math:`g_k`, from the input up.
        likelihoods: :math:`p_k`, from the input up.
        validation_errors: :math:`L` of validation rows; ``None``: unknown.

    Example:
        >>> from aepretrain.data.transforms import Scale
        >>> from aepretrain.parts.likelihoods import Gaussian
        >>> encoder = Encoder(Scale(255), nn.Sequential(nn.Linear(4, 2)), (4,), (2,))
        >>> autoencoder = StackedAutoencoder(encoder, [nn.Linear(2, 4)], [Gaussian()])
        >>> autoencoder.error(torch.rand(3, 4)).shape, autoencoder.reconstruct(torch.rand(3, 4)).shape
        (torch.Size([3]), torch.Size([3, 4]))
    """

    def __init__(
        self,
        encoder: Encoder,
        decoders: Sequence[nn.Module],
        likelihoods: Sequence[Likelihood],
        *,
        validation_errors: ValidationErrors | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoders = nn.ModuleList(decoders)
        self.likelihoods = list(likelihoods)
        self.validation_errors = validation_errors

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of the first layer: that of the scaled input."""
        return self.likelihoods[0]

    def lower(self, depth: int) -> "StackedAutoencoder":
        """The lowest layers as an autoencoder of their own, which shares the weights.

        Args:
            depth: Number of layers, at least 1.
        """
        lower = self.encoder.lower(depth), list(self.decoders)[:depth], self.likelihoods[:depth]
        return StackedAutoencoder(
            *lower, validation_errors=self.validation_errors if depth == len(self.decoders) else None
        )

    def encode(self, raw: Tensor) -> Tensor:
        """Codes of raw values: ``(B, *in_shape)`` to ``(B, *code_shape)``."""
        return self.encoder(raw)

    def outputs(self, h: Tensor) -> Tensor:
        """Outputs of the first decoder given codes of the last layer: ``(B, *code_shape)`` to ``(B, *in_shape)``.

        They parametrize the likelihood, for example as logits.
        """
        for k in range(len(self.decoders) - 1, 0, -1):
            h = self.likelihoods[k].mean(self.decoders[k](h))
        return self.decoders[0](h)

    def decode(self, h: Tensor) -> Tensor:
        """The expected raw values given codes: ``(B, *code_shape)`` to ``(B, *in_shape)``."""
        return self.encoder.transform.inverse(self.likelihood.mean(self.outputs(h)))

    def reconstruct(self, raw: Tensor) -> Tensor:
        """The expected raw values given the codes of raw values, shape ``(B, *in_shape)``."""
        return self.decode(self.encode(raw))

    def forward(self, raw: Tensor) -> Tensor:
        """The reconstruction, as :meth:`reconstruct`."""
        return self.reconstruct(raw)

    def error(self, raw: Tensor, h: Tensor | None = None) -> Tensor:
        """The reconstruction loss of raw values ``(B, *in_shape)``, in nats, shape ``(B,)``.

        It is large for values unlike those that the stack was trained on.

        Args:
            raw: The raw values.
            h: Codes to reconstruct them from, ``(B, *code_shape)``; ``None``: the encoder's own.
        """
        scaled = self.encoder.preprocess(raw)
        return self.likelihood(scaled, self.outputs(self.encoder.code(scaled) if h is None else h))

    def score(self, raw: Tensor) -> Tensor:
        """The log-likelihood of raw values ``(B, *in_shape)`` given their codes, in nats, shape ``(B,)``.

        It is minus the :meth:`error`: small for values unlike those that the stack was trained on.
        """
        return -self.error(raw)

    def threshold(self, contamination: float = CONTAMINATION) -> float:
        """The reconstruction error above which a row is an outlier, in nats, found on the validation rows of the run.

        Of new rows like the validation rows, on average at most the share ``contamination`` lie above it.

        Args:
            contamination: The share, in ``(0, 0.5]``.

        Raises:
            ConfigError: If no errors of validation rows were saved, or they are too few for the share.
        """
        if self.validation_errors is None:
            raise ConfigError(
                "outliers need errors of validation rows, which were not saved with these decoders. Take the whole "
                "pretrained encoder of a run of this version."
            )
        return self.validation_errors.threshold(contamination)

    def is_outlier(self, raw: Tensor, contamination: float = CONTAMINATION) -> Tensor:
        """Whether the :meth:`error` of raw values ``(B, *in_shape)`` is above the :meth:`threshold`, shape ``(B,)``."""
        return self.error(raw) > self.threshold(contamination)

    def error_per_feature(self, raw: Tensor) -> Tensor:
        """The part of each feature in :meth:`error`, in nats, shape ``(B, D)``."""
        scaled = self.encoder.preprocess(raw)
        return self.likelihood.per_feature(scaled, self.outputs(self.encoder.code(scaled)))


def load_autoencoder(path: str | Path) -> StackedAutoencoder:
    """Load a pretrained stack with its decoders as a plain torch module, without Lightning.

    Args:
        path: As for :func:`~aepretrain.export.encoder.load_encoder`: ``encoder`` in a run directory, for example.

    Returns:
        The autoencoder of raw values, on the CPU and in evaluation mode.

    Raises:
        StorageError: If a file is missing or damaged, the folder has no decoders, or they do not fit the encoder.

    Example:
        >>> import tempfile
        >>> from aepretrain import Bernoulli, save_encoder
        >>> encoder, decoder = nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), nn.Linear(2, 4)
        >>> folder = save_encoder(encoder, tempfile.mkdtemp(), in_shape=(4,), decoders=[(decoder, Bernoulli())])
        >>> load_autoencoder(folder).error(torch.rand(3, 4)).shape
        torch.Size([3])
    """
    with local_folder(path) as folder:
        return _load(folder)


def _load(folder: Path) -> StackedAutoencoder:
    encoder, config = load_encoder(folder), read_encoder_config(folder)
    decoders, likelihoods, errors = load_decoders(folder, config)
    autoencoder = StackedAutoencoder(encoder, list(decoders), likelihoods, validation_errors=errors).eval()
    try:
        with torch.no_grad():
            rebuilt = autoencoder.outputs(torch.zeros(1, *encoder.code_shape)).shape[1:]
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{folder}: the decoders do not take the codes of the encoder: {reason}") from error
    if tuple(rebuilt) != (taken := encoder.scaled_shape):
        raise StorageError(f"{folder}: the decoders lead to {tuple(rebuilt)}, but in_shape is {taken}.")
    return autoencoder


def encoder_of(network: Encoder | StackedAutoencoder) -> Encoder:
    """The encoder of an autoencoder; an encoder is its own.

    Example:
        >>> encoder = Encoder(NoTransform(), nn.Linear(4, 2), (4,), (2,))
        >>> encoder_of(encoder) is encoder
        True
    """
    return network.encoder if isinstance(network, StackedAutoencoder) else network
