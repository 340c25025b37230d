"""Many entries to one: sums, means and extremes over all dimensions, or over those in `dim`.

max and min have three faces, as in PyTorch: of all entries, along a dimension, of two tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes
from npmlp.autograd import apply
from npmlp.errors import DTypeError, OutsideSubsetError
from npmlp.functions.arguments import Dim, dims_of
from npmlp.functions.arithmetic import maximum, minimum
from npmlp.ops import extreme, moments, reduce, running
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


class ValuesIndices(tuple["Tensor", "Tensor"]):
    """What max and min along a dimension, sort and topk return: a pair with names."""

    op: str

    def __new__(cls, op: str, values: Tensor, indices: Tensor) -> ValuesIndices:
        """The pair that `op` returns."""
        pair = super().__new__(cls, (values, indices))
        pair.op = op
        return pair

    @property
    def values(self) -> Tensor:
        """The entries that were chosen."""
        return self[0]

    @property
    def indices(self) -> Tensor:
        """Where they stood."""
        return self[1]

    def __repr__(self) -> str:
        """As PyTorch prints it."""
        return f"torch.return_types.{self.op}(\nvalues={self[0]!r},\nindices={self[1]!r})"


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
    dims, correction = _degrees("var", input, dim, unbiased, correction)
    return apply(reduce.VAR, input, dim=dims, keepdim=keepdim, correction=correction)


def std(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float = 1,
) -> Tensor:
    """The root of var, with the same arguments"""
    dims, correction = _degrees("std", input, dim, unbiased, correction)
    return apply(moments.STD, input, dim=dims, keepdim=keepdim, correction=correction)


def _degrees(
    op: str, input: Tensor, dim: Dim | bool, unbiased: bool | None, correction: float
) -> tuple[tuple[int, ...], float]:
    """The dimensions, and what is taken off their number of entries."""
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    return dims_of(op, input, dim), correction


def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Dim = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """(Σ |x|^p)^(1/p) over `dim`, or over all entries; the largest |x| where p is inf"""
    if p == "nuc":
        raise OutsideSubsetError(
            "norm: p='nuc', the nuclear norm, is outside npmlp; numpy.linalg.norm(x.numpy(), 'nuc')"
        )
    if dtype is dtypes.float32 and input.dtype is dtypes.float64:
        raise DTypeError("norm: dtype torch.float32 is narrower than input's; convert the result")
    x = input if dtype is None else input.to(dtype)
    order = 2.0 if p is None or p == "fro" else float(p)
    return apply(moments.VECTOR_NORM, x, dim=dims_of("norm", x, dim), keepdim=keepdim, ord=order)


def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Π along `dim`, or of all entries; integers are multiplied as int64"""
    x = input if dtype is None else input.to(dtype)
    return apply(running.PROD, x, dim=dims_of("prod", x, dim), keepdim=keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """The sums of the first 1, 2, … entries along `dim`; integers are summed as int64"""
    x = input if dtype is None else input.to(dtype)
    return apply(running.CUMSUM, x, dim=normalize_dim("cumsum", dim, x.ndim))


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
        return ValuesIndices(op, x.clone(), x._constant(np.zeros((), np.int64)))
    return ValuesIndices(op, *apply(spec, x, dim=(d,), keepdim=keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest entry along `dim`, the first of equals; of all entries if None"""
    return apply(extreme.ARGMAX, input, dim=dims_of("argmax", input, dim), keepdim=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest entry along `dim`, the first of equals; of all entries if None"""
    return apply(extreme.ARGMIN, input, dim=dims_of("argmin", input, dim), keepdim=keepdim)
