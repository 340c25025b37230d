"""Entries in order, and entries chosen by position or mask along a dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp.autograd import apply
from npmlp.errors import DTypeError, OutsideSubsetError, ShapeError
from npmlp.functions.indexing import getitem
from npmlp.functions.reductions import ValuesIndices
from npmlp.functions.shapes import view
from npmlp.node import named
from npmlp.ops import order
from npmlp.ops import scatter as scatter_ops
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> ValuesIndices:
    """The entries along `dim` in order, and the indices where they stood; equal ones keep theirs"""
    d = normalize_dim("sort", dim, input.ndim)
    return ValuesIndices("sort", *apply(order.SORT, input, dim=d, descending=bool(descending)))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that put the entries along `dim` in order"""
    d = normalize_dim("argsort", dim, input.ndim)
    return input._wrap(np.array(order.order_of(input._data, d, bool(descending)), order="C"))


def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The k largest (or smallest) entries along `dim`, in falling (or rising) order, and indices"""
    d = normalize_dim("topk", dim, input.ndim)
    return ValuesIndices("topk", *apply(order.TOPK, input, dim=d, k=int(k), largest=bool(largest)))


# ------------------------------------------------------------------------------------ by position


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """input[i, index[i, j]] for dim 1, and so on; the result has index's shape"""
    d = normalize_dim("gather", dim, input.ndim)
    if input.ndim and index.ndim:
        return apply(scatter_ops.GATHER_DIM, input, index, dim=d)
    picked = apply(scatter_ops.GATHER_DIM, _line(input), _line(index), dim=d)
    return named(view(picked, tuple(index.shape)), "GatherBackward0")


def _line(x: Tensor) -> Tensor:
    """A number as one of one dimension, for which PyTorch takes it here."""
    return x if x.ndim else view(x, (1,))


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: Any = None,
) -> Tensor:
    """input after input[i, index[i, j]] = src[i, j] for dim 1, and so on; `value` for one number"""
    if reduce is not None:
        raise OutsideSubsetError("scatter: reduce= is outside npmlp; use np.add.at on x.numpy()")
    if (src is None) == (value is None):
        raise DTypeError("scatter: got neither or both of src and value, expected one of them")
    given = value if src is None else src
    number = not hasattr(given, "_data")
    if number:
        given = _as_entry("scatter", input, given)
    elif src is None:
        raise DTypeError("scatter: value is a Tensor, expected a number; pass it as src")
    elif given.dtype is not input.dtype:
        raise DTypeError(f"scatter: src has dtype {given.dtype}, expected input's {input.dtype}")
    d = normalize_dim("scatter", dim, input.ndim)
    given = given if number or index.ndim else _line(given)
    result = apply(scatter_ops.SCATTER, _line(input), _line(index), given, dim=d)
    result = result if input.ndim else view(result, ())
    return named(result, f"ScatterBackward{int(number)}")


def _as_entry(op: str, input: Tensor, value: Any) -> Tensor:
    """A Python number as a 0-d tensor of input's dtype; for whole numbers its fraction is lost."""
    dtype = input._data.dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise DTypeError(f"{op}: {value} does not fit into {input.dtype}")
        value = int(value)
    return input._constant(np.asarray(np.asarray(value).astype(dtype)))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along `dim` at the positions of a one-dimensional index"""
    d = normalize_dim("index_select", dim, input.ndim)
    if index._data.ndim > 1 or index._data.dtype != np.int64:
        raise DTypeError(
            f"index_select: index is {index.dtype} of shape {tuple(index.shape)}, expected int64 "
            "of one dimension"
        )
    scatter_ops.check_range("index_select", index._data, input._data.shape[d] if input.ndim else 1)
    chosen = (*[slice(None)] * d, index if index.ndim else index.view((1,)))
    result = getitem(input, chosen) if input.ndim else input.clone()
    return named(result, "IndexSelectBackward0")


def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The entries in reverse along each of `dims`; a copy"""
    listed = (dims,) if isinstance(dims, int) else tuple(dims)
    chosen = {normalize_dim("flip", d, input.ndim) for d in listed}
    if len(chosen) < len(listed):
        raise ShapeError(f"flip: dims {tuple(listed)} name a dimension twice")
    result = input.clone()
    for d in sorted(chosen) if input.ndim else ():
        backwards = np.arange(input._data.shape[d])[::-1].copy()
        result = getitem(result, (*[slice(None)] * d, input._constant(backwards)))
    return named(result, "FlipBackward0")


# ---------------------------------------------------------------------------------------- by mask


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value`, one number, where the mask holds, else input"""
    number = not hasattr(value, "_data")
    if number:
        value = _as_entry("masked_fill", input, value)
    result = apply(scatter_ops.MASKED_FILL, input, mask, value.to(input.dtype))
    return named(result, f"MaskedFillBackward{0 if number else 1}")


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, 0 above the diagonal, or above another one"""
    return _triangle("tril", input, lambda row, column: column - row > diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, 0 below the diagonal, or below another one"""
    return _triangle("triu", input, lambda row, column: column - row < diagonal)


def _triangle(op: str, input: Tensor, outside: Callable[[Any, Any], Any]) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{op}: the tensor has {input.ndim} dimensions, expected at least 2")
    mask = outside(*np.indices(input._data.shape[-2:], sparse=True))
    return named(masked_fill(input, input._constant(mask), 0), f"{op.capitalize()}Backward0")


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The entries where the mask holds, one after another"""
    if mask._data.dtype.kind != "b":
        raise DTypeError(f"masked_select: mask has dtype {mask.dtype}, expected bool")
    try:
        shape = np.broadcast_shapes(input._data.shape, mask._data.shape)
    except ValueError:
        raise ShapeError(
            f"masked_select: a mask of shape {tuple(mask.shape)} does not broadcast with "
            f"{tuple(input.shape)}"
        ) from None
    result = getitem(input.expand(shape), mask.expand(shape).clone())
    return named(result, "MaskedSelectBackward0")
