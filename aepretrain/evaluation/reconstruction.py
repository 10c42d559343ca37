"""The reconstruction through all layers of a stack, beside that of principal components."""

from dataclasses import dataclass

import torch

from aepretrain.data import DataModule
from aepretrain.evaluation.pca import pca_errors
from aepretrain.evaluation.row_errors import layer_errors
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.pretraining.unroll import unroll
from aepretrain.results.reconstruction import ReconstructionMeasurement, ReconstructionResult
from aepretrain.results.row_errors import RowErrors


@dataclass(frozen=True)
class MeasuredReconstruction:
    """The errors of a stack and of principal components.

    Args:
        result: Their means on validation and test data.
        rows: The errors of the stack on single test examples.
    """

    result: ReconstructionResult
    rows: RowErrors


def measure_reconstruction(stack: GreedyStack, data: DataModule, seed: int) -> MeasuredReconstruction:
    """Measure the reconstruction through all layers on validation and test data. Reads the test set.

    Args:
        stack: The trained stack.
        data: Its data.
        seed: The seed of the run.

    Example:
        >>> stack = GreedyStack((1, 8, 8), [lambda s: PlainAutoencoder(s, Dense(2))])
        >>> measure_reconstruction(stack, Digits(), seed=0).result.components
        2
    """
    splits, deep = data.splits(seed), unroll(list(stack))
    held_out, components = [splits.validation.x, splits.test.x], torch.Size(stack.code_shape).numel()
    own = [layer_errors(deep, x) for x in held_out]
    linear = pca_errors(splits.unlabelled, held_out, components, deep.L)
    validation, test = (measurement(*pair) for pair in zip(own, linear, strict=True))
    return MeasuredReconstruction(ReconstructionResult(validation, test, components), own[1])


def measurement(own: RowErrors, linear: RowErrors) -> ReconstructionMeasurement:
    """Means of the errors of single examples, beside those of principal components."""
    return ReconstructionMeasurement(
        squared_error=float(own.squared_error.mean()),
        nats=float(own.nats.mean()),
        pca_squared_error=float(linear.squared_error.mean()),
        pca_nats=float(linear.nats.mean()),
        examples=len(own.nats),
    )
