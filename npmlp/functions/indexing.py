"""x[index] and x[index] = value: PyTorch's index, taken apart into what NumPy's indexing means.

Ints and slices give a view; tensors, lists and masks a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp.autograd import apply
from npmlp.errors import DTypeError, ShapeError
from npmlp.functions.shapes import view
from npmlp.ops.index import GATHER, INDEX_PUT, SLICE
from npmlp.recording import check_readable

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def _index(index: Any, recorded: bool) -> tuple[tuple[Any, ...], bool]:
    """An index as a tuple of what NumPy takes, and whether arrays are among it.

    Where it is `recorded` for backward the arrays are copied: they may be changed in between.
    """
    parts = index if isinstance(index, tuple) else (index,)
    plain: list[Any] = []
    advanced = False
    for part in parts:
        if hasattr(part, "_data"):
            part = part._data
            if part.ndim == 0:
                check_readable("indexing", part)
        elif isinstance(part, (list, range)):
            part = np.asarray(part, dtype=None if len(part) else np.int64)
        if (
            isinstance(part, (np.ndarray, np.integer))
            and part.ndim == 0
            and part.dtype.kind in "iu"
        ):
            part = int(part)  # one position, which gives a view
        if isinstance(part, np.ndarray):
            if part.dtype.kind not in "ib":  # PyTorch takes uint8 for a mask, NumPy for positions
                raise DTypeError(
                    f"indexing: an index has dtype {part.dtype}, expected int64 or bool; convert "
                    "positions with .long(), a mask with .bool()"
                )
            part, advanced = part.copy() if recorded else part, True
        elif isinstance(part, bool):
            part, advanced = np.asarray(part), True
        elif isinstance(part, slice):
            if part.step is not None and part.step < 0:
                raise ShapeError("indexing: a slice's step must be positive; flip with an index")
            part = slice(
                *(None if s is None else int(s) for s in (part.start, part.stop, part.step))
            )
        elif part is not None and part is not Ellipsis and not isinstance(part, int):
            raise DTypeError(
                f"indexing: {part!r} is not an index; use int, slice, None, ... or Tensor"
            )
        plain.append(part)
    return tuple(plain), advanced


def _ints_first(parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An index of ints and arrays as two: one with the ints and slices, then one with the arrays.

    So PyTorch takes them: x[0, :, [1, 2]] is x[0][:, [1, 2]]. NumPy would count the 0 among the
    arrays, find a slice between them, and put their dimension in front of the slice's.
    """
    basic: list[Any] = []
    arrays: list[Any] = []
    for part in parts:
        if isinstance(part, np.ndarray):
            basic += [slice(None)] * (part.ndim if part.dtype.kind == "b" else 1)
            arrays.append(part)
        else:
            basic.append(part)
            if not isinstance(part, int):
                arrays.append(Ellipsis if part is Ellipsis else slice(None))
    return tuple(basic), tuple(arrays)


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: a view for ints and slices, a copy where tensors are in the index"""
    parts, advanced = _index(index, x._requires_grad)
    if advanced and any(isinstance(part, int) for part in parts):
        basic, parts = _ints_first(parts)
        x = apply(SLICE, x, index=basic)
    return apply(GATHER if advanced else SLICE, x, index=parts)


def setitem(x: Tensor, index: Any, value: Any) -> Tensor:
    """The tensor that x is after x[index] = value"""
    parts, advanced = _index(index, x._requires_grad or getattr(value, "_requires_grad", False))
    if advanced and any(isinstance(part, int) for part in parts):
        positions = x._constant(np.arange(x._data.size).reshape(x._data.shape))
        parts = np.unravel_index(getitem(positions, index)._data, x._data.shape)
    if not hasattr(value, "_data"):
        value = x._constant(np.asarray(np.asarray(value).astype(x._data.dtype)))
    old = value._data.shape
    first = next((i for i, n in enumerate(old) if n != 1), len(old))
    if first:  # sizes of 1 in front are dropped, as many as there are
        value = view(value, old[first:])
    return apply(INDEX_PUT, x, value.to(x.dtype), index=parts)
