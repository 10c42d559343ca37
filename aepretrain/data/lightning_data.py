"""A LightningDataModule or plain DataLoaders as a data source."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from aepretrain.data.arrays import Arrays
from aepretrain.data.base import DataModule
from aepretrain.data.budget import format_bytes, parse_budget
from aepretrain.data.decoded import DEFAULT_CACHE
from aepretrain.data.given_splits import ORDER
from aepretrain.data.loaders import Key, Labels, LoadedRows, read_loader, seed_generators
from aepretrain.data.lock import locked
from aepretrain.data.origin import Origin
from aepretrain.data.paths import user_path
from aepretrain.data.row_store import RowStore
from aepretrain.data.rows import Inputs
from aepretrain.data.words import list_of
from aepretrain.errors import AEPretrainError, ConfigError, DataError
from aepretrain.storage.files import make_folder
from aepretrain.storage.json_files import reason_of

AnyData = LightningDataModule | Iterable[Any]
"""A source of this package, a LightningDataModule, a DataLoader, or a sequence of loaders for training, validation and
test."""
HOOKS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}
"""The method of a LightningDataModule that gives the loader of a split."""
DURING_TRAINING = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Methods by which a LightningDataModule changes batches during training, when rows here have been read already."""


class LightningData(Arrays):
    """A LightningDataModule, whose rows are read once.

    They stay in memory. If twice their size as float32 exceeds the memory budget, they go to a file instead, and a
    thread reads rows ahead during training. The batches are bitwise the same.

    Its loaders give the splits. A validation or test split without a loader is taken from the training rows. Rows are
    read in the order of the data sets, so that shuffling, ``batch_size`` and ``drop_last`` of its loaders change
    nothing, and ``setup`` is called with a fixed seed. Random augmentation is refused: every row is read once.

    Args:
        datamodule: The LightningDataModule.
        x: Where the inputs stand in a batch that is no tensor: a position, or a key of a dictionary.
        y: Where the labels stand; null, or a position beyond the end: there are none.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.
        cache: Folder for the file, which is removed when the process ends, and for the lock of ``prepare_data``;
            ``None`` is ``~/.cache/aepretrain/decoded``.
        kwargs: Passed to :class:`Arrays`.

    Raises:
        DataError: If a loader cannot be read as :func:`~aepretrain.data.loaders.read_loader` says, only some of the
            loaders give labels, or as for :class:`Arrays`.
        ConfigError: If the data module is a source of this package, validation and test inputs take more than half of
            the budget, or as for :class:`Arrays`.
        StorageError: If the file cannot be written.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> rows = TensorDataset(torch.rand(60, 4), torch.arange(60) % 3)
        >>> data = LightningData(LightningDataModule.from_datasets(rows))
        >>> data.in_shape, data.num_classes, len(data.splits().train)
        ((4,), 3, 36)
    """

    def __init__(
        self,
        datamodule: LightningDataModule,
        *,
        x: Key = 0,
        y: Key | None = 1,
        memory_budget: str | int | None = None,
        cache: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        name = type(datamodule).__name__
        self.memory_limit = parse_budget(memory_budget)
        store = RowStore(self.memory_limit, user_path(DEFAULT_CACHE if cache is None else cache))
        loaded = _read(datamodule, name, store, x, y)
        counts = {split: rows.count for split, rows in loaded.items()}
        self.origin = Origin(name, [(f"the {split} loader", count) for split, count in counts.items()])
        splits = np.repeat(list(counts), list(counts.values())) if len(counts) > 1 else None
        self._folder = store.folder if store.is_on_disk else None
        inputs: Inputs = store.rows(self.read_ahead)
        super().__init__(inputs, _labels(loaded, name), splits=splits, **kwargs)
        if not isinstance(inputs, Tensor):
            self.notes.append(f"{name}: inputs of {format_bytes(inputs.nbytes)} went to a file in {store.folder}.")
        self.name = name
        self.division = replace(self.division, giver=f"the loaders of {name}")
        self.add_warnings([warning for rows in loaded.values() for warning in rows.warnings])

    def to_inputs(self, values: Any, origin: Origin) -> tuple[Inputs, bool]:
        """As for arrays, but ``more_inputs`` go to a file of their own where the rows of the loaders went to one."""
        x, is_bytes = super().to_inputs(values, origin)
        if self._folder is None or not isinstance(x, Tensor):
            return x, is_bytes
        store = RowStore(0, self._folder)
        store.append(x.byte() if is_bytes else x, origin)
        return store.rows(self.read_ahead), is_bytes


def from_loaders(
    train: Iterable[Any], validation: Iterable[Any] | None = None, test: Iterable[Any] | None = None, **settings: Any
) -> LightningData:
    """Data from DataLoaders, as :class:`LightningData` reads them.

    Args:
        train: Loader of the training rows.
        validation: Loader of the validation rows; ``None``: they are taken from the training rows.
        test: Loader of the test rows; ``None``: they are taken from the training rows.
        settings: Passed to :class:`LightningData`.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> rows = TensorDataset(torch.rand(60, 4), torch.arange(60) % 3)
        >>> data = from_loaders(DataLoader(rows, 20, shuffle=True), DataLoader(rows, 20), labels=12)
        >>> len(data.splits().train), len(data.splits().validation), len(data.splits().test)
        (12, 60, 12)
    """
    given = {"train": train, "validation": validation, "test": test}
    methods = {HOOKS[split]: _giving(loader) for split, loader in given.items() if loader is not None}
    return LightningData(type("Loaders", (LightningDataModule,), methods)(), **settings)


def as_source(data: AnyData) -> DataModule:
    """A source of this package as it is; a LightningDataModule, a loader or a sequence of loaders as one.

    Args:
        data: What :meth:`GreedyStack.fit`, ``finetune`` and ``Experiment`` take.

    Raises:
        DataError: If it is something else, or as for :class:`LightningData`.
    """
    if isinstance(data, DataModule):
        return data
    if isinstance(data, LightningDataModule):
        return LightningData(data)
    if isinstance(data, str | Path | Mapping | Tensor | np.ndarray) or not isinstance(data, Iterable):
        raise DataError(
            f"data must be a source, a LightningDataModule or loaders, but is a {type(data).__name__}. Files are read "
            "by ae.Table or ae.MappedArray, arrays by ae.Arrays."
        )
    return from_loaders(*([data] if isinstance(data, DataLoader) else data))


def _giving(loader: Iterable[Any]) -> Callable[[Any], Iterable[Any]]:
    """A method that gives a loader."""
    return lambda self: loader


def _read(datamodule: LightningDataModule, name: str, store: RowStore, x: Key, y: Key | None) -> dict[str, LoadedRows]:
    """Append the inputs of each split to the store; return the rows of each loader by its split's name."""
    if isinstance(datamodule, DataModule):
        raise ConfigError(f"{name} is a source already and needs no LightningData. Name it as data itself.")
    for hook in DURING_TRAINING:
        if is_overridden(hook, datamodule):
            raise DataError(
                f"{name}.{hook} changes batches during training, but rows are read once, before it. Leave it out, and "
                "change rows in the data set."
            )
    if not is_overridden(HOOKS["train"], datamodule):
        raise DataError(f"{name} has no train_dataloader. Write one, or call setup before it.")
    # A data module is the user's own code, which may raise anything.
    try:
        with isolate_rng(include_cuda=False):
            return dict(_read_splits(datamodule, name, store, x, y))
    except AEPretrainError:
        raise
    except Exception as error:
        raise DataError(f"{name} cannot be read: {type(error).__name__}: {reason_of(error)}. Mend it.") from error


def _read_splits(
    datamodule: LightningDataModule, name: str, store: RowStore, x: Key, y: Key | None
) -> Iterator[tuple[str, LoadedRows]]:
    """The splits in the order in which a Trainer sets them up."""
    make_folder(store.folder)
    with locked(store.folder / f".{name}.lock"):  # one process downloads, the others wait for it
        datamodule.prepare_data()
    for stage, splits in (("fit", ORDER[:2]), ("test", ORDER[2:])):
        given = [split for split in splits if is_overridden(HOOKS[split], datamodule)]
        if given:
            seed_generators(0)
            datamodule.setup(stage)
        for split in given:
            loader = getattr(datamodule, HOOKS[split])()
            yield split, read_loader(loader, f"{name}, {split} loader", store, x=x, y=y)
        if given:
            datamodule.teardown(stage)


def _labels(loaded: Mapping[str, LoadedRows], name: str) -> Labels:
    """The labels of all splits, in their order; ``None``: there are none."""
    without = [split for split, rows in loaded.items() if rows.y is None]
    if 0 < len(without) < len(loaded):
        raise DataError(
            f"{name}: all loaders must give labels, or none, but {list_of(without)} gives none. Leave that loader out, "
            "or leave out all labels by y=None."
        )
    return None if without else np.concatenate([rows.y for rows in loaded.values() if rows.y is not None])
