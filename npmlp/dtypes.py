"""dtypes: the five that npmlp computes with, how they print, and how two of them combine.

They print as PyTorch prints them (`torch.float32`), so that the output of a script can be compared
line by line with what PyTorch wrote.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from npmlp.errors import DTypeError


class dtype:
    """The type of a Tensor's elements, such as `npmlp.float32`."""

    __slots__ = ("is_floating_point", "name", "numpy")

    def __init__(self, name: str, numpy: type) -> None:
        self.name = name
        self.numpy = np.dtype(numpy)
        self.is_floating_point = self.numpy.kind == "f"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:  # copies and worker processes get the one object of this name
        return "bool" if self.name == "bool" else self.name

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.numpy.itemsize


float32 = dtype("float32", np.float32)
float64 = dtype("float64", np.float64)
int64 = dtype("int64", np.int64)
uint8 = dtype("uint8", np.uint8)
bool = dtype("bool", np.bool_)

_BY_NUMPY = {d.numpy: d for d in (float32, float64, int64, uint8, bool)}
_default = float32


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of floats that name none: float32 (at the start) or float64."""
    global _default
    if d not in (float32, float64):
        raise DTypeError(f"set_default_dtype: got {d}, expected npmlp.float32 or npmlp.float64")
    _default = d


def get_default_dtype() -> dtype:
    """The dtype of floats that name none."""
    return _default


def from_numpy_dtype(d: np.dtype[Any], operation: str = "tensor") -> dtype:
    """npmlp's dtype for a NumPy one. Raises DTypeError, with a dtype to convert to, for others."""
    found = _BY_NUMPY.get(d)
    if found is None:
        near = "int64" if d.kind in "iu" else "float32" if d.kind == "f" else None
        hint = f"; convert it first with .astype(numpy.{near})" if near else ""
        raise DTypeError(
            f"{operation}: dtype {d} is outside npmlp's float32, float64, int64, uint8, bool{hint}"
        )
    return found


def as_dtype(d: Any, operation: str = "tensor") -> dtype:
    """A dtype from a dtype, from Python's float, int or bool, or from a NumPy dtype."""
    if isinstance(d, dtype):
        return d
    if d is float:
        return _default
    if d is int:
        return int64
    if d is builtins.bool:
        return bool
    try:
        converted = np.dtype(d)
    except TypeError:
        raise DTypeError(
            f"{operation}: {d!r} is not a dtype; use one such as npmlp.float32"
        ) from None
    return from_numpy_dtype(converted, operation)


_RANK = {bool: 0, uint8: 1, int64: 2, float32: 3, float64: 4}
_CATEGORY = {bool: 0, uint8: 1, int64: 1, float32: 2, float64: 2}


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both (bool < uint8 < int64 < float32 < float64)."""
    return a if _RANK[a] >= _RANK[b] else b


def result_type(operands: list[tuple[dtype, builtins.bool]]) -> dtype:
    """The dtype of an operation on several operands, each given as (dtype, has dimensions).

    PyTorch's rule: operands with dimensions decide; a 0-dimensional one takes part only where its
    category (bool, integer, float) is higher than theirs.
    Source: PyTorch docs, "Tensor Attributes", type promotion.
    """
    with_dims: dtype | None = None
    zero_dims: dtype | None = None
    for d, has_dims in operands:
        if has_dims:
            with_dims = d if with_dims is None else promote_types(with_dims, d)
        else:
            zero_dims = d if zero_dims is None else promote_types(zero_dims, d)
    if with_dims is None:
        assert zero_dims is not None
        return zero_dims
    if zero_dims is not None and _CATEGORY[zero_dims] > _CATEGORY[with_dims]:
        return promote_types(with_dims, zero_dims)
    return with_dims
