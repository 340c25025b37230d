"""Questions about entries, answered by bools: which are nan, which are close, whether any is true.

Nothing here has a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes
from npmlp.errors import DTypeError, ShapeError
from npmlp.functions.arguments import Dim, dims_of, together
from npmlp.ops.common import broadcast_shape, normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def isnan(input: Tensor) -> Tensor:
    """Where an entry is nan"""
    return input._wrap(np.asarray(np.isnan(input._data)))


def isinf(input: Tensor) -> Tensor:
    """Where an entry is infinite"""
    return input._wrap(np.asarray(np.isinf(input._data)))


def isfinite(input: Tensor) -> Tensor:
    """Where an entry is neither nan nor infinite"""
    return input._wrap(np.asarray(np.isfinite(input._data)))


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Where |input - other| ≤ atol + rtol · |other|"""
    if input.dtype is not other.dtype:
        raise DTypeError(f"isclose: dtypes {input.dtype} and {other.dtype} differ")
    broadcast_shape("isclose", (input._data.shape, other._data.shape))
    close = np.isclose(input._data, other._data, rtol, atol, equal_nan)
    return input._wrap(np.asarray(close))


def logical_not(input: Tensor) -> Tensor:
    """Where an entry is 0"""
    return input._wrap(np.asarray(np.logical_not(input._data)))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Where both entries are other than 0"""
    return _logical("logical_and", np.logical_and, input, other)


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Where at least one of two entries is other than 0"""
    return _logical("logical_or", np.logical_or, input, other)


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Where exactly one of two entries is other than 0"""
    return _logical("logical_xor", np.logical_xor, input, other)


def _logical(op: str, function: Any, input: Tensor, other: Tensor) -> Tensor:
    if not hasattr(other, "_data"):
        raise DTypeError(f"{op}: other is a {type(other).__name__}, expected a Tensor")
    broadcast_shape(op, (input._data.shape, other._data.shape))
    return input._wrap(np.asarray(function(input._data, other._data)))


# ------------------------------------------------------------------------------------ & | ^ ~


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Of bools, both; of whole numbers, the bits that both have"""
    return _bitwise("bitwise_and", np.bitwise_and, input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Of bools, at least one; of whole numbers, the bits that one of them has"""
    return _bitwise("bitwise_or", np.bitwise_or, input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Of bools, exactly one; of whole numbers, the bits in which they differ"""
    return _bitwise("bitwise_xor", np.bitwise_xor, input, other)


def _bitwise(op: str, function: Any, input: Any, other: Any) -> Tensor:
    x, y = together(op, input, other)
    if x._data.dtype.kind == "f":
        raise DTypeError(f"{op}: {x.dtype} has no bits to combine; compare with a number first")
    broadcast_shape(op, (x._data.shape, y._data.shape))
    return x._wrap(np.asarray(function(x._data, y._data)))


def bitwise_not(input: Tensor) -> Tensor:
    """The opposite of bools, each bit of whole numbers turned"""
    if input._data.dtype.kind == "f":
        raise DTypeError(f"bitwise_not: {input.dtype} has no bits to turn; compare it first")
    return input._wrap(np.asarray(~input._data))


# -------------------------------------------------------------------------------- of many entries


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether an entry is other than 0, of all or along `dim`; uint8 answers in uint8"""
    return _quantor("any", np.any, input, dim, keepdim)


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether every entry is other than 0, of all or along `dim`; uint8 answers in uint8"""
    return _quantor("all", np.all, input, dim, keepdim)


def _quantor(op: str, function: Any, input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    dims = dims_of(op, input, dim)
    result = np.asarray(function(input._data, axis=dims, keepdims=keepdim))
    dtype = np.uint8 if input.dtype is dtypes.uint8 else np.bool_
    return input._wrap(np.asarray(result.astype(dtype)))


def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many entries are other than 0"""
    dims = dims_of("count_nonzero", input, dim)
    return input._wrap(np.asarray((input._data != 0).sum(axis=dims, dtype=np.int64)))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of entries other than 0, (how many, ndim); or a tensor per dimension"""
    if not as_tuple:
        return input._wrap(np.argwhere(input._data).astype(np.int64))
    data = input._data if input._data.ndim else input._data.reshape(1)
    return tuple(input._wrap(i.astype(np.int64)) for i in np.nonzero(data))


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, … is an entry; with `weights`, the sum of its entries' weights"""
    if input._data.ndim != 1 or input._data.dtype.kind not in "iu" or (input._data < 0).any():
        raise ShapeError(
            f"bincount: input is {input.dtype} of shape {tuple(input.shape)}, expected one "
            "dimension of whole numbers that are not negative"
        )
    if weights is None:
        return input._wrap(np.bincount(input._data, minlength=minlength).astype(np.int64))
    if weights._data.shape != input._data.shape:
        raise ShapeError(
            f"bincount: weights have shape {tuple(weights.shape)}, expected the input's "
            f"{tuple(input.shape)}"
        )
    sums = np.bincount(input._data, weights._data, minlength)
    # float32 weights are summed in float32 by PyTorch; here in float64, rounded at the end
    return input._wrap(sums.astype(weights._data.dtype if weights.is_floating_point() else "f8"))


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different entries, rising; on request where each entry is among them, and how often.

    `sorted` is accepted; they always are. With `dim`, the different slices along it.
    """
    if dim is not None and input._data.ndim:
        dim = normalize_dim("unique", dim, input.ndim)
    values, inverse, counts = np.unique(
        input._data, return_inverse=True, return_counts=True, axis=dim
    )
    found = [input._wrap(np.asarray(values))]
    if return_inverse:
        shape = input._data.shape if dim is None else (-1,)
        found.append(input._wrap(np.asarray(inverse).reshape(shape).astype(np.int64)))
    if return_counts:
        found.append(input._wrap(counts.astype(np.int64)))
    return found[0] if len(found) == 1 else tuple(found)
