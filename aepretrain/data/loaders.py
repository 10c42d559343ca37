"""Reading of data loaders: every row of their data sets once, in order."""

import random
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from aepretrain.console import counted
from aepretrain.data.budget import available_memory, format_bytes
from aepretrain.data.origin import Origin, listed
from aepretrain.data.row_store import RowStore, kind_of
from aepretrain.errors import DataError

Key = str | int
"""Where inputs or labels stand in a batch: a key of a dictionary, or a position in a sequence."""
Labels = NDArray[Any] | None
WHOLE = (SequentialSampler, RandomSampler, DistributedSampler, WeightedRandomSampler)
"""Samplers in whose place the whole data set is read in order."""


@dataclass(frozen=True)
class LoadedRows:
    """What is known of the rows of a loader beside their inputs.

    Args:
        count: Number N of rows.
        y: Labels, shape ``(N,)``; ``None``: the batches hold none.
        warnings: Sentences on what reading in order changes.
    """

    count: int
    y: Labels
    warnings: tuple[str, ...] = ()


def read_loader(loader: Iterable[Any], name: str, store: RowStore, *, x: Key = 0, y: Key | None = 1) -> LoadedRows:
    """Read a loader once: all rows of its data set in order, whether or not it shuffles or drops the last batch.

    The first batch is read twice, with different seeds of torch, NumPy and Python: random augmentation is refused.

    Args:
        loader: A DataLoader, or another iterable that yields the same batches in every pass. A batch is a tensor of
            inputs, or a sequence or dictionary that holds inputs, shape ``(B, ...)``, and labels, shape ``(B,)``.
        name: What the loader is called in messages.
        store: The inputs are appended to it.
        x: Where the inputs stand in a batch that is no tensor.
        y: Where the labels stand; ``None``, or a position beyond the end: there are none.

    Raises:
        DataError: If there are no batches, they hold something else, differ in shape or type or from pass to pass, or
            do not fit into memory where the store has no budget.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> rows = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10) % 2)
        >>> store = RowStore()
        >>> found = read_loader(DataLoader(rows, batch_size=4, shuffle=True, drop_last=True), "training loader", store)
        >>> found.count, store.rows().flatten().tolist()[:4], found.y.tolist()[:4]
        (10, [0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1])
    """
    _check_is_one(loader, name)
    sampler = getattr(loader, "sampler", None)
    weighted = f"{name}: its sampler's weights are not used, every row counts once. Set classifier.class_weights."
    before = store.count
    labels = _read_bounded(_in_order(loader), name, store, x, y)
    known = [each for each in labels if each is not None]
    if known and len(known) < len(labels):
        raise DataError(f"{name}: all batches must hold labels, or none, but {len(known)} of {len(labels)} do. Set y.")
    warnings = (weighted,) if isinstance(sampler, WeightedRandomSampler) else ()
    return LoadedRows(store.count - before, np.concatenate(known) if known else None, warnings)


def seed_generators(seed: int) -> None:
    """Seed the random generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _check_is_one(loader: Any, name: str) -> None:
    is_several = isinstance(loader, Mapping | CombinedLoader) or (
        isinstance(loader, Sequence) and any(isinstance(each, DataLoader) for each in loader)
    )
    if is_several:
        raise DataError(f"{name}: there must be one loader, but there are several. Join data sets by ConcatDataset.")
    if isinstance(loader, Tensor | np.ndarray | str) or not isinstance(loader, Iterable):
        raise DataError(
            f"{name} must be a DataLoader, but is of type {type(loader).__name__}. Arrays go into ae.Arrays(x, y)."
        )


def _in_order(loader: Iterable[Any]) -> Iterable[Any]:
    """The loader with the rows of its data set in order; itself where batches or samplers are of the user's own."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        return loader
    if isinstance(loader.sampler, SubsetRandomSampler):
        rows: Sequence[int] = sorted(loader.sampler.indices)
    elif isinstance(loader.sampler, WHOLE):
        rows = range(_length(loader.dataset))
    else:
        return loader
    return DataLoader(
        loader.dataset,
        loader.batch_size,
        sampler=rows,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
    )


def _read_bounded(loader: Iterable[Any], name: str, store: RowStore, x: Key, y: Key | None) -> list[Labels]:
    """Append the inputs of all batches to the store; returns their labels."""
    seed_generators(0)
    first = next((_inputs(batch, name, x) for batch in loader), None)
    if first is None:
        raise DataError(f"{name} gives no batches. Check its data set and its sampler.")
    seed_generators(1)
    count, number, before = _number_of_rows(loader), 0, store.count
    labels: list[Labels] = []
    free = available_memory()
    with counted(count or None) as count_on:
        for batch in loader:
            inputs = _inputs(batch, name, x)
            if not labels:
                _check_alike(first, inputs, name)
            if store.kind not in (None, kind_of(inputs)):
                raise DataError(
                    f"{name}: inputs must have one shape and type, but have {store.kind}, {kind_of(inputs)}. Resize "
                    "or cast them, in all loaders alike."
                )
            if store.limit is None:
                _check_room(before + max(count, number + len(inputs)), inputs, free, name)
            labels.append(_labels(batch, len(inputs), name, y))
            store.append(inputs, Origin(name), first=number, coming=max(count - number, 0))
            number += len(inputs)
            count_on(len(inputs))
    if not labels:
        raise DataError(
            f"{name} must give the same batches in every pass, but gives none in the second. Use a DataLoader."
        )
    return labels


def _check_room(count: int, inputs: Tensor, free: int, name: str) -> None:
    """Raise a DataError if so many rows like these do not fit into memory."""
    needed = 2 * 4 * count * inputs.shape[1:].numel()
    if needed > free:
        raise DataError(
            f"{name}: its inputs need {format_bytes(needed)} as float32 with their splits, but {format_bytes(free)} "
            "are free. Set memory_budget, as in ae.LightningData(module, memory_budget='2GB')."
        )


def _length(rows: Any) -> int:
    return len(rows)


def _number_of_rows(loader: Iterable[Any]) -> int:
    """Number of rows of a loader where it is known, else 0."""
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, Sized):
        return 0
    return len(loader.sampler) if loader.batch_size else 0


def _check_alike(first: Tensor, again: Tensor, name: str) -> None:
    if first.shape != again.shape or not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise DataError(
            f"{name} must give the same rows in every pass, but the first batch differs when it is read again. Take "
            "random augmentation and shuffling out of its data set; noise belongs into the layer (corruption)."
        )


def _inputs(batch: Any, name: str, x: Key) -> Tensor:
    """The inputs of a batch, in memory of the CPU."""
    inputs = batch if isinstance(batch, Tensor | np.ndarray) else _entry(batch, x, name, "x")
    if not isinstance(inputs, Tensor | np.ndarray) or not inputs.ndim:
        raise DataError(
            f"{name}: inputs must be tensors, but a batch holds a {type(inputs).__name__} at {x!r}. Set x to the place "
            "of a tensor, or collate rows to tensors."
        )
    return torch.as_tensor(inputs).detach().cpu()


def _labels(batch: Any, count: int, name: str, y: Key | None) -> Labels:
    """The labels of a batch of ``count`` rows; ``None``: it holds none."""
    if y is None or isinstance(batch, Tensor | np.ndarray) or (isinstance(y, int) and _is_short(batch, y)):
        return None
    labels = _entry(batch, y, name, "y")
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.size != count or not len(values.shape):
        raise DataError(
            f"{name}: labels must have the shape ({count},), but have {values.shape}. Give numbers of classes, not "
            "one-hot rows."
        )
    return values.reshape(count)


def _is_short(batch: Any, place: int) -> bool:
    return isinstance(batch, Sequence) and len(batch) <= place


def _entry(batch: Any, key: Key, name: str, setting: str) -> Any:
    """An entry of a batch that is a sequence or a dictionary."""
    if isinstance(batch, Mapping):
        if key in batch:
            return batch[key]
        known = f"a dictionary of {listed([repr(each) for each in batch])}"
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        if isinstance(key, int) and not _is_short(batch, key):
            return batch[key]
        known = f"a {type(batch).__name__} of {len(batch)}"
    else:
        raise DataError(
            f"{name}: batches must be tensors, sequences or dictionaries, but are of type {type(batch).__name__}. "
            "Collate rows to tensors."
        )
    raise DataError(f"{name}: batches must have an entry {key!r}, but are {known}. Set {setting} to the right entry.")
