"""Many entries to one: sums, means and extremes over all dimensions, or over those in `dim`.

max and min have three faces, as in PyTorch: of all entries, along a dimension, of two tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npmlp import dtypes
from npmlp.autograd import apply
from npmlp.functions.arguments import Dim, dims_of
from npmlp.functions.arithmetic import maximum, minimum
from npmlp.ops import extreme, reduce
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


class ValuesIndices(NamedTuple):
    """What `max(x, dim)` and `min(x, dim)` return."""

    values: Tensor
    indices: Tensor


def sum(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Σ over `dim`, or over all entries; integers are summed as int64"""
    x = input if dtype is None else input.to(dtype)
    return apply(reduce.SUM, x, dim=dims_of("sum", x, dim), keepdim=keepdim)


def mean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """The mean over `dim`, or over all entries"""
    x = input if dtype is None else input.to(dtype)
    return apply(reduce.MEAN, x, dim=dims_of("mean", x, dim), keepdim=keepdim)


def var(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float = 1,
) -> Tensor:
    """Σ (x - mean)² / (n - correction) over `dim`, or over all entries.

    `unbiased`, PyTorch's older spelling, stands for correction 1 (True) or 0 (False).
    """
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    return apply(
        reduce.VAR, input, dim=dims_of("var", input, dim), keepdim=keepdim, correction=correction
    )


# ----------------------------------------------------------------------------------------- extremes


def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest entry over `dim`, or of all; equal ones share the gradient"""
    return apply(extreme.AMAX, input, dim=dims_of("amax", input, dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest entry over `dim`, or of all; equal ones share the gradient"""
    return apply(extreme.AMIN, input, dim=dims_of("amin", input, dim), keepdim=keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """max(x): the largest entry. max(x, dim): values and indices. max(x, y): entry by entry."""
    if dim is None:
        return amax(input)
    if hasattr(dim, "_data"):
        return maximum(input, dim)
    return _extreme_with_index(extreme.MAX_DIM, "max", input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """min(x): the smallest entry. min(x, dim): values and indices. min(x, y): entry by entry."""
    if dim is None:
        return amin(input)
    if hasattr(dim, "_data"):
        return minimum(input, dim)
    return _extreme_with_index(extreme.MIN_DIM, "min", input, dim, keepdim)


def _extreme_with_index(spec: Any, op: str, x: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    d = normalize_dim(op, dim, x.ndim)
    if x.ndim == 0:  # a scalar is the extreme of itself, with index 0
        return ValuesIndices(x.clone(), x._wrap(np.zeros((), np.int64)))
    return ValuesIndices(*apply(spec, x, dim=(d,), keepdim=keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest entry along `dim`, the first of equals; of all entries if None"""
    return apply(extreme.ARGMAX, input, dim=dims_of("argmax", input, dim), keepdim=keepdim)
