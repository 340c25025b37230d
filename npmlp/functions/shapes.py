"""The same entries in another shape, as a view where memory allows, and tensors joined to one.

Sizes may hold one -1, which is worked out; dimensions may be counted from the back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from npmlp.autograd import apply
from npmlp.errors import ShapeError
from npmlp.functions.arguments import Dim, dims_of, one_dtype
from npmlp.node import named
from npmlp.ops import shape
from npmlp.ops.common import normalize_dim
from npmlp.ops.shape import resolve_shape

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


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
    return named(apply(shape.PERMUTE, input, dims=tuple(dims)), "TransposeBackward0")


def t(input: Tensor) -> Tensor:
    """A view of a matrix transposed; a vector or number as it is"""
    if input.ndim > 2:
        raise ShapeError(f"t: the tensor has {input.ndim} dimensions, expected at most 2")
    return named(permute(input, range(input.ndim)[::-1]), "TBackward0")


def ravel(input: Tensor) -> Tensor:
    """The entries in one dimension: a view where possible, else a copy"""
    return reshape(input, (-1,))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a dimension of size 1 put in at `dim`"""
    d = normalize_dim("unsqueeze", dim, input.ndim + 1)
    result = view(input, (*input._data.shape[:d], 1, *input._data.shape[d:]))
    return named(result, "UnsqueezeBackward0")


def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    """A view without the dimensions of size 1, or without those among `dim`"""
    chosen = dims_of("squeeze", input, dim)
    old = input._data.shape
    result = view(input, tuple(n for i, n in enumerate(old) if n != 1 or i not in chosen))
    variant = 0 if dim is None else 1 if isinstance(dim, int) else 2
    return named(result, f"SqueezeBackward{variant}")


def expand(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """A view in which dimensions of size 1 are repeated; -1 keeps a size"""
    old = input._data.shape
    extra = len(sizes) - len(old)
    new = tuple(old[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(sizes))
    return apply(shape.EXPAND, input, shape=new)


# ------------------------------------------------------------------------------------------ joining


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along `dim`"""
    same = one_dtype("cat", tensors)
    return apply(shape.CAT, *same, dim=normalize_dim("cat", dim, same[0].ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along a new dimension `dim`"""
    same = one_dtype("stack", tensors)
    return apply(shape.STACK, *same, dim=normalize_dim("stack", dim, same[0].ndim + 1))
