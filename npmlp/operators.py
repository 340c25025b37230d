"""Operators: x + y, x < y, x @ y, x += y and the like, as functions of npmlp/functions.

They answer NotImplemented to what is neither a Tensor nor a number, so that Python goes on to ask
the other operand, and then says itself that the two do not go together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import functions
from npmlp.errors import DTypeError

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


class Operators:
    """The operators of Tensor, its only subclass: `self` is a Tensor throughout."""

    __slots__ = ()

    def __add__(self: Any, other: Any) -> Tensor:
        return functions.add(self, other) if _operand(other) else NotImplemented

    def __radd__(self: Any, other: Any) -> Tensor:
        return functions.add(other, self) if _operand(other) else NotImplemented

    def __sub__(self: Any, other: Any) -> Tensor:
        return functions.sub(self, other) if _operand(other) else NotImplemented

    def __rsub__(self: Any, other: Any) -> Tensor:
        return functions.sub(other, self) if _operand(other) else NotImplemented

    def __mul__(self: Any, other: Any) -> Tensor:
        return functions.mul(self, other) if _operand(other) else NotImplemented

    def __rmul__(self: Any, other: Any) -> Tensor:
        return functions.mul(other, self) if _operand(other) else NotImplemented

    def __truediv__(self: Any, other: Any) -> Tensor:
        return functions.div(self, other) if _operand(other) else NotImplemented

    def __rtruediv__(self: Any, other: Any) -> Tensor:
        return functions.div(other, self) if _operand(other) else NotImplemented

    def __pow__(self: Any, other: Any) -> Tensor:
        return functions.pow(self, other) if _operand(other) else NotImplemented

    def __rpow__(self: Any, other: Any) -> Tensor:
        return functions.pow(other, self) if _operand(other) else NotImplemented

    def __matmul__(self: Any, other: Any) -> Tensor:
        if not _operand(other) or isinstance(other, (int, float, np.generic)):
            return NotImplemented
        return functions.matmul(self, other)

    def __neg__(self: Any) -> Tensor:
        return functions.neg(self)

    def __abs__(self: Any) -> Tensor:
        return functions.abs(self)

    def __floordiv__(self: Any, other: Any) -> Tensor:
        return functions.floor_divide(self, other) if _operand(other) else NotImplemented

    def __rfloordiv__(self: Any, other: Any) -> Tensor:
        return functions.floor_divide(other, self) if _operand(other) else NotImplemented

    def __mod__(self: Any, other: Any) -> Tensor:
        return functions.remainder(self, other) if _operand(other) else NotImplemented

    def __rmod__(self: Any, other: Any) -> Tensor:
        return functions.remainder(other, self) if _operand(other) else NotImplemented

    def __invert__(self: Any) -> Tensor:
        return functions.bitwise_not(self)

    def __and__(self: Any, other: Any) -> Tensor:
        return functions.bitwise_and(self, other) if _operand(other) else NotImplemented

    def __or__(self: Any, other: Any) -> Tensor:
        return functions.bitwise_or(self, other) if _operand(other) else NotImplemented

    def __xor__(self: Any, other: Any) -> Tensor:
        return functions.bitwise_xor(self, other) if _operand(other) else NotImplemented

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __contains__(self: Any, element: Any) -> bool:
        return bool(functions.any(functions.eq(self, element)))

    def __eq__(self: Any, other: object) -> Tensor:  # type: ignore[override]
        return functions.eq(self, other) if _operand(other) else NotImplemented

    def __ne__(self: Any, other: object) -> Tensor:  # type: ignore[override]
        return functions.ne(self, other) if _operand(other) else NotImplemented

    def __lt__(self: Any, other: Any) -> Tensor:
        return functions.lt(self, other) if _operand(other) else NotImplemented

    def __le__(self: Any, other: Any) -> Tensor:
        return functions.le(self, other) if _operand(other) else NotImplemented

    def __gt__(self: Any, other: Any) -> Tensor:
        return functions.gt(self, other) if _operand(other) else NotImplemented

    def __ge__(self: Any, other: Any) -> Tensor:
        return functions.ge(self, other) if _operand(other) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    # NumPy must not take an array on the left of a Tensor apart entry by entry
    __array_priority__ = 1000
    __array_ufunc__ = None

    # -------------------------------------------------------------------------------- in place

    def __iadd__(self: Any, other: Any) -> Tensor:
        return self.add_(other)

    def __isub__(self: Any, other: Any) -> Tensor:
        return self.sub_(other)

    def __imul__(self: Any, other: Any) -> Tensor:
        return self.mul_(other)

    def __itruediv__(self: Any, other: Any) -> Tensor:
        return self.div_(other)


def _operand(other: object) -> bool:
    if isinstance(other, (Operators, int, float, np.generic)):
        return True
    if isinstance(other, np.ndarray):  # PyTorch leaves its graph here without a word
        raise DTypeError(
            f"an operator between a Tensor and a numpy.ndarray of shape {other.shape}, expected a "
            "Tensor or a number; make the array a Tensor with npmlp.from_numpy(...)"
        )
    return False
