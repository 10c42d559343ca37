"""One-hot patterns: the data of the N-M-N encoder task."""

import torch

from aepretrain.data.base import DataModule
from aepretrain.data.examples import Examples, Source
from aepretrain.errors import ConfigError


class OneHotPatterns(DataModule):
    """N one-hot patterns, one example each.

    All three splits are the same N patterns, so metrics measure the capacity of the code, not generalization. There
    are no classes, hence no classifier.

    Args:
        patterns: Number N of patterns.

    Raises:
        ConfigError: If there are fewer than 2 patterns.

    Reference:
        Ackley, Hinton, Sejnowski: A Learning Algorithm for Boltzmann Machines (1985), section 4.1: 8-3-8.

    Example:
        >>> OneHotPatterns(4).splits().unlabelled.sum(dim=1)
        tensor([1., 1., 1., 1.])
    """

    num_classes = None
    own_splits = True
    preprocessing = "one-hot patterns, as they are"

    def __init__(self, patterns: int = 8) -> None:
        super().__init__()
        if patterns < 2:
            raise ConfigError(f"data.patterns must be >= 2, but got {patterns}. The classic task has 8.")
        self.in_shape = (patterns,)

    def load(self) -> Source:
        examples = Examples(torch.eye(self.in_shape[0]))
        return Source(examples, examples, examples, division="all three splits are the same patterns.")
