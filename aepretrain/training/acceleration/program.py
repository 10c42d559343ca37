"""Recorded operations as a program: repeated on the same memory, without autograd and without what does not change."""

from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor

from aepretrain.training.acceleration.tape import Operation, place, tensors_in
from aepretrain.training.acceleration.torch_internals import ADD_TO_EACH, arguments_of, kernel_of

Call = Callable[[], Any]

EMPTY = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided")
CONSTANT = tuple(
    f"aten::{name}"
    for name in (
        *("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"),
        *("arange", "eye", "scalar_tensor"),
    )
)
"""Operations whose results do not depend on the values of their arguments."""
ops = torch.ops.aten
WITH_OUT: dict[Any, Callable[..., Any]] = {
    ops.mm.default: torch.mm,
    ops.addmm.default: torch.addmm,
    ops.mv.default: torch.mv,
    ops.bmm.default: torch.bmm,
    ops.baddbmm.default: torch.baddbmm,
    ops.sigmoid.default: torch.sigmoid,
    ops.tanh.default: torch.tanh,
    ops.exp.default: torch.exp,
    ops.log.default: torch.log,
    ops.abs.default: torch.abs,
    ops.sgn.default: torch.sgn,
    ops.neg.default: torch.neg,
    ops.pow.Tensor_Scalar: torch.pow,
    ops.add.Tensor: torch.add,
    ops.sub.Tensor: torch.sub,
    ops.mul.Tensor: torch.mul,
    ops.mul.Scalar: torch.mul,
    ops.div.Tensor: torch.div,
    ops.div.Scalar: torch.div,
    ops.lt.Tensor: torch.lt,
    ops.sum.dim_IntList: torch.sum,
    ops.mean.default: torch.mean,
    ops.mean.dim: torch.mean,
    ops.where.self: torch.where,
}
"""Functions that call the same kernel as an operation with ``out=``, but faster."""
IN_PLACE: dict[Any, Callable[..., Any]] = {
    ops.uniform_.default: Tensor.uniform_,
    ops.normal_.default: Tensor.normal_,
    ops.ge_.Scalar: Tensor.ge_,
    ops.add_.Tensor: Tensor.add_,
    ops.mul_.Tensor: Tensor.mul_,
    ops.copy_.default: Tensor.copy_,
}
"""The same for operations in place."""
WITH_NUMBER = (
    *(ops.add.Tensor, ops.sub.Tensor, ops.mul.Tensor, ops.mul.Scalar, ops.div.Tensor, ops.div.Scalar),
    *(ops.add_.Tensor, ops.mul_.Tensor, ops.ge_.Scalar),
)
"""Operations whose second argument may be a number, which torch makes a tensor at every call."""


def calls(operations: Sequence[Operation], written: Set[int]) -> Iterator[tuple[Operation, Call]]:
    """Simplify operations and make each one that is left callable.

    Every result keeps the memory that it was recorded in. So views need no repetition, nor do constants that nothing
    writes to; all other operations write their results where they lie.

    Args:
        operations: Recorded operations, in order of execution.
        written: The places that an operation of the whole recording writes to in place.

    Yields:
        An operation and the function that repeats it.

    Example:
        >>> from aepretrain.training.acceleration.tape import Tape
        >>> with Tape() as tape:
        ...     y = torch.ones(2, 2).t() @ torch.rand(2, 2)
        >>> [operation.name for operation, _ in calls(tape.operations, set())]
        ['aten::rand', 'aten::mm']
    """
    constant: set[int] = set()
    for operation in operations:
        if operation.function == ADD_TO_EACH:
            yield from ((operation, _in_place(each)) for each in _one_by_one(operation))
        elif operation.written:
            yield operation, _in_place(operation)
        elif operation.creates and operation.name not in EMPTY:
            places = {place(result) for result in operation.results}
            if _is_constant(operation, constant) and not places & written:
                constant |= places
            else:
                yield operation, _into_results(operation)


def _is_constant(operation: Operation, constant: set[int]) -> bool:
    if operation.is_random:
        return False
    return operation.name in CONSTANT or (
        bool(operation.inputs) and all(place(tensor) in constant for tensor in operation.inputs)
    )


def _in_place(operation: Operation) -> Call:
    places = {place(tensor) for tensor in operation.inputs}
    if any(place(result) not in places for result in operation.results):  # such as batch norm, which also counts
        return partial(_copy, operation.function, operation.args, operation.kwargs, operation.results)
    function = IN_PLACE.get(operation.function) or kernel_of(operation.function)
    return partial(function, *_with_tensor(operation), **operation.kwargs)


def _one_by_one(operation: Operation) -> Iterator[Operation]:
    """The additions of one number to several tensors, such as Adam's counts: few of them take longer together."""
    tensors, number = operation.args
    for tensor in tensors:
        yield Operation(ops.add_.Tensor, (tensor, number), {}, tensor)


def _with_tensor(operation: Operation) -> tuple[Any, ...]:
    """The arguments of an operation, with a number as a tensor where the kernel gets the same value."""
    args = operation.args
    if operation.function not in WITH_NUMBER or isinstance(args[1], Tensor):
        return args
    if args[0].dtype not in (torch.float32, torch.float64) or isinstance(args[1], complex):
        return args
    return (args[0], torch.tensor(args[1], dtype=args[0].dtype), *args[2:])


def _into_results(operation: Operation) -> Call:
    """Repeat an operation that creates its results, into the memory of the recorded ones."""
    args, kwargs, results = operation.args, operation.kwargs, operation.results
    if operation.function in WITH_OUT:
        return partial(WITH_OUT[operation.function], *_with_tensor(operation), **kwargs, out=results[0])
    function, names = _variant_with_out(operation.function)
    if len(names) == len(results):
        kwargs = {name: value for name, value in kwargs.items() if name in {a.name for a in arguments_of(function)}}
        return partial(kernel_of(function), *args, **kwargs, **dict(zip(names, results, strict=True)))
    return partial(_copy, operation.function, args, kwargs, results)


def _copy(function: Any, args: Any, kwargs: Any, results: Sequence[Tensor]) -> None:
    made = function(*args, **kwargs)
    for result, new in zip(results, tensors_in(made), strict=True):
        result.copy_(new)


def _variant_with_out(function: Any) -> tuple[Any, list[str]]:
    """The overload of an operation that writes to given tensors, and the names of these arguments; else itself."""
    wanted = _signature(function)
    for name in function.overloadpacket.overloads():
        variant = getattr(function.overloadpacket, name)
        if _signature(variant) == wanted and any(argument.is_out for argument in arguments_of(variant)):
            return variant, [argument.name for argument in arguments_of(variant) if argument.is_out]
    return function, []


OF_NEW_TENSORS = ("dtype", "layout", "device", "pin_memory", "memory_format")


def _signature(function: Any) -> list[tuple[str, str]]:
    return [
        (argument.name, str(argument.type))
        for argument in arguments_of(function)
        if not argument.is_out and argument.name not in OF_NEW_TENSORS
    ]
