"""The figures of an epoch, computed and logged in one go: Lightning takes a fifth of a millisecond for each."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from aepretrain.parts.precision import at_least_float32


class Figures:
    r"""Takes the place of a module's ``log_dict`` in validation, and gives the same figures to the same readers.

    .. math:: \bar v = \frac{\sum_b n_b v_b}{\sum_b n_b}

    over the batches b of all processes, with their sizes :math:`n_b`. Taken over are scalar tensors logged with their
    ``batch_size`` and ``sync_dist`` and nothing else; what is logged in another way goes on to Lightning.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._sizes: dict[str, int] = {}
        self._row: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def of(self, module: LightningModule) -> Iterator[None]:
        """Take what a module logs in validation."""
        lightnings = module.log_dict

        def log_dict(dictionary: Mapping[str, Any], *others: Any, **how: Any) -> None:
            scalars = all(isinstance(value, Tensor) and value.ndim == 0 for value in dictionary.values())
            means = scalars and not others and how.keys() == {"batch_size", "sync_dist"} and all(how.values())
            if means and module.trainer.validating:
                self.add(dictionary, how["batch_size"])
            else:
                lightnings(dictionary, *others, **how)

        module.log_dict = log_dict  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            del module.log_dict

    def add(self, figures: Mapping[str, Tensor], size: int = 1) -> None:
        """Add the means over so many examples."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + at_least_float32(value.detach()) * size
            self._sizes[name] = self._sizes.get(name, 0) + size

    def publish(self, trainer: Trainer) -> None:
        """Show the means of what was added to all callbacks."""
        if not self._sums:
            return
        sums = torch.stack(list(self._sums.values()))
        sizes = torch.tensor(list(self._sizes.values())).to(sums)
        sums, sizes = trainer.strategy.reduce(torch.stack([sums, sizes]), reduce_op="sum")
        means = dict(zip(self._sums, (sums / sizes).unbind(), strict=True))
        for known in (trainer.callback_metrics, trainer.logged_metrics, self._row):
            known.update(means)
        self._sums, self._sizes = {}, {}

    def log(self, trainer: Trainer) -> None:
        """Hand over to the loggers, as one row, what was published since the last one."""
        self.publish(trainer)
        if self._row and trainer.loggers:
            values = torch.stack(list(self._row.values())).tolist()
            row = {**dict(zip(self._row, values, strict=True)), "epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                logger.log_metrics(row, trainer.global_step - 1)
                logger.save()
        self._row = {}
