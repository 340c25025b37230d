"""Functions of tensors: `npmlp.exp(x)`, `npmlp.sum(x, dim=1)`, `npmlp.cat([x, y])`.

Each brings its arguments into the one form that its operation takes (dimensions counted from the
front, one dtype, no Python scalars) and applies it. What can be computed, and how its gradient
follows, stands in npmlp/ops. Methods of Tensor of the same name call these.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npmlp import dtypes
from npmlp.autograd import apply
from npmlp.errors import DTypeError, ShapeError
from npmlp.ops import activation, compare, elementwise, linear, reduce, shape
from npmlp.ops.common import normalize_dim
from npmlp.ops.shape import resolve_shape

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

Scalar = float | int | bool
Dim = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """What `max(x, dim)` and `min(x, dim)` return."""

    values: Tensor
    indices: Tensor


# ------------------------------------------------------------------------- two inputs of one dtype


def scalar_dtype(value: Scalar, like: dtypes.dtype) -> dtypes.dtype:
    """The dtype in which a Python number meets a tensor of dtype `like`."""
    if isinstance(value, builtins.bool):
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
    scalar = tensor._wrap(np.asarray(np.asarray(other).astype(dtype.numpy)))
    tensor = tensor.to(dtype)
    return (tensor, scalar) if x_is_tensor else (scalar, tensor)


def add(input: Any, other: Any, *, alpha: Scalar = 1) -> Tensor:
    """input + alpha · other"""
    return apply(elementwise.ADD, *together("add", input, _times("add", other, alpha)))


def sub(input: Any, other: Any, *, alpha: Scalar = 1) -> Tensor:
    """input - alpha · other"""
    for x in (input, other):
        if isinstance(x, builtins.bool) or (hasattr(x, "_data") and x._data.dtype.kind == "b"):
            raise DTypeError("sub: bools cannot be subtracted; use ~x for the opposite, or .long()")
    return apply(elementwise.SUB, *together("sub", input, _times("sub", other, alpha)))


def _times(op: str, other: Any, alpha: Scalar) -> Any:
    if alpha == 1:
        return other
    if isinstance(alpha, float) and hasattr(other, "_data") and other._data.dtype.kind != "f":
        raise DTypeError(f"{op}: alpha is {alpha}, expected a whole number for tensors of those")
    return other * alpha


def mul(input: Any, other: Any) -> Tensor:
    """input · other, entry by entry"""
    return apply(elementwise.MUL, *together("mul", input, other))


def div(input: Any, other: Any) -> Tensor:
    """input / other, entry by entry; integers are divided as floats of the default dtype"""
    if not hasattr(other, "_data"):  # a byte is divided by 300, not by what is left of it
        input = as_float(input)
    elif not hasattr(input, "_data"):
        other = as_float(other)
    x, y = together("div", input, other)
    return apply(elementwise.DIV, as_float(x), as_float(y))


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
    return apply(elementwise.POW, x, y)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair of entries"""
    return apply(elementwise.MAXIMUM, *together("maximum", input, other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair of entries"""
    return apply(elementwise.MINIMUM, *together("minimum", input, other))


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
        input = condition._wrap(np.array(input, dtypes.as_dtype(either).numpy))
    return apply(elementwise.WHERE, condition, *together("where", input, other))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |input - other| ≤ atol + rtol · |other| everywhere."""
    if input.dtype is not other.dtype:
        raise DTypeError(f"allclose: dtypes {input.dtype} and {other.dtype} differ")
    return builtins.bool(np.allclose(input._data, other._data, rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same entries."""
    return np.array_equal(input._data, other._data)


# ---------------------------------------------------------------------------------- one input


def as_float(x: Tensor) -> Tensor:
    """x itself if it has floats, else in the default dtype."""
    return x if x._data.dtype.kind == "f" else x.to(dtypes.get_default_dtype())


def neg(input: Tensor) -> Tensor:
    """-input"""
    if input.dtype is dtypes.bool:
        raise DTypeError("neg: input has dtype torch.bool; use ~x, or logical_not")
    return apply(elementwise.NEG, input)


def exp(input: Tensor) -> Tensor:
    """e ^ input"""
    return apply(elementwise.EXP, as_float(input))


def log(input: Tensor) -> Tensor:
    """The natural logarithm; -inf at 0, nan below"""
    return apply(elementwise.LOG, as_float(input))


def sqrt(input: Tensor) -> Tensor:
    """The square root; nan below 0"""
    return apply(elementwise.SQRT, as_float(input))


def abs(input: Tensor) -> Tensor:
    """|input|"""
    return apply(elementwise.ABS, input)


def clamp(input: Tensor, min: Scalar | None = None, max: Scalar | None = None) -> Tensor:
    """input, raised to `min` and lowered to `max`"""
    if min is None and max is None:
        raise ShapeError("clamp: at least one of min and max must be given")
    for bound in (min, max):
        if isinstance(bound, float):  # PyTorch clamps whole numbers to a float as floats
            input = as_float(input)
        elif not isinstance(bound, int | None):
            raise DTypeError(
                f"clamp: a bound is a {type(bound).__name__}, expected a number or None; for a "
                "tensor use npmlp.maximum or npmlp.minimum"
            )
        elif bound is not None and input._data.dtype == np.uint8 and not 0 <= bound <= 255:
            raise DTypeError(f"clamp: a uint8 tensor cannot be held at {bound}; use .long() first")
    return apply(elementwise.CLAMP, input, min=min, max=max)


def relu(input: Tensor) -> Tensor:
    """max(0, input)"""
    return apply(activation.RELU, input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e ^ -input)"""
    return apply(activation.SIGMOID, as_float(input))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent"""
    return apply(activation.TANH, as_float(input))


def softmax(input: Tensor, dim: int, dtype: dtypes.dtype | None = None) -> Tensor:
    """e^x_i / Σ_j e^x_j along `dim`"""
    x = input if dtype is None else input.to(dtype)
    return apply(activation.SOFTMAX, x, dim=normalize_dim("softmax", dim, x.ndim))


def log_softmax(input: Tensor, dim: int, dtype: dtypes.dtype | None = None) -> Tensor:
    """x_i - ln Σ_j e^x_j along `dim`, with no intermediate that under- or overflows"""
    x = input if dtype is None else input.to(dtype)
    return apply(activation.LOG_SOFTMAX, x, dim=normalize_dim("log_softmax", dim, x.ndim))


# --------------------------------------------------------------------------------- reductions


def _dims(op: str, x: Tensor, dim: Dim) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(x.ndim))
    listed = (dim,) if isinstance(dim, int) else tuple(dim)
    if not listed:
        return tuple(range(x.ndim))  # as in PyTorch, an empty list means all
    dims = tuple(sorted(normalize_dim(op, d, x.ndim) for d in listed))
    if len(set(dims)) < len(dims):
        raise ShapeError(f"{op}: dim {dim} names a dimension twice")
    return dims if x.ndim else ()


def sum(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Σ over `dim`, or over all entries; integers are summed as int64"""
    x = input if dtype is None else input.to(dtype)
    return apply(reduce.SUM, x, dim=_dims("sum", x, dim), keepdim=keepdim)


def mean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """The mean over `dim`, or over all entries"""
    x = input if dtype is None else input.to(dtype)
    return apply(reduce.MEAN, x, dim=_dims("mean", x, dim), keepdim=keepdim)


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
    if isinstance(dim, builtins.bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    return apply(
        reduce.VAR, input, dim=_dims("var", input, dim), keepdim=keepdim, correction=correction
    )


def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest entry over `dim`, or of all; equal ones share the gradient"""
    return apply(reduce.AMAX, input, dim=_dims("amax", input, dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest entry over `dim`, or of all; equal ones share the gradient"""
    return apply(reduce.AMIN, input, dim=_dims("amin", input, dim), keepdim=keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """max(x): the largest entry. max(x, dim): values and indices. max(x, y): entry by entry."""
    if dim is None:
        return amax(input)
    if hasattr(dim, "_data"):
        return maximum(input, dim)
    return _extreme_with_index(reduce.MAX_DIM, "max", input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """min(x): the smallest entry. min(x, dim): values and indices. min(x, y): entry by entry."""
    if dim is None:
        return amin(input)
    if hasattr(dim, "_data"):
        return minimum(input, dim)
    return _extreme_with_index(reduce.MIN_DIM, "min", input, dim, keepdim)


def _extreme_with_index(spec: Any, op: str, x: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    d = normalize_dim(op, dim, x.ndim)
    if x.ndim == 0:  # a scalar is the extreme of itself, with index 0
        return ValuesIndices(x.clone(), x._wrap(np.zeros((), np.int64)))
    return ValuesIndices(*apply(spec, x, dim=(d,), keepdim=keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest entry along `dim`, the first of equals; of all entries if None"""
    return apply(reduce.ARGMAX, input, dim=_dims("argmax", input, dim), keepdim=keepdim)


# ------------------------------------------------------------------------------- products, shapes


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; vectors and batches of matrices as in PyTorch"""
    return apply(linear.MATMUL, *together("matmul", input, other))


def view(input: Tensor, shape_: tuple[int, ...]) -> Tensor:
    """The same memory in another shape. Raises ShapeError where that needs a copy."""
    shape_ = resolve_shape("view", input._data.shape, shape_)
    try:
        return apply(shape.RESHAPE, input, shape=shape_)
    except ValueError as error:
        if isinstance(error, ShapeError):
            raise
        raise ShapeError(
            f"view: a tensor of shape {tuple(input.shape)} that is not contiguous cannot be seen "
            f"as {shape_} without a copy; use reshape"
        ) from None


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same entries in another shape: a view where possible, else a copy"""
    try:
        return view(input, tuple(shape))
    except ShapeError as error:
        if "use reshape" not in str(error):
            raise
        return view(input.contiguous(), tuple(shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from start_dim to end_dim as one"""
    old = input._data.shape
    if not old:
        return reshape(input, (1,))
    first, last = (normalize_dim("flatten", d, len(old)) for d in (start_dim, end_dim))
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    if first == last:
        return input
    size = int(np.prod(old[first : last + 1]))
    return reshape(input, (*old[:first], size, *old[last + 1 :]))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """A view with the dimensions in the order of `dims`"""
    ordered = tuple(normalize_dim("permute", d, input.ndim) for d in dims)
    return apply(shape.PERMUTE, input, dims=ordered)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged"""
    a, b = (normalize_dim("transpose", d, input.ndim) for d in (dim0, dim1))
    dims = list(range(input.ndim))
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return apply(shape.PERMUTE, input, dims=tuple(dims))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a dimension of size 1 put in at `dim`"""
    d = normalize_dim("unsqueeze", dim, input.ndim + 1)
    return view(input, (*input._data.shape[:d], 1, *input._data.shape[d:]))


def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    """A view without the dimensions of size 1, or without those among `dim`"""
    chosen = _dims("squeeze", input, dim)
    old = input._data.shape
    return view(input, tuple(n for i, n in enumerate(old) if n != 1 or i not in chosen))


def expand(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """A view in which dimensions of size 1 are repeated; -1 keeps a size"""
    old = input._data.shape
    extra = len(sizes) - len(old)
    new = tuple(old[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(sizes))
    return apply(shape.EXPAND, input, shape=new)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along `dim`"""
    same = _one_dtype("cat", tensors)
    return apply(shape.CAT, *same, dim=normalize_dim("cat", dim, same[0].ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along a new dimension `dim`"""
    same = _one_dtype("stack", tensors)
    return apply(shape.STACK, *same, dim=normalize_dim("stack", dim, same[0].ndim + 1))


def _one_dtype(op: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    if len(tensors) == 0:
        raise ShapeError(f"{op}: got no tensors, expected at least one")
    dtype = dtypes.result_type([(t.dtype, t.ndim > 0) for t in tensors])
    return [t.to(dtype) for t in tensors]


# -------------------------------------------------------------------------------------- indexing


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
        elif isinstance(part, builtins.bool):
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
        x = apply(shape.SLICE, x, index=basic)
    return apply(shape.GATHER if advanced else shape.SLICE, x, index=parts)


def setitem(x: Tensor, index: Any, value: Any) -> Tensor:
    """The tensor that x is after x[index] = value"""
    parts, advanced = _index(index, x._requires_grad or getattr(value, "_requires_grad", False))
    if advanced and any(isinstance(part, int) for part in parts):
        positions = x._wrap(np.arange(x._data.size).reshape(x._data.shape))
        parts = np.unravel_index(getitem(positions, index)._data, x._data.shape)
    if not hasattr(value, "_data"):
        value = x._wrap(np.asarray(np.asarray(value).astype(x._data.dtype)))
    old = value._data.shape
    first = next((i for i, n in enumerate(old) if n != 1), len(old))
    if first:  # sizes of 1 in front are dropped, as many as there are
        value = view(value, old[first:])
    return apply(shape.INDEX_PUT, x, value.to(x.dtype), index=parts)
