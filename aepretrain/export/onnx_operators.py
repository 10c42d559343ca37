"""Operators of torch that ``rank_gauss`` uses and ONNX lacks, in operators of ONNX."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

# Coefficients of the Cephes library (Moshier), as torch has them: numerators P, and denominators Q after a leading 1.
P0 = [-59.9633501014107895, 98.0010754185999661, -56.6762857469070293, 13.9312609387279679, -1.23916583867381258]
Q0 = [1.95448858338141759, 4.67627912898881538, 86.3602421390890590, -225.462687854119370, 200.260212380060660]
Q0 += [-82.0372256168333339, 15.9056225126211695, -1.18331621121330003]
P1 = [4.05544892305962419, 31.5251094599893866, 57.1628192246421288, 44.0805073893200834, 14.6849561928858024]
P1 += [2.18663306850790267, -0.140256079171354495, -0.0350424626827848203, -0.000857456785154685413]
Q1 = [15.7799883256466749, 45.3907635128879210, 41.3172038254672030, 15.0425385692907503, 2.50464946208309415]
Q1 += [-0.142182922854787788, -0.0380806407691578277, -0.000933259480895457427]
INT32, INT64 = 6, 7
"""Types of tensors, as ONNX numbers them."""
MIDDLE = math.exp(-2)
"""Shares between this and 1 minus this are in the middle; those below form the tail."""


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Functions that build the graph of an operator, by the operator, as ``torch.onnx.export`` takes them."""
    import onnxscript

    op: Any = onnxscript.opset20

    def searchsorted(points: Any, x: Any, **options: Any) -> Any:
        """The number of points that are not larger, of rows of sorted points ``(D, Q)`` and values ``(D, B)``."""
        assert options.get("right")
        smaller = op.LessOrEqual(op.Unsqueeze(points, [1]), op.Unsqueeze(x, [2]))
        return op.Cast(op.ReduceSum(op.Cast(smaller, to=INT32), [2], keepdims=0), to=INT64)

    def ndtri(share: Any) -> Any:
        r"""The inverse of the normal distribution, for shares from 1e-8 up to the middle, :math:`1 - e^{-2}`."""
        y = op.Sub(share, _constant(op, 0.5))
        square = op.Mul(y, y)
        ratio = op.Div(_polynomial(op, P0, square), _polynomial(op, [1.0, *Q0], square))
        middle = op.Mul(op.Add(y, op.Mul(y, op.Mul(square, ratio))), _constant(op, math.sqrt(2 * math.pi)))
        root = op.Sqrt(op.Mul(_constant(op, -2.0), op.Log(share)))
        z = op.Reciprocal(root)
        ratio = op.Div(_polynomial(op, P1, z), _polynomial(op, [1.0, *Q1], z))
        tail = op.Sub(op.Mul(z, ratio), op.Sub(root, op.Div(op.Log(root), root)))
        return op.Where(op.Greater(share, _constant(op, MIDDLE)), middle, tail)

    return {torch.ops.aten.searchsorted.Tensor: searchsorted, torch.ops.aten.special_ndtri.default: ndtri}


def _polynomial(op: Any, coefficients: Sequence[float], x: Any) -> Any:
    """The value of a polynomial, whose highest coefficient is the first."""
    value = _constant(op, coefficients[0])
    for coefficient in coefficients[1:]:
        value = op.Add(op.Mul(value, x), _constant(op, coefficient))
    return value


def _constant(op: Any, value: float) -> Any:
    return op.Constant(value_float=value)
