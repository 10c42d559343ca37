r"""Updates inside a matrix product: plain SGD on a large matrix needs no gradient in memory.

.. math:: W \leftarrow W - \eta \, \delta^\top h

The gradient of an affine map is a product of two thin matrices. Where plain SGD is all that reads it, the product is
added to the weights directly, which saves writing and reading a matrix of their size. Sums are rounded in another
order than in a product that is subtracted afterwards.
"""

from collections.abc import Sequence
from typing import Any

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
    products: dict[int, ProductUpdate] = {}
    kept_update: list[Operation] = []
    for operation in update:
        if operation.name != "aten::_fused_sgd_":
            kept_update.append(operation)
            continue
        group = group_of(operation, optimizer)
        kept = []
        for weights, gradient in zip(*operation.args[:2], strict=True):
            product = _product(gradient, gradients, update) if weights.numel() >= SMALLEST else None
            if product is None:
                kept.append((weights, gradient))
            else:
                left, right = product
                products[place(gradient)] = ProductUpdate(weights, left, right, group)
        if kept:
            args = ([weights for weights, _ in kept], [gradient for _, gradient in kept], *operation.args[2:])
            kept_update.append(Operation(operation.function, args, operation.kwargs))
    return (
        [each for each in gradients if not any(place(result) in products for result in each.results)],
        list(products.values()),
        kept_update,
    )


def _product(
    gradient: Tensor, gradients: Sequence[Operation], update: Sequence[Operation]
) -> tuple[Tensor, Tensor] | None:
    """The two matrices whose product a gradient is, if nothing but its update reads it; else ``None``."""
    where = place(gradient)
    uses = [
        index
        for index, operation in enumerate(gradients)
        if (operation.creates or operation.written) and where in _places(operation)
    ]
    if len(uses) != 1 or gradients[uses[0]].name != "aten::mm":
        return None
    if sum(where in _places(operation) for operation in update) != 1:
        return None
    left, right = gradients[uses[0]].args
    operands = {place(left), place(right)}
    if any(place(tensor) in operands for operation in gradients[uses[0] :] for tensor in operation.written):
        return None
    result = gradients[uses[0]].results[0]
    if (gradient.shape, gradient.stride()) == (result.shape, result.stride()):
        return left, right
    if (gradient.shape, gradient.stride()) == (result.t().shape, result.t().stride()):
        return right.t(), left.t()
    return None


def _places(operation: Operation) -> set[int]:
    return {place(tensor) for tensor in (*operation.inputs, *operation.results)}
