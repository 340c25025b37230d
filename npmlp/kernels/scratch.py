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


def transposes_weight(n: int, k: int, m: int) -> bool:
    """Whether x (N, K) times the transpose of weight (M, K) goes by way of a transposed copy.

    Dot products of short rows spend their time adding up the lanes of a vector register; from a few
    hundred rows on, copying the weight to (K, M) first is cheaper. Measured with float32:
    6272×16×128 0.5 ms for 1.2 ms, 2000×96×128 0.56 for 0.73; even near K = 160.
    """
    return n >= 256 and k <= 160 and m >= 32


def linear_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: the transposed weight (K, M), where that pays. Backward: a partial dbias (M,)."""
    x, weight = shapes[0], shapes[1]
    m, k = weight
    n = math.prod(x[:-1])
    forward: Scratch = (((k, m), dtypes[0]),) if transposes_weight(n, k, m) else ()
    backward: Scratch = (((m,), dtypes[0]),) if needs[2] else ()
    return forward, backward


def batch_norm_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: a sum per channel (C,). Backward: two of them. In double precision."""
    channels = (shapes[0][1],)
    return ((channels, DOUBLE),), ((channels, DOUBLE), (channels, DOUBLE))


_COLUMN_BYTES = 1 << 19  # of the columns that conv2d works on at a time: half a second-level cache


def conv2d_scratch(
    shapes: Sequence[Any], dtypes: Sequence[Any], attrs: Mapping[str, Any], needs: Sequence[bool]
) -> tuple[Scratch, Scratch]:
    """Forward: columns (B, R, P), B images at a time, and the lines (B, H · OW) that one column of
    the kernel sees. Backward: the same, and a partial dweight.
    """
    x, weight = shapes[0], shapes[1]
    k, c, kh, kw = weight
    oh, ow = (
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, pad, dilation, kernel, stride in zip(
            x[2:], attrs["padding"], attrs["dilation"], (kh, kw), attrs["stride"], strict=True
        )
    )
    r = c * kh * kw
    b = max(1, min(x[0], _COLUMN_BYTES // max(1, r * oh * ow * dtypes[0].itemsize)))
    columns: Scratch = (((b, r, oh * ow), dtypes[0]), ((b, x[2] * ow), dtypes[0]))
    partial = ((k // attrs["groups"], r), dtypes[0])
    return columns, (*columns, partial) if needs[0] or needs[1] else ()
