"""Random operations of a step: they run before the others, since compiled code would draw other numbers."""

from collections.abc import Iterable, Sequence

from aepretrain.training.acceleration.program import EMPTY
from aepretrain.training.acceleration.tape import Operation, place


def places_drawn(operations: Iterable[Operation]) -> set[int]:
    """The places of memory that random operations fill."""
    draws = [operation for operation in operations if operation.is_random]
    return {place(tensor) for draw in draws for tensor in (*draw.results, *draw.written)}


def without_draws(operations: Sequence[Operation]) -> list[Operation]:
    """The operations that neither draw random numbers nor make room for them."""
    drawn = places_drawn(operations)
    room = [each for each in operations if each.name in EMPTY and place(each.results[0]) in drawn]
    return [each for each in operations if not each.is_random and not any(each is other for other in room)]


def reason_not_drawn_before(operations: Sequence[Operation]) -> str | None:
    """Return why the random numbers of a step cannot be drawn before its other operations; ``None`` if they can.

    Example:
        >>> from aepretrain.training.acceleration.tape import Tape
        >>> with Tape() as tape:
        ...     bits = torch.bernoulli(torch.rand(3))
        >>> reason_not_drawn_before(tape.operations)
        'the numbers that aten::bernoulli draws depend on others'
    """
    used: set[int] = set()
    empty: set[int] = set()
    for operation in operations:
        written = {place(tensor) for tensor in operation.written}
        if operation.is_random:
            reads = {place(tensor) for tensor in operation.inputs} - written
            if reads and not operation.name.endswith("_like"):
                return f"the numbers that {operation.name} draws depend on others"
            if written & used or written - empty:
                return f"{operation.name} draws into memory that holds other values"
        elif operation.name in EMPTY:
            empty |= {place(result) for result in operation.results}
        elif operation.creates or written:
            used |= written or {place(result) for result in operation.results}
    return None
