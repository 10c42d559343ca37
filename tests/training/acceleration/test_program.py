"""Recorded operations, repeated on other values, against the operations themselves: the same bits."""

import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain.training.acceleration.program import calls
from aepretrain.training.acceleration.tape import Operation, Tape

ARITHMETIC = {
    "add": lambda x, number: x + number,
    "twice": lambda x, number: torch.add(x, number, alpha=2),
    "sub": operator.sub,
    "rsub": lambda x, number: number - x,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": lambda x, number: x.abs() ** number,
    "ge": operator.ge,
    "in place": lambda x, number: x.clone().mul_(number).add_(number),
    "mask": lambda x, number: x.clone().ge_(number),
    "several": lambda x, number: torch._foreach_add_([x.clone(), x.clone()], number)[1],
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def repeated(function, x, other):
    """A function recorded on ``x`` and repeated on ``other``."""
    x = x.clone()
    with torch.no_grad(), Tape() as tape:
        result = function(x)
    program = list(calls(tape.operations, set()))
    x.copy_(other)
    for _, call in program:
        call()
    return result


@settings(deadline=None)
@given(number=st.one_of(st.floats(width=32), st.floats(), st.integers(-(2**31), 2**31), st.booleans()))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_numbers_have_the_bits_that_the_operation_gives_them(name, dtype, number):
    generator = torch.Generator().manual_seed(0)
    x, other = (torch.randn(3, 17, generator=generator).to(dtype) for _ in range(2))
    function = ARITHMETIC[name]
    try:
        expected = function(other, number)
    except RuntimeError as error:  # such as an integer that float16 does not hold
        with pytest.raises(RuntimeError, match=str(error)[:20]):
            repeated(lambda x: function(x, number), x, other)
        return
    assert torch.equal(repeated(lambda x: function(x, number), x, other).nan_to_num(7.0), expected.nan_to_num(7.0))


@pytest.mark.parametrize("number", [0.1, 0.7])  # which float32 rounds up and down
@pytest.mark.parametrize("name", ["ge", "mask"])
def test_a_value_is_compared_with_a_number_as_the_operation_does(name, number):
    x, other, function = torch.zeros(3), torch.full((3,), number), ARITHMETIC[name]
    assert torch.equal(repeated(lambda x: function(x, number), x, other), function(other, number))


UNARY = {
    "abs": torch.abs,
    "sgn": torch.sgn,
    "relu": torch.relu,
    "mean": torch.mean,
    "rows": lambda x: x.mean(dim=1),
    "less": lambda x: x < x.flip(0),
    "mv": lambda x: x @ x[0],
    "square": torch.square,
    "softplus": torch.nn.functional.softplus,
}


@pytest.mark.parametrize("name", UNARY)
def test_other_operations_do_as_well(name):
    x, other = torch.randn(5, 17), torch.randn(5, 17)
    assert torch.equal(repeated(UNARY[name], x, other), UNARY[name](other))


def test_every_operation_of_torch_that_takes_a_generator_is_known_to_draw():
    names = [name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    packets = [getattr(torch.ops.aten, name) for name in {name.partition(".")[0] for name in names}]
    operations = [getattr(packet, overload) for packet in packets for overload in packet.overloads()]
    draws = [each for each in operations if any("Generator" in str(a.type) for a in each._schema.arguments)]
    assert all(Operation(each, (), {}).is_random for each in draws)
    assert len(draws) > 50
