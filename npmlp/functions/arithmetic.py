"""Functions of two inputs: arithmetic, comparisons, a choice between two, the matrix product.

Tensors of two dtypes, or a tensor and a number, meet in one dtype first (arguments.together).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes
from npmlp.autograd import apply
from npmlp.errors import DTypeError
from npmlp.functions.arguments import Scalar, as_float, into, together
from npmlp.ops import binary, compare, division, linear

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def add(input: Any, other: Any, *, alpha: Scalar = 1, out: Tensor | None = None) -> Tensor:
    """input + alpha · other"""
    result = apply(binary.ADD, *together("add", input, _times("add", other, alpha)))
    return into("add", out, result)


def sub(input: Any, other: Any, *, alpha: Scalar = 1, out: Tensor | None = None) -> Tensor:
    """input - alpha · other"""
    for x in (input, other):
        if isinstance(x, bool) or (hasattr(x, "_data") and x._data.dtype.kind == "b"):
            raise DTypeError("sub: bools cannot be subtracted; use ~x for the opposite, or .long()")
    result = apply(binary.SUB, *together("sub", input, _times("sub", other, alpha)))
    return into("sub", out, result)


def _times(op: str, other: Any, alpha: Scalar) -> Any:
    if alpha == 1:
        return other
    if isinstance(alpha, float) and hasattr(other, "_data") and other._data.dtype.kind != "f":
        raise DTypeError(f"{op}: alpha is {alpha}, expected a whole number for tensors of those")
    return other * alpha


def mul(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input · other, entry by entry"""
    return into("mul", out, apply(binary.MUL, *together("mul", input, other)))


def div(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input / other, entry by entry; integers are divided as floats of the default dtype"""
    if not hasattr(other, "_data"):  # a byte is divided by 300, not by what is left of it
        input = as_float(input)
    elif not hasattr(input, "_data"):
        other = as_float(other)
    x, y = together("div", input, other)
    return into("div", out, apply(binary.DIV, as_float(x), as_float(y)))


def floor_divide(input: Any, other: Any) -> Tensor:
    """⌊input / other⌋, in the dtype of both; it has no gradient"""
    return apply(division.FLOOR_DIVIDE, *together("floor_divide", input, other))


def remainder(input: Any, other: Any) -> Tensor:
    """input - other · ⌊input / other⌋, with the sign of other"""
    return apply(division.REMAINDER, *together("remainder", input, other))


def pow(input: Any, exponent: Any) -> Tensor:
    """input ^ exponent, entry by entry"""
    x, y = together("pow", input, exponent)
    if x._data.dtype.kind != "f":
        if x._data.dtype.kind == "b":
            raise DTypeError("pow: bools have no powers; use & and |, or convert with .long()")
        if np.any(np.asarray(getattr(exponent, "_data", exponent)) < 0):
            raise DTypeError(
                "pow: whole numbers have no whole negative powers; convert with .float()"
            )
    return apply(binary.POW, x, y)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair of entries"""
    return apply(binary.MAXIMUM, *together("maximum", input, other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair of entries"""
    return apply(binary.MINIMUM, *together("minimum", input, other))


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product; vectors and batches of matrices as in PyTorch"""
    return into("matmul", out, apply(linear.MATMUL, *together("matmul", input, other)))


# --------------------------------------------------------------------------- comparisons and choice


def eq(input: Any, other: Any) -> Tensor:
    """input = other"""
    return apply(compare.EQ, *together("eq", input, other))


def ne(input: Any, other: Any) -> Tensor:
    """input ≠ other"""
    return apply(compare.NE, *together("ne", input, other))


def lt(input: Any, other: Any) -> Tensor:
    """input < other"""
    return apply(compare.LT, *together("lt", input, other))


def le(input: Any, other: Any) -> Tensor:
    """input ≤ other"""
    return apply(compare.LE, *together("le", input, other))


def gt(input: Any, other: Any) -> Tensor:
    """input > other"""
    return apply(compare.GT, *together("gt", input, other))


def ge(input: Any, other: Any) -> Tensor:
    """input ≥ other"""
    return apply(compare.GE, *together("ge", input, other))


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; alone, the indices where it holds."""
    if input is None and other is None:
        return tuple(condition._wrap(i) for i in np.nonzero(condition._data))
    if not hasattr(input, "_data") and not hasattr(other, "_data"):
        either = float if isinstance(input, float) or isinstance(other, float) else type(input)
        input = condition._constant(np.array(input, dtypes.as_dtype(either).numpy))
    return apply(binary.WHERE, condition, *together("where", input, other))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |input - other| ≤ atol + rtol · |other| everywhere."""
    if input.dtype is not other.dtype:
        raise DTypeError(f"allclose: dtypes {input.dtype} and {other.dtype} differ")
    return bool(np.allclose(input._data, other._data, rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same entries."""
    return np.array_equal(input._data, other._data)
