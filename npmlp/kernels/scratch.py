"""What working memory each kernel asks for, in plain Python: an operation's layout reads this
without importing Numba.

    <op>_scratch(shapes, dtypes, attrs, needs) -> (forward, backward), tuples of (shape, dtype)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Scratch = tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
DOUBLE = np.dtype(np.float64)


def is_large(n: int, k: int, m: int, itemsize: int) -> bool:
    """Whether a (N, K) times b (K, M) is cut into blocks: b does not stay in a second-level cache,
    and there are rows and columns enough to make up for copying both.
    """
    return min(n, m // 4) >= 64 and k * m * itemsize > 1 << 20


def are_dots(n: int, k: int, m: int) -> bool:
    """Whether a (N, K) times b (K, M), which is a transpose as stored, is computed as dot products
    of rows: these are long, and there are few rows for which b would be turned around.
    """
    return n <= 256 and k >= 512


def panels(n: int, k: int, m: int, dtype: np.dtype[Any]) -> Scratch:
    """Memory for b (K, M) in packed panels. None for a large product, which packs a block at a
    time, and for dot products.
    """
    none = is_large(n, k, m, dtype.itemsize) or are_dots(n, k, m)
    return () if none else (_packed(k, m, dtype),)


def _packed(k: int, m: int, dtype: np.dtype[Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Panels of b (K, M): its last vector is filled up, of 64 bytes at most."""
    lanes = 64 // dtype.itemsize
    return (k * -(-m // lanes) * lanes,), dtype


def matmul_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: panels of y, which may be a transpose. Backward: panels of yᵀ, for dx."""
    n, (k, m) = shapes[0][0], shapes[1]
    return panels(n, k, m, dtypes[0]), panels(n, m, k, dtypes[0]) if needs[0] else ()


def linear_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: panels of the transposed weight. Backward: nothing."""
    m, k = shapes[1]
    return panels(math.prod(shapes[0][:-1]), k, m, dtypes[0]), ()


def batch_norm_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: a sum per channel (C,). Backward: two of them. In double precision."""
    channels = (shapes[0][1],)
    return ((channels, DOUBLE),), ((channels, DOUBLE), (channels, DOUBLE))


# ----------------------------------------------------------------------------------- convolution

CHUNKS = 4  # of images, in which direct.py makes a weight's gradient
SUM_BYTES = 64
"""A sum in lanes (sums.py) is kept in so many bytes of partial sums, on every processor."""
_MOST_SUMS = 1 << 22  # bytes of partial sums, from which im2col's copies are the cheaper ones


def is_direct(weight: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a convolution reads the image where it is (direct.py), and makes no columns."""
    return tuple(stride) == (1, 1) and CHUNKS * SUM_BYTES * math.prod(weight) <= _MOST_SUMS


def is_sparse(numbers: int, dilation: int, itemsize: int) -> bool:
    """Whether the gradients of a direct convolution are made entry by entry (direct_sparse.py): a
    line of its kernel, `numbers` with the channels of each pixel side by side, is a few vectors.
    """
    return dilation == 1 and numbers * itemsize <= 4 * SUM_BYTES


def direct_scratch(shapes: Sequence[Any], dtypes: Sequence[Any], groups: int) -> Scratch:
    """Backward: partial sums of dweight (chunks, groups, K/groups · R · lanes), of which
    direct_sparse.py uses the beginning; and of dbias (chunks, K, lanes).
    """
    lanes = SUM_BYTES // dtypes[0].itemsize
    size = math.prod(shapes[1]) // groups * lanes
    return (((CHUNKS, groups, size), dtypes[0]), ((CHUNKS, shapes[1][0], lanes), dtypes[0]))


_COLUMN_BYTES = 1 << 19  # of the columns that conv2d works on at a time: half a second-level cache


def conv2d_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """What direct.py works with, or columns."""
    if is_direct(shapes[1], attrs["stride"]):
        return (), direct_scratch(shapes, dtypes, attrs["groups"])
    return columns_scratch(shapes, dtypes, attrs, needs)


def columns_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: columns (B, R, P), B images at a time, and the lines (B, H · OW) that one column of
    the kernel sees. Backward: the same, a partial dweight, and panels of an image's dout.
    """
    x, weight = shapes[0], shapes[1]
    k, c, kh, kw = weight
    oh, ow = (
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, pad, dilation, kernel, stride in zip(
            x[2:], attrs["padding"], attrs["dilation"], (kh, kw), attrs["stride"], strict=True
        )
    )
    r = c * kh * kw  # rows of columns
    b = max(1, min(x[0], _COLUMN_BYTES // max(1, r * oh * ow * dtypes[0].itemsize)))
    columns: Scratch = (((b, r, oh * ow), dtypes[0]), ((b, x[2] * ow), dtypes[0]))
    k //= attrs["groups"]
    turned: Scratch = (((k * r,), dtypes[0]), _packed(oh * ow, k, dtypes[0]))
    return columns, (*columns, *turned) if needs[0] or needs[1] else ()
