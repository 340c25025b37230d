"""A tensor taken apart along a dimension, as views, and tensors put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npmlp.errors import ShapeError
from npmlp.functions.indexing import getitem
from npmlp.functions.shapes import cat, expand, reshape, view
from npmlp.node import named
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of that many entries along `dim`, the last may be shorter; or of the sizes listed"""
    d = normalize_dim("split", dim, tensor.ndim)
    if not tensor.ndim:
        raise ShapeError("split: the tensor has no dimensions, expected at least one")
    size, given = tensor._data.shape[d], split_size_or_sections
    if not isinstance(given, int):
        sizes = [int(n) for n in given]
        if sum(sizes) != size or any(n < 0 for n in sizes):
            raise ShapeError(f"split: sizes {sizes} do not add up to {size}, the size of dim {dim}")
        return _views(tensor, sizes, d, "SplitWithSizesBackward0")
    if given < 0 or (given == 0 and size > 0):
        raise ShapeError(f"split: a size of {given} does not split {size} entries")
    count = max((size + given - 1) // given, 1) if given else 1
    sizes = [min(given, size - i * given) for i in range(count)]
    return _views(tensor, sizes, d, "SplitBackward0")


def _views(tensor: Tensor, sizes: Sequence[int], d: int, label: str) -> tuple[Tensor, ...]:
    pieces, start = [], 0
    for n in sizes:
        piece = getitem(tensor, (*[slice(None)] * d, slice(start, start + n)))
        pieces.append(named(piece, label))
        start += n
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most so many views along `dim`, of equal size but for the last"""
    if chunks < 1:
        raise ShapeError(f"chunk: chunks is {chunks}, expected at least 1")
    d = normalize_dim("chunk", dim, input.ndim)
    size = input._data.shape[d] if input.ndim else 0
    each = (size + chunks - 1) // chunks
    if size == 0:  # PyTorch gives so many empty ones
        return split(input, [0] * chunks, dim)
    return split(input, each, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of the slices along `dim`, without it"""
    if not input.ndim:
        raise ShapeError("unbind: the tensor has no dimensions, expected at least one")
    d = normalize_dim("unbind", dim, input.ndim)
    return tuple(
        named(getitem(input, (*[slice(None)] * d, i)), "UnbindBackward0")
        for i in range(input._data.shape[d])
    )


# ------------------------------------------------------------------------------------ side by side


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along dimension 1, vectors one after another"""
    at_least_1d = [t if t.ndim else reshape(t, (1,)) for t in tensors]
    return cat(at_least_1d, dim=0 if at_least_1d and at_least_1d[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other, vectors as rows"""
    return cat([t if t.ndim > 1 else reshape(t, (1, -1)) for t in tensors], dim=0)


def repeat(input: Tensor, repeats: Sequence[int]) -> Tensor:
    """The whole tensor, so many times along each dimension; new dimensions come in front"""
    extra = len(repeats) - input.ndim
    if extra < 0 or any(n < 0 for n in repeats):
        raise ShapeError(
            f"repeat: got {tuple(repeats)} for a tensor of {input.ndim} dimensions, expected a "
            "number of at least 0 for each of them"
        )
    old = (1,) * extra + tuple(input._data.shape)
    spaced = view(input.contiguous(), tuple(n for size in old for n in (1, size)))
    wide = expand(spaced, tuple(n for r, size in zip(repeats, old, strict=True) for n in (r, size)))
    result = reshape(wide, tuple(r * size for r, size in zip(repeats, old, strict=True)))
    # a number of times that is 1 throughout would leave a view of the input
    result = result.clone() if result._storage is input._storage else result
    return named(result, "RepeatBackward0")


def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """As repeat; where `dims` are fewer than the dimensions, the first are not repeated"""
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: each tensor along a dimension of its own, and the same in the others

    `indexing`: "ij", or "xy" for rows and columns exchanged.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ShapeError(f"meshgrid: indexing is {indexing!r}, expected 'ij' or 'xy'")
    if any(t.ndim > 1 for t in tensors) or not tensors:
        raise ShapeError("meshgrid: expected tensors of at most one dimension")
    shape = tuple(t.numel() for t in tensors)
    grids = []
    for i, t in enumerate(tensors):
        alone = view(t, tuple(n if j == i else 1 for j, n in enumerate(shape)))
        grids.append(expand(alone, shape))
    if indexing == "xy" and len(grids) > 1:
        grids = [g.transpose(0, 1) for g in grids]
    return tuple(grids)
