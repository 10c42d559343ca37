"""The digits data set of scikit-learn: small, and available without a download."""

import torch
from sklearn.datasets import load_digits

from aepretrain.data.base import DataModule
from aepretrain.data.division import divide
from aepretrain.data.examples import Examples, Source
from aepretrain.data.transforms import Scale


class Digits(DataModule):
    """1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn: no download.

    Two thirds for training, a sixth each for validation and test. Pixels are scaled to [0, 1].

    Args:
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.

    Reference:
        Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI repository (1998).

    Example:
        >>> splits = Digits(labels=100).splits(seed=0)
        >>> tuple(splits.unlabelled.shape), len(splits.train), len(splits.validation), len(splits.test)
        ((1197, 1, 8, 8), 100, 300, 300)
    """

    in_shape = (1, 8, 8)
    num_classes = 10
    preprocessing = "grey values 0 to 16, divided by 16"
    class_names = [str(digit) for digit in range(10)]

    def __init__(self, *, labels: int | None = None, unlabelled: int | None = None, split_seed: int = 0) -> None:
        super().__init__(labels=labels, unlabelled=unlabelled, split_seed=split_seed)
        self.transform = Scale(16)

    def load(self) -> Source:
        pixels, y = load_digits(return_X_y=True)
        x = self.transform(torch.from_numpy(pixels).reshape(-1, *self.in_shape))
        return divide(Examples(x, torch.from_numpy(y).long()), validation=1 / 6, test=1 / 6, seed=self.split_seed)
