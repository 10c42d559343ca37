"""What is learnt of pictures while they are decoded, in sentences for the user."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from aepretrain.data.picture import DEEP, Picture
from aepretrain.data.words import count_of, list_of

DARK = 16384
"""Pictures of 16 bits are called dark if the largest value of all is below this, a quarter of the range."""


@dataclass
class PictureFacts:
    """What is to be known of decoded pictures, by their row.

    Args:
        bad: Rows of the pictures that could not be decoded, and why.
        paged: Rows of the pictures with several pages.
        pages_left: Number of pages after the first, of all pictures.
        deep: Number of grey pictures of 16 bits.
        largest: Their largest value.
        cut: Number of pictures with 16 bits per colour, of which the upper 8 were taken.
        unturned: Rows of the pictures whose EXIF data cannot be read.
        blank: Rows of the pictures of which nothing can be seen on the background.
        cropped: Number of pictures that are not square, of which the centre was taken.
    """

    bad: list[tuple[int, str]] = field(default_factory=list)
    paged: list[int] = field(default_factory=list)
    pages_left: int = 0
    deep: int = 0
    largest: int = 0
    cut: int = 0
    unturned: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    cropped: int = 0

    def add(self, row: int, picture: Picture) -> None:
        """Take in what is to be known of one picture."""
        if picture.pages > 1:
            self.paged.append(row)
            self.pages_left += picture.pages - 1
        if picture.largest is not None:
            self.deep += 1
            self.largest = max(self.largest, picture.largest)
        self.cut += picture.is_cut
        self.cropped += picture.is_cropped
        if picture.is_unturned:
            self.unturned.append(row)
        if picture.is_blank:
            self.blank.append(row)

    def kept(self, count: int) -> Tensor:
        """Rows of the pictures that were decoded, of so many.

        Example:
            >>> PictureFacts(bad=[(1, "a.png cannot be decoded")]).kept(3)
            tensor([0, 2])
        """
        kept = torch.ones(count, dtype=torch.bool)
        kept[[row for row, _ in self.bad]] = False
        return kept.nonzero().squeeze(1)

    def left_out(self) -> list[str]:
        """What was left out of the pictures, such as "2 pages after the first"."""
        counts = ((len(self.bad), "unreadable picture", ""), (self.pages_left, "page", " after the first of a file"))
        return [count_of(number, noun) + rest for number, noun, rest in counts if number]

    def notes(self) -> list[str]:
        """Sentences on what was done to the values."""
        counts = (
            (self.deep, f"with 16 bits, up to {self.largest:,}: 0 to {DEEP:,} became 0 to 255."),
            (self.cut, "with 16 bits per colour: the upper 8 were taken."),
            (self.cropped, "of other shapes than a square: the sides beyond the centre were cut off."),
        )
        return [f"{count_of(number, 'picture')} {words}" for number, words in counts if number]

    def warnings(self, paths: Sequence[Path], root: Path, background: str) -> list[str]:
        """Sentences on what looks wrong, each with the way out."""

        def name(rows: Sequence[int]) -> str:
            return f"{count_of(len(rows), 'picture')} ({list_of(str(paths[k].relative_to(root)) for k in rows)})"

        found = []
        if self.bad:
            reasons = list_of((reason for _, reason in self.bad), "; ")
            found.append(
                f"{count_of(len(self.bad), 'picture')} left out as unreadable: {reasons}. Mend or remove them."
            )
        if self.paged:
            found.append(
                f"{name(self.paged)} with several pages: only the first was taken, and {self.pages_left:,} left out. "
                "Save pages as files of their own to use them."
            )
        if self.unturned:
            found.append(
                f"{name(self.unturned)} with unreadable EXIF data: taken as they lie in the file. "
                "Look whether they are upright."
            )
        if self.blank:
            other = "black" if background == "white" else "white"
            found.append(f"{name(self.blank)} empty on a {background} background. Try --data.background {other}.")
        if self.deep and self.largest < DARK:
            found.append(
                f"the pictures with 16 bits reach {self.largest:,} of {DEEP:,} at most and are dark here. If their "
                f"range is smaller (12 bits reach 4,095), stretch it to {DEEP:,} in the files."
            )
        return found
