"""Division of rows into training, validation and test data: at random, by groups, by time, or as given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.examples import Examples, Source
from aepretrain.data.given_splits import EXAMPLES, ORDER, number_splits
from aepretrain.data.groups import check_splits, number_groups, take_groups
from aepretrain.data.neighbours import alike_neighbours, overlap_at_borders
from aepretrain.data.origin import Origin
from aepretrain.data.random_division import divide_rows, draw
from aepretrain.data.times import first_times, rank_times, take_last
from aepretrain.data.words import count_of
from aepretrain.errors import ConfigError, DataError

OrderName = Literal["random", "time"]
"""What a config may say on the order in which rows are divided."""
SHARE = 0.2
"""Default share of the validation and of the test examples."""
HELD_OUT = ORDER[1:]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Division:
    """How rows are divided into training, validation and test data.

    Without arguments, at random and stratified by class. Make it by :meth:`of`.

    Args:
        groups: Number of the group of every row, shape ``(N,)``; a group stays in one split. ``None``: no groups.
        times: Rank of the time of every row, shape ``(N,)``: the first rows are for training, the last ones for
            testing, and rows of equal time stay together. ``None``: rows are taken at random.
        given: Number of the split of every row, in the order of ``ORDER``, shape ``(N,)``. A held-out split that no row
            names is taken from the training rows. ``None``: all three are made.
        giver: What gives the splits, in the words of messages.
    """

    groups: Numbers | None = None
    times: Numbers | None = None
    given: Numbers | None = None
    giver: str = "data.splits"

    @classmethod
    def of(
        cls,
        count: int,
        *,
        groups: Any = None,
        order: OrderName = "random",
        times: Any = None,
        splits: Any = None,
        names: Sequence[str] = ("groups", "times", "splits"),
        files: Sequence[tuple[str, int]] = (),
        giver: str = "data.splits",
    ) -> "Division":
        """A division by one value per row.

        Args:
            count: Number of rows N.
            groups: Group of every row, such as its subject, shape ``(N,)``; ``None``: every row is by itself.
            order: ``random``, or ``time``: training rows first, then validation, then test.
            times: Time of every row, for ``order`` ``time``; ``None``: the rows stand in the order of time.
            splits: Split of every row, train, validation or test; ``None``: no splits are given.
            names: What holds groups, times and splits, for messages.
            files: Path and number of rows of every file that holds the rows, for messages.
            giver: What gives the splits, in the words of notes.

        Raises:
            ConfigError: If the arguments contradict each other.
            DataError: If values are missing, not one per row, or cannot be used; or a group is in two given splits.

        Example:
            >>> division = Division.of(6, groups=["a", "a", "b", "b", "c", "c"])
            >>> [len(rows) for rows in division.rows(6, None, 2, 2)]
            [2, 2, 2]
        """
        if order not in get_args(OrderName):
            raise ConfigError(f"data.order must be random or time, but is {order!r}.")
        if times is not None and order != "time":
            raise ConfigError("data.times is used by data.order time alone. Set it, or leave data.times out.")
        origins = [Origin(name, files) for name in names]
        numbered = None if groups is None else number_groups(groups, count, origins[0])
        given = None if splits is None else number_splits(splits, count, origins[2])
        ranks = np.arange(count) if order == "time" else None
        if times is not None:
            ranks = rank_times(times, count, origins[1])
        division = cls(numbered, ranks, given, giver)
        if ranks is not None and not division.open_splits:
            raise ConfigError(f"data.order time and {giver} both divide the data. Leave one of them out.")
        if numbered is not None and given is not None:
            check_splits(numbered, given, giver, origins[0])
        return division

    @property
    def open_splits(self) -> tuple[str, ...]:
        """The held-out splits that are not given."""
        return tuple(split for split in HELD_OUT if self.given is None or ORDER.index(split) not in self.given)

    @property
    def is_fixed(self) -> bool:
        """Whether no seed changes it."""
        return self.times is not None or not self.open_splits

    @property
    def is_random(self) -> bool:
        """Whether rows next to one another may come into different splits by chance."""
        return self.groups is None and not self.is_fixed

    def check_sizes(self, **sizes: float | None) -> None:
        """Raise a ConfigError if the size of a split is asked for that is given."""
        for split, size in sizes.items():
            if size is not None and split not in self.open_splits:
                raise ConfigError(
                    f"data.{split} must be left out where that split is given by {self.giver}, but is {size}. "
                    "Leave one of them out."
                )

    def subset(self, rows: Tensor) -> "Division":
        """The division of a choice of the rows."""
        groups, times, given = (
            None if each is None else each[rows.numpy()] for each in (self.groups, self.times, self.given)
        )
        return Division(groups, times, given, self.giver)

    def content(self) -> dict[str, Tensor | None]:
        """What it depends on, by name: part of what the data are."""
        parts = {"groups": self.groups, "times": self.times, "given splits": self.given}
        return {name: None if part is None else torch.from_numpy(part) for name, part in parts.items()}

    def undivided(self, count: int) -> int:
        """Number of the rows from which splits are taken that are not given, of ``count`` rows in all."""
        return count if self.given is None else int((self.given == 0).sum())

    def rows(
        self, count: int, y: Tensor | None, validation: float | int, test: float | int, seed: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the training, validation and test examples.

        Args:
            count: Number of examples N.
            y: Labels to stratify by, as far as groups allow; ``None``: no stratification.
            validation: Number of validation examples, or their share of the examples that are not for testing.
            test: Number of test examples, or their share of all examples that are not given a split.
            seed: Chooses the split, unless it is fixed.

        Raises:
            DataError: If there are too few examples, groups or times to divide.
        """
        labels = None if y is None else y.numpy()
        given = np.zeros(count, np.int64) if self.given is None else self.given
        train, held_out, tested = (np.flatnonzero(given == k) for k in range(len(ORDER)))
        if self.is_random and len(self.open_splits) == 2:
            parts = divide_rows(len(train), None if y is None else y[torch.from_numpy(train)], validation, test, seed)
            return tuple(torch.from_numpy(train)[part] for part in parts)  # type: ignore[return-value]
        if "test" in self.open_splits:
            train, tested = self._take(train, test, labels, seed, leave=len(self.open_splits))
        if "validation" in self.open_splits:
            train, held_out = self._take(train, validation, labels, seed, leave=1)
        return torch.from_numpy(train), torch.from_numpy(held_out), torch.from_numpy(tested)

    def _take(
        self, rows: Numbers, size: float | int, labels: NDArray[np.int64] | None, seed: int, leave: int
    ) -> tuple[Numbers, Numbers]:
        """Take the examples of a split: (rest, taken). ``leave`` splits more are made of the rest."""
        number = math.ceil(size * len(rows)) if isinstance(size, float) else size
        if number >= len(rows):
            raise DataError(
                f"{number} of {len(rows)} examples cannot be set apart, as none would be left to train on. Lower "
                "data.validation and data.test."
            )
        if self.times is not None:
            times = self.times[rows] if self.groups is None else first_times(self.groups[rows], self.times[rows])
            taken = take_last(times, number, leave=leave)
        elif self.groups is not None:
            own = None if labels is None else labels[rows]
            taken = take_groups(self.groups[rows], own, number, leave=leave, seed=seed)
        else:
            try:
                return draw(rows, size, labels, seed)
            except ValueError as error:
                raise DataError(f"{number} of {len(rows)} examples cannot be set apart: {error}") from error
        return rows[~taken], rows[taken]

    def words(self, parts: Sequence[Tensor], *, has_classes: bool) -> str:
        """A sentence on how rows were divided, for a note.

        Args:
            parts: Indices of the training, validation and test examples.
            has_classes: Whether the data have classes.
        """
        how = "at random, stratified by class" if has_classes else "at random"
        if self.times is not None:
            how = f"by time, the earliest {'rows' if self.groups is None else 'groups'} for training"
        elif self.groups is not None:
            how = "by groups, with like shares of classes" if has_classes else "by groups"
        if len(self.open_splits) < 2:
            how = f"as given by {self.giver}" + "".join(f", and {split} {how}" for split in self.open_splits)
        fixed = ", the same for every seed" if self.is_fixed else ""
        return f"divided {how}{fixed}: {', '.join(self._sizes(parts))}."

    def _sizes(self, parts: Sequence[Tensor]) -> list[str]:
        sizes = [f"{len(rows):,} {name}" for rows, name in zip(parts, EXAMPLES, strict=True)]
        if self.groups is None:
            return [*sizes[:-1], f"{sizes[-1]} examples"]
        counts = [len(np.unique(self.groups[rows.numpy()])) for rows in parts]
        return [f"{size} examples of {count_of(count, 'group')}" for size, count in zip(sizes, counts, strict=True)]

    def divide(self, examples: Examples, validation: float | None, test: float | None, seed: int) -> Source:
        """Divide examples; sizes are shares of the examples that are not given a split, ``None`` is a fifth."""
        parts = self.parts(examples, validation, test, seed)
        train, validated, tests = (examples[rows] for rows in parts)
        content = {"inputs": examples.x, "labels": examples.y, **self.content()}
        return Source(train, validated, tests, content=content, **self.remarks(examples, parts))

    def parts(
        self, examples: Examples, validation: float | None, test: float | None, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the training, validation and test examples; sizes as for :meth:`divide`."""
        self.check_sizes(validation=validation, test=test)
        held_out, tested = (SHARE if share is None else share for share in (validation, test))
        if not (0 < held_out < 1 and 0 < tested < 1 and held_out + tested < 1):
            raise ConfigError(
                f"validation and test shares must be positive and leave training data, but got {held_out} and "
                f"{tested}. Usual are 0.1 to 0.2 each."
            )
        sizes: tuple[float, float] = (held_out / (1 - tested), tested)
        if not self.is_random or len(self.open_splits) < 2:
            count = self.undivided(len(examples))
            sizes = (max(1, round(held_out * count)), max(1, round(tested * count)))
        return self.rows(len(examples), examples.classes, *sizes, seed)

    def remarks(self, examples: Examples, parts: Sequence[Tensor]) -> dict[str, Any]:
        """What is to be said of the division, as arguments of :class:`~aepretrain.data.examples.Source`."""
        if self.is_random:
            warnings = alike_neighbours(examples.x, examples.classes)
        elif self.times is not None and self.groups is None:
            warnings = overlap_at_borders(examples.x)
        else:
            warnings = self._doubts(parts)
        return {"division": self.words(parts, has_classes=examples.classes is not None), "warnings": warnings}

    def _doubts(self, parts: Sequence[Tensor]) -> list[str]:
        """Warnings on groups that change nothing, and on training rows that are later than held-out ones."""
        if self.groups is not None and len(np.unique(self.groups)) == len(self.groups):
            return [
                "every row is a group of its own, so that data.groups changes nothing. Name groups that rows share, or "
                "leave it out."
            ]
        if self.times is None:
            return []
        train, *held_out = (self.times[rows.numpy()] for rows in parts)
        first = min(int(held_out[HELD_OUT.index(split)].min()) for split in self.open_splits)
        if not (count := int((train >= first).sum())):
            return []
        return [
            f"{count:,} of {len(train):,} training examples are not before the first held-out example in time, since "
            "whole groups are kept together. Leave data.groups out, or give groups that do not overlap in time."
        ]


def divide(
    examples: Examples,
    *,
    validation: float | None = None,
    test: float | None = None,
    seed: int = 0,
    groups: Any = None,
    order: OrderName = "random",
    times: Any = None,
    splits: Any = None,
) -> Source:
    """Divide a data set without predefined splits, for the ``load`` of a source.

    Args:
        examples: All examples.
        validation: Share for validation, in ``(0, 1)``; ``None`` is a fifth.
        test: Share for testing, in ``(0, 1)``; ``None`` is a fifth.
        seed: Chooses the split.
        groups: As in :meth:`Division.of`.
        order: As in :meth:`Division.of`.
        times: As in :meth:`Division.of`.
        splits: As in :meth:`Division.of`.

    Raises:
        ConfigError: If the shares leave nothing to train on, or arguments contradict each other.
        DataError: If there are too few examples, groups or times to divide, or values are missing or cannot be used.

    Example:
        >>> source = divide(Examples(torch.rand(60, 4)), groups=np.arange(60) // 6, test=0.1)
        >>> source.division
        'divided by groups: 42 training examples of 7 groups, 12 validation examples of 2 groups, 6 test examples of \
1 group.'
    """
    division = Division.of(len(examples), groups=groups, order=order, times=times, splits=splits)
    return division.divide(examples, validation, test, seed)
