"""Images in a folder, one sub-folder per class."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.datasets
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.functional import center_crop, resize

from aepretrain.data.decoded import DecodedData
from aepretrain.data.transforms import Scale
from aepretrain.errors import ConfigError, DataError

AT_ONCE = 64
"""Number of images decoded at once."""


class ImageFolder(DecodedData):
    """Images in one sub-folder per class, decoded once into a cache file of bytes and scaled to [0, 1].

    Args:
        root: Folder in the layout of torchvision's ``ImageFolder``. A single sub-folder means no classes.
        size: Resize the shorter side to this many pixels and crop the centre; ``None``: all images have the same size.
        grey: Whether to read one grey channel instead of three colour channels.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.

    Raises:
        DataError: If there are no images, an image cannot be decoded, or sizes differ and ``size`` is ``None``.

    Example:
        >>> ImageFolder("leaves/", size=64, memory_budget="2GB").in_shape  # doctest: +SKIP
        (3, 64, 64)
    """

    dtype = "uint8"
    preprocessing = "pixel values 0 to 255, divided by 255"

    def __init__(
        self,
        root: str,
        *,
        size: int | None = None,
        grey: bool = False,
        cache: str | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        memory_budget: str | int | None = None,
    ) -> None:
        super().__init__(
            root,
            cache=cache,
            validation=validation,
            test=test,
            labels=labels,
            unlabelled=unlabelled,
            memory_budget=memory_budget,
        )
        if size is not None and size < 1:
            raise ConfigError(f"data.size must be >= 1 pixel, but got {size}. Leave it out to scale nothing.")
        self.transform = Scale(255)
        self.size = size
        self.grey = grey
        try:
            found = torchvision.datasets.ImageFolder(str(self.root))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{root} holds no sub-folders with pictures: {' '.join(str(error).split())}") from error
        self._paths = [Path(path) for path, _ in found.samples]
        if len(found.classes) > 1:
            self.num_classes = len(found.classes)
            self.y = torch.tensor(found.targets)
            self.class_names = list(found.classes)
        self.in_shape = self._decode_one(self._paths[0]).shape

    def files(self) -> Sequence[Path]:
        return self._paths

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "grey": self.grey}

    def count(self) -> int:
        return len(self._paths)

    def decode(self) -> Iterator[NDArray[np.uint8]]:
        with ThreadPoolExecutor() as pool:
            for begin in range(0, len(self._paths), AT_ONCE):
                yield np.stack(list(pool.map(self._decode_fitting, self._paths[begin : begin + AT_ONCE])))

    def _decode_fitting(self, path: Path) -> NDArray[np.uint8]:
        pixels = self._decode_one(path)
        if pixels.shape != self.in_shape:
            raise DataError(
                f"{path} has the shape {pixels.shape}, but the first picture has {self.in_shape}. "
                "Give all of them one size by --data.size."
            )
        return pixels

    def _decode_one(self, path: Path) -> NDArray[np.uint8]:
        """An image, shape ``(C, height, width)``."""
        try:
            with Image.open(path) as image:
                picture = image.convert("L" if self.grey else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} cannot be decoded: {' '.join(str(error).split())}. Mend or remove it.") from error
        if self.size is not None:
            picture = center_crop(resize(picture, [self.size]), [self.size])
        pixels = np.asarray(picture)
        return pixels[None] if self.grey else pixels.transpose(2, 0, 1)
