"""A stack of autoencoders as a transformer of scikit-learn."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from aepretrain.data.named_transforms import NAMED, TransformName
from aepretrain.data.table_transform import TableTransform
from aepretrain.errors import ConfigError, DataError
from aepretrain.export.autoencoder import StackedAutoencoder, load_autoencoder
from aepretrain.export.decoders import has_decoders
from aepretrain.export.encoder import load_encoder, read_encoder_config, save_encoder
from aepretrain.export.module import Encoder
from aepretrain.export.places import local_folder
from aepretrain.layers import Layer
from aepretrain.parts.activations import Activation
from aepretrain.parts.likelihoods import Bernoulli, Gaussian
from aepretrain.pretraining.encoding import ENCODING_BATCH, encode_dataset
from aepretrain.pretraining.stack import GreedyStack, LayerFactory
from aepretrain.sklearn.rows import DividedRows, checked, examples, hold_out, plain, seed_of, table_rows
from aepretrain.sklearn.widths import layer_factories
from aepretrain.training.context import RunContext
from aepretrain.training.options import Pretraining, TrainerOptions


class GreedyEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Codes of a stack that is pretrained greedily, layer by layer, without labels.

    .. math:: h = f_n(\ldots f_1(t(r)))

    The first layer's likelihood is Bernoulli if ``scale`` is minmax; every other is Gaussian. Rows are kept in memory.

    Args:
        layers: Widths of the layers, from the input up; in place of a width, a function that makes a layer from its
            ``in_shape``, to which ``variant``, ``activation`` and ``lr`` do not apply.
        variant: plain, sparse, dropout, contractive, denoising or variational; or a class like these, or a
            ``functools.partial`` of one: ``partial(SparseAutoencoder, lam=0.01)``.
        activation: Activation of the codes, as in :class:`~aepretrain.parts.dense.Dense`.
        scale: Scaling of every feature, fitted on the training rows: standardize, minmax, rank_gauss or none.
        epochs: Passes over the rows for each layer: a number, or one per layer.
        batch_size: Rows per optimizer step: a number, or one per layer.
        lr: Learning rate of Adam.
        patience: Stop a layer after so many epochs without a better reconstruction of held-out rows, and keep the best
            epoch. ``None``: train all epochs on all rows, and keep the last.
        validation_fraction: Share of the rows that are held out if ``patience`` is set.
        run: A run directory, or a folder that :func:`~aepretrain.save_encoder` wrote: :meth:`fit` takes its weights and
            trains nothing, and all other settings are unused. The encoder of a run on a ``Table`` takes frames with
            text and missing values. ``None``: train.
        random_state: Seed of the initial weights, the order of rows and the noise; or a generator to draw it from.
        accelerator: Where training runs: auto, cpu, gpu or another of Lightning's accelerators.
        verbose: 0 prints nothing; 1 shows the progress of every layer.

    Attributes:
        network_: The map from raw rows to codes, a plain torch module: :class:`~aepretrain.export.module.Encoder`.
        autoencoder_: The same with its decoders; ``None`` if a layer has no decoder.
        n_features_in_: Number of features of a row.
        feature_names_in_: Names of the features, if the rows came as a frame with names.

    Raises:
        ValueError: From :meth:`fit`, if a setting or the rows cannot be used.

    Reference:
        Bengio et al.: Greedy Layer-Wise Training of Deep Networks (2007).

    Example:
        >>> x = np.random.rand(100, 12)
        >>> encoder = GreedyEncoder(layers=(16, 4), variant="denoising", epochs=2, random_state=0).fit(x)
        >>> codes = encoder.transform(x)
        >>> codes.shape, encoder.inverse_transform(codes).shape, encoder.score_samples(x).shape
        ((100, 4), (100, 12), (100,))
    """

    def __init__(
        self,
        layers: int | Sequence[int | LayerFactory] = (256, 64),
        *,
        variant: str | Callable[..., Layer] = "denoising",
        activation: Activation = "relu",
        scale: TransformName = "standardize",
        epochs: int | Sequence[int] = 20,
        batch_size: int | Sequence[int] = 32,
        lr: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        run: str | Path | None = None,
        random_state: Any = None,
        accelerator: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.variant = variant
        self.activation = activation
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.run = run
        self.random_state = random_state
        self.accelerator = accelerator
        self.verbose = verbose

    @classmethod
    def from_run(cls, run: str | Path) -> Self:
        """The encoder of a finished run, fitted already. Cloning and fitting it again, as a pipeline does, keeps it.

        Args:
            run: A run directory, or what :func:`~aepretrain.load_encoder` takes: a folder that
                :func:`~aepretrain.save_encoder` wrote, a repository or an artifact.

        Raises:
            StorageError: If a file is missing or damaged.

        Example:
            >>> import tempfile
            >>> from aepretrain import save_encoder
            >>> folder = save_encoder(nn.Sequential(nn.Linear(4, 2)), tempfile.mkdtemp(), in_shape=(4,))
            >>> GreedyEncoder.from_run(folder).transform(np.zeros((3, 4))).shape
            (3, 2)
        """
        return cls(run=run).load()

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the layers one after another.

        Args:
            X: Rows, shape ``(N, D)``: an array, a sparse matrix, which becomes dense, or a frame of numbers.
            y: Not used.
        """
        if self.run is not None:
            self.load().raw(X)
            return self
        if self.scale not in NAMED:
            raise ConfigError(f"scale must be one of {', '.join(NAMED)}, but is {self.scale!r}.")
        x, seed = checked(self, X, fits=True), seed_of(self.random_state)
        rows, held_out = hold_out(len(x), self.validation_fraction, self.patience, seed)
        transform = NAMED[self.scale]().fit(x[rows] if len(held_out) else x)
        x = transform(x)
        train = examples(x, rows)
        assert train is not None
        widths = plain(self.layers)
        widths = widths if isinstance(widths, list) else [widths]
        first = Bernoulli() if self.scale == "minmax" else Gaussian()
        layers = layer_factories(widths, self.variant, activation=self.activation, first=first, lr=self.lr)
        with torch.random.fork_rng(devices=[]):
            stack = GreedyStack(x.shape[1:], layers, seed=seed)
            stack.fit(DividedRows(train, examples(x, held_out)), self._length(), self.context(seed))
        network = Encoder(transform, stack.encoder, x.shape[1:], stack.code_shape)
        self._keep(network, deepcopy(stack.decoders))
        return self

    def load(self) -> Self:
        """Load the weights from ``run``, as :meth:`fit` does."""
        assert self.run is not None
        with local_folder(self.run) as found:
            folder = found / "encoder" if (found / "encoder" / "config.json").is_file() else found
            self.autoencoder_ = load_autoencoder(folder) if has_decoders(read_encoder_config(folder)) else None
            self.network_ = load_encoder(folder) if self.autoencoder_ is None else self.autoencoder_.encoder
        self.n_features_in_ = math.prod(self.network_.in_shape)
        if self.network_.columns is not None and len(self.network_.columns) == self.n_features_in_:
            self.feature_names_in_ = np.asarray(self.network_.columns, dtype=object)
        return self

    def save(self, path: str | Path) -> Path:
        """Save the encoder as a run does, for :func:`~aepretrain.load_encoder` and :meth:`from_run`.

        Args:
            path: The folder, created if missing.

        Returns:
            The folder.

        Raises:
            ValueError: If a layer is made of modules that cannot be described.
            StorageError: If a file cannot be written.
        """
        check_is_fitted(self, "network_")
        network, stack = self.network_, self.autoencoder_
        columns = getattr(self, "feature_names_in_", network.columns)
        decoders = None if stack is None else list(zip(stack.decoders, stack.likelihoods, strict=True))
        return save_encoder(
            network.layers, path, in_shape=network.in_shape, transform=network.transform, columns=columns,
            decoders=decoders,
        )  # fmt: skip

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Codes of rows ``(N, D)``, shape ``(N, H)``, in float32, as ``network_`` computes them."""
        return encode_dataset(self.network_, self.shaped(self.raw(X))).flatten(1).numpy()

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:
        """The expected rows given codes ``(N, H)``, in the units of the rows: shape ``(N, D)``."""
        decoded = self._decoding()
        h = torch.from_numpy(check_array(X, dtype=np.float32, copy=True))
        if h.shape[1] != self._n_features_out:
            raise DataError(f"X must have the {self._n_features_out} features of a code, but has {h.shape[1]}.")
        codes = h.reshape(-1, *decoded.encoder.code_shape)
        with torch.no_grad():
            return torch.cat([decoded.decode(part).flatten(1) for part in codes.split(ENCODING_BATCH)]).numpy()

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the reconstruction loss of rows ``(N, D)``, in nats, shape ``(N,)``: low for unusual rows.

        It is computed in float64 from the trained weights, so that a row has the same score in any batch.
        """
        return -encode_dataset(self._exact_loss(), self.shaped(self.raw(X)), dtype=torch.float64).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of :meth:`score_samples`, by which a search compares settings on held-out rows.

        Compare settings with the same ``scale`` alone: the loss is that of scaled rows.
        """
        return float(self.score_samples(X).mean())

    def raw(self, X: Any) -> Tensor:
        """Rows as float32, shape ``(N, D)``, with the columns of :meth:`fit`; text only where a table is expected."""
        check_is_fitted(self, "network_")
        transform = self.network_.transform
        return table_rows(X, transform) if isinstance(transform, TableTransform) else checked(self, X)

    def shaped(self, rows: Tensor) -> Tensor:
        """Rows ``(N, D)`` as the network takes them, ``(N, *in_shape)``."""
        return rows.reshape(-1, *self.network_.in_shape)

    def context(self, seed: int) -> RunContext:
        """The context in which an estimator trains: nothing is written."""
        return RunContext(seed, TrainerOptions(accelerator=self.accelerator), progress=bool(self.verbose))

    @property
    def _n_features_out(self) -> int:
        return self.network_.out_features

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _length(self) -> Pretraining:
        return Pretraining(plain(self.epochs), plain(self.batch_size), plain(self.patience))

    def _keep(self, network: Encoder, decoders: Any) -> None:
        self.network_, self.autoencoder_ = network.eval(), None
        if decoders is not None:
            modules, likelihoods = zip(*decoders, strict=True)
            self.autoencoder_ = StackedAutoencoder(network, modules, likelihoods).eval()

    def _decoding(self) -> StackedAutoencoder:
        check_is_fitted(self, "network_")
        if self.autoencoder_ is None:
            raise DataError("rows cannot be reconstructed, because the encoder has no decoders. Take transform alone.")
        return self.autoencoder_

    def _exact_loss(self) -> "ReconstructionLoss":
        decoding = deepcopy(self._decoding())
        decoding.encoder.layers.double()
        decoding.decoders.double()
        return ReconstructionLoss(decoding)


class ReconstructionLoss(nn.Module):
    """The reconstruction loss of raw rows as a forward pass, ``(B, *in_shape)`` to ``(B,)``, in nats.

    Args:
        autoencoder: Reconstructs the rows.
    """

    def __init__(self, autoencoder: StackedAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, raw: Tensor) -> Tensor:
        return self.autoencoder.error(raw)


def fit_encoder(encoder: GreedyEncoder | None, X: Any, random_state: Any) -> GreedyEncoder:
    """A copy of an encoder, fitted to rows ``(N, D)``, for another estimator.

    Args:
        encoder: The encoder; ``None``: one with default settings.
        X: The rows.
        random_state: Its ``random_state``, if it has none of its own.
    """
    fresh = GreedyEncoder() if encoder is None else clone(encoder)
    if fresh.random_state is None:
        fresh.set_params(random_state=random_state)
    return fresh.fit(X)
