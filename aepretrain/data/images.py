"""Image data sets from torchvision: MNIST, Fashion-MNIST, CIFAR-10."""

import contextlib
import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision.datasets
from torch import Tensor

from aepretrain.data.base import DataModule
from aepretrain.data.checks import check_labels
from aepretrain.data.examples import Examples, Source
from aepretrain.data.lock import locked
from aepretrain.data.paths import user_path
from aepretrain.data.transforms import Scale
from aepretrain.errors import AEPretrainError, DataError
from aepretrain.storage.guard import open_regular
from aepretrain.storage.json_files import reason_of

DEFAULT_ROOT = Path("~/.cache/aepretrain/data")


class TorchvisionImages(DataModule):
    """A labelled image data set read by torchvision; its last training examples are held out for validation.

    Args:
        root: Folder with the data in torchvision's layout. ``None`` is the folder that the environment variable
            ``AEPRETRAIN_DATA`` names, else ``~/.cache/aepretrain/data``, which is created.
        download: Whether to download missing files.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
    """

    preprocessing = "pixel values 0 to 255, divided by 255"
    own_splits = True
    place: str
    """Folder of the files, below the root."""
    held_out = 10_000
    """Number of training examples, taken from the end, that are held out for validation."""

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        download: bool = True,
        labels: int | None = None,
        unlabelled: int | None = None,
    ) -> None:
        super().__init__(labels=labels, unlabelled=unlabelled)
        self.root = root
        self.download = download
        self.transform = Scale(255)

    @property
    @abstractmethod
    def reader(self) -> Callable[..., Any]:
        """The class of torchvision that reads the files."""

    def folder(self) -> Path:
        """The folder to read from; a DataError if a named folder does not exist."""
        named = self.root or os.environ.get("AEPRETRAIN_DATA")
        if named is None:
            folder = DEFAULT_ROOT.expanduser()
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{folder} cannot be made: {error.strerror}. Name a folder by --data.root.") from error
            return folder
        if not user_path(named).is_dir():
            origin = "data.root" if self.root else "AEPRETRAIN_DATA"
            raise DataError(
                f"{origin} names the folder {named}, which does not exist. Make it, or name another by --data.root."
            )
        return user_path(named)

    def read(self, folder: Path, train: bool) -> Examples:
        """The training or the test half of the data set as tensors."""
        try:
            for path in (folder / self.place).rglob("*"):
                if not path.is_dir():
                    open_regular(path).close()
            images = self._read_or_download(folder, train)
            pixels = self.channels_first(torch.as_tensor(images.data))
            labels = torch.as_tensor(images.targets).long()
            shape = tuple(pixels.shape[1:])
            if pixels.dtype != torch.uint8 or shape != self.in_shape:
                raise ValueError(f"examples must have the shape {self.in_shape}, but have {shape}, {pixels.dtype}")
        except AEPretrainError:
            raise
        # Damaged files make torchvision raise nearly everything: AssertionError, EOFError, zlib's and pickle's errors.
        except Exception as error:
            reason = reason_of(error)
            if "Dataset not found" in reason:
                reason = "its files are not there"
            raise DataError(
                f"{self.name} could not be read from {folder}{' or downloaded to it' * self.download}: {reason}. "
                "Name a folder in torchvision's layout by --data.root or AEPRETRAIN_DATA."
            ) from error
        check_labels(labels, len(pixels), self.num_classes or 0, f"{self.name} in {folder}")
        return Examples(self.transform(pixels), labels)

    def _read_or_download(self, folder: Path, train: bool) -> Any:
        lock = folder / f".{self.name}.lock"
        try:
            found = self.reader(folder, train=train, download=False)
        except RuntimeError:
            if not self.download or not os.access(folder, os.W_OK):
                raise
        else:
            if lock.exists():  # left by a process that was killed while it downloaded
                with contextlib.suppress(OSError), locked(lock, wait=False):
                    pass
            return found
        # One process downloads, the others wait for it.
        with locked(lock):
            return self.reader(folder, train=train, download=True)

    def channels_first(self, pixels: Tensor) -> Tensor:
        """Pixels in the shape ``(N, C, H, W)``."""
        return pixels.unsqueeze(1)

    def load(self) -> Source:
        folder = self.folder()
        examples, test = self.read(folder, train=True), self.read(folder, train=False)
        rows = torch.arange(len(examples))
        first_held_out = len(examples) - min(self.held_out, len(examples) // 5)
        train, validation = examples[rows[:first_held_out]], examples[rows[first_held_out:]]
        division = (
            f"divided as {self.name} is: its test data, the last {len(validation):,} of its training data for "
            "validation, the others for training."
        )
        return Source(train, validation, test, files=(folder,), division=division)


class MNIST(TorchvisionImages):
    """70,000 handwritten digits of 28 x 28 pixels: 50,000 for training, 10,000 for validation, 10,000 for testing.

    The split of Vincent et al. (2010) and of the deep learning tutorials: the last 10,000 training images validate.

    Reference:
        LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition (1998).

    Example:
        >>> MNIST("data", labels=1000).in_shape
        (1, 28, 28)
    """

    in_shape = (1, 28, 28)
    num_classes = 10
    class_names = [str(digit) for digit in range(10)]
    reader = torchvision.datasets.MNIST
    place = "MNIST/raw"


class FashionMNIST(TorchvisionImages):
    """70,000 pictures of clothes, 28 x 28 pixels: 50,000 / 10,000 / 10,000 for training, validation and testing.

    Reference:
        Xiao, Rasul, Vollgraf: Fashion-MNIST (2017).

    Example:
        >>> FashionMNIST("data", unlabelled=40_000).num_classes
        10
    """

    in_shape = (1, 28, 28)
    num_classes = 10
    class_names = list(torchvision.datasets.FashionMNIST.classes)
    reader = torchvision.datasets.FashionMNIST
    place = "FashionMNIST/raw"


class CIFAR10(TorchvisionImages):
    """60,000 colour pictures of 10 kinds, 3 x 32 x 32: 40,000 / 10,000 / 10,000 for training, validation and testing.

    Reference:
        Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).

    Example:
        >>> CIFAR10("data").in_shape
        (3, 32, 32)
    """

    in_shape = (3, 32, 32)
    num_classes = 10
    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    reader = torchvision.datasets.CIFAR10
    place = "cifar-10-batches-py"

    def channels_first(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 3, 1, 2)
