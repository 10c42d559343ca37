"""Pictures in a folder, one sub-folder per class."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import center_crop, resize

from aepretrain.console import print_line
from aepretrain.data.decoded import DecodedData
from aepretrain.data.division import Division, OrderName
from aepretrain.data.file_rows import FileRows
from aepretrain.data.paths import user_path
from aepretrain.data.picture import Background, Picture, read_picture
from aepretrain.data.picture_facts import PictureFacts
from aepretrain.data.picture_tree import NO_CLASS, read_tree
from aepretrain.data.picture_values import values_of_pictures
from aepretrain.data.transforms import Scale
from aepretrain.data.words import SHOWN, count_of, list_of
from aepretrain.errors import ConfigError, DataError

AT_ONCE = 64
"""Number of pictures decoded at once."""
CLASSES_SHOWN = 20
"""Number of classes that a note lists."""
OnBad = Literal["stop", "skip"]


class ImageFolder(DecodedData):
    """Pictures in one sub-folder per class, decoded once into a cache file of bytes and scaled to [0, 1].

    Folders for training, validation and test (``train``; ``val``, ``valid`` or ``validation``; ``test``) that lie alone
    in the root are the splits, with the class folders inside; a split that is missing is taken from ``train``. Pictures
    in the root itself, or in a single sub-folder, have no classes. A folder named ``unlabelled`` beside the classes or
    the splits holds pictures without a class, for pretraining alone. What was left out is told.

    Pictures are turned as their EXIF data say and composed on the background; 16 bits become 8. Of a file with several
    pages the first is taken. Values without a known range, such as floats, are refused.

    Args:
        root: The folder.
        size: Resize the shorter side to this many pixels and crop the centre; ``None``: all pictures have the same
            size.
        grey: Whether to read one grey channel instead of three colour channels.
        background: What shows through where a picture is transparent: white or black.
        on_bad: What to do with pictures that cannot be decoded: stop and list them, or skip and count them.
        more_inputs: A second folder of pictures, in any sub-folders, for pretraining alone; leave out those of the
            groups and times that are tested.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        groups: Group of every picture, such as its subject: what the first pair of parentheses of this regular
            expression finds in its path below the root, or a ``.csv`` file in the root, or at an absolute path, of
            lines ``path,group``. A group stays in one split.
        order: How pictures are divided: random, or time (training pictures first, then validation, then test).
        times: Time of every picture, a number or a date, for ``order`` time: a regular expression or a ``.csv`` file as
            for ``groups``.
        splits: Split of every picture, where the folders do not give it: a regular expression or a ``.csv`` file as for
            ``groups``, with train, validation or test.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.

    Raises:
        DataError: If there are no pictures, a class or a split lacks some, a picture cannot be decoded, or sizes differ
            and ``size`` is ``None``.
        ConfigError: If a setting is out of range, asks for a split that the folder gives, or two settings divide the
            pictures.

    Example:
        >>> ImageFolder("leaves/", size=64, memory_budget="2GB").in_shape  # doctest: +SKIP
        (3, 64, 64)
    """

    dtype = "uint8"

    def __init__(
        self,
        root: str | Path,
        *,
        size: int | None = None,
        grey: bool = False,
        background: Background = "white",
        on_bad: OnBad = "stop",
        more_inputs: str | Path | None = None,
        cache: str | Path | None = None,
        groups: str | None = None,
        order: OrderName = "random",
        times: str | None = None,
        splits: str | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
        memory_budget: str | int | None = None,
    ) -> None:
        super().__init__(
            root,
            cache=cache,
            validation=validation,
            test=test,
            labels=labels,
            unlabelled=unlabelled,
            split_seed=split_seed,
            memory_budget=memory_budget,
        )
        if size is not None and size < 1:
            raise ConfigError(f"data.size must be >= 1 pixel, but got {size}. Leave it out to scale nothing.")
        for name, value, known in (("background", background, Background), ("on_bad", on_bad, OnBad)):
            if value not in get_args(known):
                raise ConfigError(f"data.{name} must be {' or '.join(get_args(known))}, but is {value!r}.")
        self.transform = Scale(255)
        resized = "" if size is None else f"shorter side resized to {size} pixels, centre cropped; "
        colour = "one grey channel" if grey else "red, green and blue"
        self.preprocessing = f"{resized}{colour}, values 0 to 255, divided by 255"
        self.size = size
        self.grey = grey
        self.background = background
        self.on_bad = on_bad
        self._tree = read_tree(self.root)
        more = None if more_inputs is None else read_tree(user_path(more_inputs))
        self._paths = [*self._tree.paths, *(more.paths if more else ())]
        self.warnings = [*self._tree.warnings, *(more.warnings if more else ())]
        if self._tree.classes is not None:
            self.num_classes = len(self._tree.classes)
            self.y = torch.tensor(self._tree.labels)
            self.labelled = (self.y != NO_CLASS).nonzero().flatten()
            self.class_names = list(self._tree.classes)
        self.set_division(self._division(order, groups=groups, times=times, splits=splits))
        self.in_shape = self._first_shape()

    def _division(self, order: OrderName, **settings: str | None) -> Division:
        """The division by the folders, or by what the settings find for every picture."""
        tree, giver = self._tree, f"data.splits {settings['splits']}"
        if order == "time" and settings["times"] is None:
            raise ConfigError(
                "data.order time needs the times of pictures, whose files stand in the order of names. Set data.times."
            )
        values: dict[str, Any] = {
            noun: None if setting is None else values_of_pictures(setting, tree.paths, self.root, noun)
            for noun, setting in settings.items()
        }
        if len(tree.folders) > 1:
            giver = f"the folders {list_of(folder.name for folder in tree.folders.values())}"
            if values["splits"] is not None:
                raise ConfigError(f"data.splits and {giver} both give the splits. Leave data.splits out.")
            values["splits"] = tree.splits
        names = [f"data.{noun} {setting}" for noun, setting in settings.items()]
        files = [(str(path), 1) for path in tree.paths]
        return Division.of(self.own_count, order=order, names=names, files=files, giver=giver, **values)

    def files(self) -> Sequence[Path]:
        return self._paths

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "grey": self.grey, "background": self.background, "on_bad": self.on_bad}

    @property
    def own_count(self) -> int:
        return len(self._tree.paths)

    def count(self) -> int:
        return len(self._paths)

    def decode(self) -> Iterator[NDArray[np.uint8]]:
        paths, facts = self._paths, PictureFacts()
        with ThreadPoolExecutor() as pool:
            for begin in range(0, len(paths), AT_ONCE):
                group = paths[begin : begin + AT_ONCE]
                rows = np.zeros((len(group), *self.in_shape), np.uint8)
                for k, picture in enumerate(pool.map(self._decode_one, group)):
                    if isinstance(picture, str):
                        facts.bad.append((begin + k, picture))
                    else:
                        rows[k] = self._fitting(group[k], picture)
                        facts.add(begin + k, picture)
                yield rows
        reasons = [reason for _, reason in facts.bad]
        if reasons and self.on_bad == "stop":
            raise self._unreadable(reasons)
        _print_many(reasons)
        self.found = asdict(facts)

    def _decode_one(self, path: Path) -> Picture | str:
        """A picture of the asked size, or why it cannot be had."""
        try:
            picture = read_picture(path, grey=self.grey, background=self.background)
        except DataError as error:
            return str(error)
        if self.size is None:
            return picture
        image = center_crop(resize(picture.image, [self.size]), [self.size])
        return replace(picture, image=image, is_cropped=picture.image.width != picture.image.height)

    def _first_shape(self) -> tuple[int, ...]:
        """The shape of the first picture that can be decoded."""
        bad: list[str] = []
        for path in self._paths:
            picture = self._decode_one(path)
            if isinstance(picture, Picture):
                return _pixels(picture).shape
            bad.append(picture)
        raise self._unreadable(bad)

    def _fitting(self, path: Path, picture: Picture) -> NDArray[np.uint8]:
        pixels = _pixels(picture)
        if pixels.shape != self.in_shape:
            raise DataError(
                f"{path} has the shape {pixels.shape}, but the first picture has {self.in_shape}. "
                "Give all of them one size by --data.size."
            )
        return pixels

    def _unreadable(self, reasons: Sequence[str]) -> DataError:
        _print_many(reasons)
        return DataError(
            f"{len(reasons):,} of {count_of(self.count(), 'picture')} in {self.root} cannot be used: "
            f"{list_of(reasons, '; ')}. Mend or remove them, or leave them out by --data.on_bad skip."
        )

    def read(self) -> tuple[FileRows, Tensor | None]:
        rows, y = super().read()
        kept = self._kept()
        self._check_kept(kept)
        self._tell(kept)
        rows = rows.subset(torch.isin(rows.numbers, kept).nonzero().flatten())
        return rows, None if y is None else y[rows.numbers]

    def without_labels(self, x: FileRows) -> Tensor:
        own = super().without_labels(x)
        return own[torch.isin(own, self._kept())]

    def more_rows(self) -> Tensor:
        more = super().more_rows()
        return more[torch.isin(more, self._kept())]

    def _kept(self) -> Tensor:
        """Indices of the pictures that were decoded."""
        return PictureFacts(**self.found).kept(self.count())

    def _numbers(self, rows: Iterable[int]) -> Counter[tuple[str, int]]:
        """Number of pictures by split and label."""
        splits, labels = self._tree.splits or [""] * self.own_count, self._tree.labels
        own = (row for row in rows if row < self.own_count)
        return Counter((splits[row], labels[row]) for row in own if labels[row] != NO_CLASS)

    def _check_kept(self, kept: Tensor) -> None:
        """Raise a DataError if a class has lost all its pictures in a split, or in all."""
        lost = sorted(set(self._numbers(range(self.count()))) - set(self._numbers(kept.tolist())))
        names = [self.class_names[label] if self.class_names else "" for _, label in lost]
        where = [" in ".join(filter(None, (name, split))) for name, (split, _) in zip(names, lost, strict=True)]
        if lost:
            raise DataError(
                f"{self.root}: no picture of {list_of(where)} can be decoded. Mend them, or remove the class folder."
            )

    def _tell(self, kept: Tensor) -> None:
        """Note what was read and what was left out, and warn of what looks wrong."""
        tree, facts = self._tree, PictureFacts(**self.found)
        left_out = ", ".join([*facts.left_out(), *tree.left_out]) or "nothing"
        self.notes = [
            f"{count_of(len(kept), 'picture')} {self._classes(kept)} of shape {self.in_shape}; left out: {left_out}.",
            *tree.notes,
            *facts.notes(),
        ]
        self.warnings = [*tree.warnings, *facts.warnings(self._paths, self.root, self.background)]

    def _classes(self, kept: Tensor) -> str:
        """The classes and their numbers of pictures, in words."""
        if self.class_names is None:
            return "without classes"
        labels = torch.tensor(self._tree.labels)[kept[kept < self.own_count]]
        counts = labels[labels != NO_CLASS].bincount(minlength=len(self.class_names)).tolist()
        shown = [f"{name}: {number:,}" for name, number in zip(self.class_names, counts, strict=True)]
        more = ", …" if len(shown) > CLASSES_SHOWN else ""
        others = len(kept) - sum(counts)
        without = f"; {others:,} without a class, for pretraining alone" if others else ""
        return f"in {len(shown):,} classes ({', '.join(shown[:CLASSES_SHOWN])}{more}{without})"


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    """Shape ``(C, height, width)``."""
    pixels = np.asarray(picture.image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _print_many(reasons: Sequence[str]) -> None:
    """Print why pictures are left out, a line each, where there are more than an error or a warning names."""
    if len(reasons) > SHOWN:
        for reason in reasons:
            print_line(reason)
