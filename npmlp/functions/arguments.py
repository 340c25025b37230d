"""How arguments are read: a number beside a tensor, two dtypes, `dim` counted from the front.

All raise in the name of the operation `op` that they read for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes, grad_mode
from npmlp.errors import DTypeError, GraphError, ShapeError
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

Scalar = float | int | bool
Dim = int | Sequence[int] | None


def scalar_dtype(value: Scalar, like: dtypes.dtype) -> dtypes.dtype:
    """The dtype in which a Python number meets a tensor of dtype `like`."""
    if isinstance(value, bool):
        return like
    if isinstance(value, int):
        return dtypes.int64 if like is dtypes.bool else like
    return like if like.is_floating_point else dtypes.get_default_dtype()


def together(op: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two tensors, or a tensor and a number, as two tensors of one dtype (PyTorch's promotion)."""
    x_is_tensor, y_is_tensor = hasattr(x, "_data"), hasattr(y, "_data")
    if x_is_tensor and y_is_tensor:
        if x._data.dtype == y._data.dtype:
            return x, y
        dtype = dtypes.result_type([(x.dtype, x.ndim > 0), (y.dtype, y.ndim > 0)])
        return x.to(dtype), y.to(dtype)
    tensor, other = (x, y) if x_is_tensor else (y, x)
    if isinstance(other, np.generic):
        other = other.item()
    if not isinstance(other, (float, int)):
        raise DTypeError(
            f"{op}: got a {type(other).__name__} beside a Tensor, expected a Tensor or a number; "
            "make it one with npmlp.tensor(...)"
        )
    dtype = scalar_dtype(other, tensor.dtype)
    # first as NumPy would have it: a byte takes 300 modulo 256, also in comparisons, as in PyTorch
    scalar = tensor._constant(np.asarray(np.asarray(other).astype(dtype.numpy)))
    tensor = tensor.to(dtype)
    return (tensor, scalar) if x_is_tensor else (scalar, tensor)


def as_float(x: Tensor) -> Tensor:
    """x itself if it has floats, else in the default dtype."""
    return x if x._data.dtype.kind == "f" else x.to(dtypes.get_default_dtype())


def dims_of(op: str, x: Tensor, dim: Dim) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(x.ndim))
    listed = (dim,) if isinstance(dim, int) else tuple(dim)
    if not listed:
        return tuple(range(x.ndim))  # as in PyTorch, an empty list means all
    dims = tuple(sorted(normalize_dim(op, d, x.ndim) for d in listed))
    if len(set(dims)) < len(dims):
        raise ShapeError(f"{op}: dim {dim} names a dimension twice")
    return dims if x.ndim else ()


def one_dtype(op: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    if len(tensors) == 0:
        raise ShapeError(f"{op}: got no tensors, expected at least one")
    dtype = dtypes.result_type([(t.dtype, t.ndim > 0) for t in tensors])
    return [t.to(dtype) for t in tensors]


def into(op: str, out: Tensor | None, result: Tensor) -> Tensor:
    """The result, or with `out` its values written there, as PyTorch's functions with out= do.

    Raises: GraphError where a gradient is required, ShapeError for another shape than the result's
    (PyTorch warns and resizes), DTypeError for a dtype that the result does not fit.
    """
    if out is None:
        return result
    if grad_mode.mode.recording and (result._requires_grad or out._requires_grad):
        raise GraphError(
            f"{op}: with out= nothing is recorded, but one of the arguments requires a gradient; "
            "leave out= away, or do it under npmlp.no_grad()"
        )
    if not np.can_cast(result._data.dtype, out._data.dtype, "same_kind"):
        raise DTypeError(f"{op}: a result of {result.dtype} does not fit into out of {out.dtype}")
    if out._data.shape != result._data.shape:
        if out._data.size:
            raise ShapeError(
                f"{op}: out has shape {out._data.shape}, expected the result's "
                f"{result._data.shape}, or no entries at all"
            )
        out._data = np.empty(result._data.shape, out._data.dtype)  # grown, as in PyTorch
    return out._write(result._data)
