r"""Updates inside a matrix product: plain SGD on a large matrix needs no gradient in memory.

.. math:: W \leftarrow W - \eta \, \delta^\top h

The gradient of an affine map is a product of two thin matrices, and that of tied weights the sum of two. Where plain
SGD is all that reads it, each product is added to the weights directly, which saves writing and reading matrices of
their size. Sums are rounded in another order than in a product that is subtracted afterwards.
"""

from collections.abc import Sequence, Set
from itertools import chain
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import SGD, Optimizer

from aepretrain.training.acceleration.tape import Operation, place
from aepretrain.training.acceleration.updates import group_of

SMALLEST = 64 * 1024
"""Smallest number of weights for which it pays off."""


def is_plain_sgd(optimizer: Optimizer) -> bool:
    """Whether an optimizer is SGD with neither momentum nor weight decay, in all parameter groups.

    Example:
        >>> is_plain_sgd(SGD([torch.zeros(2, 3)], lr=0.1)), is_plain_sgd(SGD([torch.zeros(2, 3)], lr=0.1, momentum=0.9))
        (True, False)
    """
    return type(optimizer) is SGD and not any(
        group["momentum"] or group["weight_decay"] or group["maximize"] for group in optimizer.param_groups
    )


def may_update_products(optimizer: Optimizer) -> bool:
    """Whether a weight matrix is large enough, and the updates plain enough."""
    return is_plain_sgd(optimizer) and any(
        weights.numel() >= SMALLEST for group in optimizer.param_groups for weights in group["params"]
    )


class ProductUpdate:
    """Adds a product of two matrices to weights, times minus the learning rate.

    Args:
        weights: The weights, shape ``(M, N)``.
        left: Shape ``(M, B)``.
        right: Shape ``(B, N)``.
        group: The parameter group, which holds the learning rate.
    """

    def __init__(self, weights: Tensor, left: Tensor, right: Tensor, group: dict[str, Any]) -> None:
        self.weights, self.left, self.right, self.group = weights, left, right, group

    def __call__(self) -> None:
        self.add(self.left, self.right)

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add the product of these two matrices."""
        self.weights.addmm_(left, right, alpha=-self.group["lr"])


class Factors(NamedTuple):
    """A product of two matrices.

    Args:
        left: Shape ``(M, B)``.
        right: Shape ``(B, N)``.
        made: The places of the results that only lead to the update.
    """

    left: Tensor
    right: Tensor
    made: frozenset[int]

    def as_in(self, matrix: Tensor, result: Tensor) -> "Factors | None":
        """The factors of a matrix that is the result of their product, or a view of it; ``None`` for other views."""
        if (matrix.shape, matrix.stride()) == (result.shape, result.stride()):
            return self
        if (matrix.shape, matrix.stride()) == (result.t().shape, result.t().stride()):
            return Factors(self.right.t(), self.left.t(), self.made)
        return None


def update_products(
    gradients: Sequence[Operation], update: Sequence[Operation], optimizer: Optimizer
) -> tuple[list[Operation], list[ProductUpdate], list[Operation]]:
    """Take the products that plain SGD alone reads out of the gradients, and their weights out of the update.

    Args:
        gradients: The operations of the forward and backward pass, with clipping.
        update: The operations of the update.
        optimizer: The optimizer.

    Returns:
        The remaining operations of the gradients, the updates by products, and the remaining operations of the update.
    """
    if not may_update_products(optimizer):
        return list(gradients), [], list(update)
    changing = {place(weights) for group in optimizer.param_groups for weights in group["params"]}
    products: list[ProductUpdate] = []
    made: set[int] = set()
    kept_update: list[Operation] = []
    for operation in update:
        if operation.name != "aten::_fused_sgd_":
            kept_update.append(operation)
            continue
        group = group_of(operation, optimizer)
        kept = []
        for weights, gradient in zip(*operation.args[:2], strict=True):
            is_read_once = sum(place(gradient) in _places(each) for each in update) == 1
            is_large = weights.numel() >= SMALLEST
            terms = _terms(gradient, gradients, changing) if is_large and is_read_once else []
            products += [ProductUpdate(weights, each.left, each.right, group) for each in terms]
            made = made.union(*(each.made for each in terms))
            if not terms:
                kept.append((weights, gradient))
        if kept:
            args = ([weights for weights, _ in kept], [gradient for _, gradient in kept], *operation.args[2:])
            kept_update.append(Operation(operation.function, args, operation.kwargs))
    return (
        [each for each in gradients if not any(place(result) in made for result in each.results)],
        products,
        kept_update,
    )


def _terms(
    matrix: Tensor, operations: Sequence[Operation], changing: Set[int], reader: Operation | None = None
) -> list[Factors]:
    """The products that add up to a matrix which nothing but ``reader`` reads; none if it is no such sum.

    Args:
        matrix: A gradient, or one of the summands of a weight that is used twice.
        operations: The operations of the gradients.
        changing: The places that the update changes: no factor may lie there.
        reader: What adds the matrix to another.
    """
    where = place(matrix)
    users = [
        index
        for index, operation in enumerate(operations)
        if operation is not reader and (operation.creates or operation.written) and where in _places(operation)
    ]
    if len(users) != 1:
        return []
    maker, later = operations[users[0]], operations[users[0] :]
    if maker.name == "aten::mm":
        left, right = maker.args
        factors = {place(left), place(right)}
        if factors & changing or any(place(tensor) in factors for each in later for tensor in each.written):
            return []
        terms = [Factors(left, right, frozenset([where]))]
    elif _is_sum(maker):
        summands = [_terms(each, operations, changing, maker) for each in maker.inputs]
        if not all(summands):
            return []
        terms = [Factors(each.left, each.right, each.made | {where}) for each in chain(*summands)]
    else:
        return []
    oriented = [each.as_in(matrix, maker.results[0]) for each in terms]
    return [each for each in oriented if each is not None]


def _is_sum(operation: Operation) -> bool:
    """Whether an operation adds two tensors of one shape, as autograd does for a weight that is used twice."""
    return (
        operation.name == "aten::add"
        and operation.creates
        and operation.kwargs.get("alpha", 1) == 1
        and [tensor.shape for tensor in operation.inputs] == [operation.results[0].shape] * 2
    )


def _places(operation: Operation) -> set[int]:
    return {place(tensor) for tensor in (*operation.inputs, *operation.results)}
