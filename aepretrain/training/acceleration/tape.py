"""Recording of tensor operations: what a step computes, as a list of operations on memory that stays where it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from aepretrain.training.acceleration.torch_internals import TorchDispatchMode, arguments_of, has_memory

MAX_BYTES = 64 * 2**20
"""Largest size of the results of a recording, which all stay in memory. Larger steps are bound by their kernels."""
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
MOVING = ("aten::set_", "aten::resize_", "aten::resize_as_")


@dataclass(frozen=True)
class Operation:
    """One tensor operation.

    Args:
        function: The operation, an overload of ``torch.ops``.
        args: Its arguments; tensors share the memory of those that were passed, but carry no gradients.
        kwargs: Its keyword arguments, likewise.
        returned: What it returned, likewise: a tensor, or several.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    returned: Any = None

    @cached_property
    def results(self) -> list[Tensor]:
        """All tensors that it returned."""
        return tensors_in(self.returned)

    @cached_property
    def name(self) -> str:
        """The name without the overload, such as ``aten::mm``."""
        return str(self.function.name()).partition(".")[0]

    @cached_property
    def inputs(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))

    @cached_property
    def written(self) -> list[Tensor]:
        """The tensors among the arguments that the operation writes to."""
        return list(_written(self.function, self.args, self.kwargs))

    @cached_property
    def creates(self) -> bool:
        """Whether the results lie in new memory, unlike those of a view or of an operation in place."""
        places = {place(tensor) for tensor in self.inputs} - {0}
        return not self.written and not any(place(result) in places for result in self.results)

    @cached_property
    def is_random(self) -> bool:
        """Whether the operation draws random numbers."""
        return torch.Tag.nondeterministic_seeded in self.function.tags


class Tape(TorchDispatchMode):
    """Records the tensor operations that run within the block, while they run.

    Attributes:
        operations: The operations, in order of execution.
        reason: Why they cannot be repeated on other values; ``None`` if they can.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> with Tape() as tape:
        ...     (3 * x).sum().backward()
        >>> [operation.name for operation in tape.operations][:2]
        ['aten::mul', 'aten::sum']
        >>> with Tape() as tape:
        ...     norm = torch.ones(3).norm().item()
        >>> tape.reason
        'it reads a value with aten::_local_scalar_dense'
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.reason: str | None = None
        self._bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        if self.reason is None:
            self._add(Operation(func, _aliases(args), _aliases(kwargs), _aliases(results)))
        return results

    def _add(self, operation: Operation) -> None:
        if not operation.inputs and not operation.results:
            return  # profilers, types
        self.reason = _reason(operation)
        if operation.results and not any(has_memory(result) for result in operation.results):
            return
        if operation.creates:
            self._bytes += sum(result.nbytes for result in operation.results)
            if self._bytes > MAX_BYTES:
                self.reason = f"its results take more than {MAX_BYTES / 2**20:.0f} MiB"
        self.operations.append(operation)
        if self.reason is not None:
            self.operations.clear()


def place(tensor: Tensor) -> int:
    """The address of the memory that a tensor lies in; it tells memory apart as long as all of it is kept. 0: none."""
    return tensor.untyped_storage().data_ptr() if has_memory(tensor) else 0


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries; torch's ``tree_leaves`` takes twice as long."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return []
    return [tensor for value in values for tensor in tensors_in(value)]


def map_tensors(function: Any, values: Any) -> Any:
    """Nested lists, tuples and dictionaries with a function applied to every tensor."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, dict):
        return {name: map_tensors(function, value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)([map_tensors(function, value) for value in values])
    return values


def _aliases(values: Any) -> Any:
    """The values with tensors replaced by others on the same memory, which hold no graph of autograd."""
    return map_tensors(Tensor.detach, values)


def _written(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    named = dict(zip((argument.name for argument in arguments_of(function)), args, strict=False)) | kwargs
    for argument in arguments_of(function):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors_in(named.get(argument.name))


def _reason(operation: Operation) -> str | None:
    """Why an operation cannot be repeated on other values; ``None`` if it can."""
    tags = set(operation.function.tags)
    masks = operation.name in INDEXING and any(
        index.dtype in (torch.bool, torch.uint8) for index in tensors_in(operation.args[1])
    )
    if torch.Tag.data_dependent_output in tags:
        return f"it reads a value with {operation.name}"
    if masks or (torch.Tag.dynamic_output_shape in tags and operation.name not in INDEXING):
        return f"the shape of a result depends on values, in {operation.name}"
    if not operation.name.startswith(("aten::", "prims::")):
        return f"{operation.name} is not an operation of torch"
    if operation.name in MOVING:
        return f"{operation.name} moves memory"
    for tensor in (*operation.inputs, *operation.results):
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
            return f"{operation.name} takes a {type(tensor).__name__} of layout {tensor.layout}"
        if tensor.device.type not in ("cpu", "meta"):
            return f"{operation.name} runs on the device {tensor.device.type}"
    return None
