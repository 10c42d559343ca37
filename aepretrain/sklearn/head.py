"""What the classifier and the regressor share: a head on a pretrained encoder, fine-tuned on the rows with targets."""

from abc import ABC, abstractmethod
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.optim import Adam

from aepretrain.errors import ConfigError, DataError
from aepretrain.export.heads import output_in_units
from aepretrain.export.module import Encoder
from aepretrain.finetuning.finetune import finetune
from aepretrain.heads import Head
from aepretrain.pretraining.encoding import encode_dataset
from aepretrain.sklearn.encoder import GreedyEncoder, fit_encoder
from aepretrain.sklearn.rows import DividedRows, examples, hold_out, plain, seed_of
from aepretrain.training.options import FineTuning, check_length


class PretrainedEstimator(BaseEstimator, ABC):
    r"""Base of estimators that pretrain a stack on all rows and fine-tune a head on those with a target.

    .. math:: \min_{W, b, f} \; \mathbb E_{x, y} \, \ell(W f(t(x)) + b, y)

    Args:
        encoder: The stack and how it is trained, or ``GreedyEncoder.from_run(...)``; ``None``: ``GreedyEncoder()``.
        epochs: Passes over the rows with a target.
        batch_size: Rows per optimizer step.
        lr: Learning rate of Adam.
        dropout: Probability that a unit of a layer's code is dropped in training, in ``[0, 1)``.
        freeze_encoder: Train the output alone (a linear probe); else the whole network.
        patience: Stop after so many epochs that are not better on held-out rows, and keep the best epoch. ``None``:
            train all epochs on all rows with a target, and keep the last.
        validation_fraction: Share of the rows with a target that are held out if ``patience`` is set. Pretraining sees
            their inputs.
        random_state: Seed of the order of rows and the noise; also of an encoder that has none of its own.
    """

    def __init__(
        self,
        encoder: GreedyEncoder | None = None,
        *,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 1e-3,
        dropout: float = 0.0,
        freeze_encoder: bool = False,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.encoder = encoder
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.dropout = dropout
        self.freeze_encoder = freeze_encoder
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @abstractmethod
    def build_head(self, encoder: nn.Module, **settings: Any) -> Head:
        """The head on an encoder, with the settings of :class:`~aepretrain.heads.base.Head`."""

    def fine_tune(
        self, X: Any, y: Tensor, labelled: NDArray[np.bool_], labels: NDArray[np.int64] | None = None
    ) -> None:
        """Fit the encoder to all rows, and train the head on those with a target.

        Args:
            X: The rows.
            y: Targets of the ``M`` labelled rows, shape ``(M, ...)``.
            labelled: Whether a row has a target, shape ``(N,)``.
            labels: Classes by which held-out rows are chosen, shape ``(M,)``; ``None``: at random.
        """
        seed = seed_of(self.random_state)
        self.encoder_ = fit_encoder(self.encoder, X, seed)
        validate_data(self, X, skip_check_array=True)
        known = self.encoder_.network_
        x = known.preprocess(self.encoder_.shaped(self.encoder_.raw(X)[torch.from_numpy(labelled)]))
        train, held_out = (
            examples(x, rows, y) for rows in hold_out(len(x), self.validation_fraction, self.patience, seed, labels)
        )
        assert train is not None
        with torch.random.fork_rng(devices=[]):
            pretrained = deepcopy(known.layers)
            head = self.build_head(
                deepcopy(known.layers),
                dropout=self.dropout,
                freeze_encoder=self.freeze_encoder,
                optimizer=partial(Adam, lr=self.lr),
            )
            context = self.encoder_.context(seed)
            finetune(head, DividedRows(train, held_out), self._length(), context, pretrained=pretrained)
        output = nn.Sequential(nn.Flatten(), output_in_units(head))
        self.network_ = Encoder(
            known.transform, nn.Sequential(*head.layers, output), known.in_shape, (head.head.out_features,)
        ).requires_grad_(False)

    def outputs(self, X: Any) -> Tensor:
        """Outputs of the head for rows ``(N, D)``, shape ``(N, outputs)``, in float64 from the trained weights."""
        check_is_fitted(self, "network_")
        x, network = self.encoder_.shaped(self.encoder_.raw(X)), self.network_
        validate_data(self, X, reset=False, skip_check_array=True)
        layers = deepcopy(network.layers).double()
        exact = Encoder(network.transform, layers, network.in_shape, network.code_shape)
        return encode_dataset(exact, x, dtype=torch.float64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _length(self) -> FineTuning:
        """Without patience, the last epoch alone is validated, and thereby kept."""
        epochs, batch_size, patience = plain(self.epochs), plain(self.batch_size), plain(self.patience)
        check_length("finetune", epochs, batch_size, patience)
        if epochs == 0:
            raise ConfigError("finetune.epochs must be >= 1, but got 0. Usual values are 10 to 100.")
        return FineTuning(epochs, batch_size, patience, validate_every=epochs if patience is None else 1)


def check_given(estimator: PretrainedEstimator, y: Any) -> None:
    """Raise a DataError without targets."""
    if y is None:
        name = type(estimator).__name__
        raise DataError(f"{name} requires y to be passed, but the target y is None. Give targets.")


def check_labelled(labelled: NDArray[np.bool_], mark: str) -> None:
    """Raise a DataError if no row has a target; ``mark`` says how rows without are marked."""
    if not labelled.any():
        raise DataError(f"y must hold targets, but {mark} in all {len(labelled)} rows. Use GreedyEncoder without any.")
