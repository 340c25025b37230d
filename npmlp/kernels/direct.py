"""Convolution with stride 1 without im2col: the product reads its columns where they are.

A column matrix has a row for each entry (c, i, j) of the kernel, and in it the pixel which that
entry sees for each output position. With stride 1 such a row lies in memory already: it is the
image, read from pixel (i, j) of channel c on, if positions are counted as the image counts its
pixels, W to a line. So nothing is copied. The register tile (tile.py) takes the place of each row
from a list, and what it computes is a grid of OH lines of W, of which the last W - OW in each line
are of windows that reach around the border, and are not looked at.

The gradients are in direct_backward.py and, of few channels, in direct_sparse.py.

A thread takes some images.

Letters as in conv.py, and g a grid's length: (OH - 1) · W + OW.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.ladder import Array, Matrix, k_block
from npmlp.kernels.lines import move_lines, pool_tile
from npmlp.kernels.panels import strip_width
from npmlp.kernels.tile import product_tile
from npmlp.kernels.vectors import VECTOR_BYTES, VECTORS

Pair = tuple[int, int]

AVAILABLE = VECTOR_BYTES > 0
THREADS_FROM = 1 << 20  # multiplications
_ROWS = 6  # of a tile: most kernels have a multiple of 6 or 8 outputs; 12 divides them well
_WIDEST = 3 if VECTORS == 3 else 2  # vectors of a tile; a constant, where the loops are compiled


class Shape(NamedTuple):
    """The numbers of a convolution with stride 1, for one group."""

    C: int
    H: int
    W: int
    K: int
    kh: int
    kw: int
    dh: int
    dw: int
    ph: int
    pw: int
    groups: int


# ------------------------------------------------------------------------- for all that follows


@njit(cache=True)
def places(channels: int, plane: int, line: int, kh: int, kw: int, dh: int, dw: int,
           turned: bool) -> Array:  # fmt: skip
    """Where in an image the row (c, i, j) of columns begins; `turned` with i and j backwards."""
    found = np.empty(channels * kh * kw, np.int64)
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                y, x = (kh - 1 - i, kw - 1 - j) if turned else (i, j)
                found[(c * kh + i) * kw + j] = c * plane + y * dh * line + x * dw
    return found


@njit(cache=True)
def grid_product(
    a: Matrix, b: Array, at: int, rows: Array, floor: Any, out: Array, N: int, K: int, G: int
) -> None:
    """out (N, G) = max(floor, out + Σ_k a[:, k] b[at + rows[k] + g]), for g < G.

    The blocks of k are those of every product (ladder.py), and so are the bits.
    """
    lanes = VECTOR_BYTES // out.itemsize
    block = k_block(K)
    down = out.shape[1]
    flat = out.reshape(-1)
    g = 0
    while g < G:
        width = strip_width(G - g, lanes)
        M = min(width, G - g)
        for k in range(0, K, block):
            steps = min(block, K - k)
            least = floor if k + steps >= K else out.dtype.type(-np.inf)
            for i in range(0, N, _ROWS):
                left, p, o = N - i, a.at + i * a.down + k * a.along, i * down + g
                if width == lanes:
                    product_tile(  # type: ignore[call-arg]
                        _ROWS, 1, left, M, steps, a.memory, p, a.down, a.along, b, at + g, k, rows,
                        flat, o, down, least, flat, o, down, None, None, None,
                    )  # fmt: skip
                elif width == 2 * lanes:
                    product_tile(  # type: ignore[call-arg]
                        _ROWS, 2, left, M, steps, a.memory, p, a.down, a.along, b, at + g, k, rows,
                        flat, o, down, least, flat, o, down, None, None, None,
                    )  # fmt: skip
                else:
                    product_tile(  # type: ignore[call-arg]
                        _ROWS, _WIDEST, left, M, steps, a.memory, p, a.down, a.along, b, at + g, k,
                        rows, flat, o, down, least, flat, o, down, None, None, None,
                    )  # fmt: skip
        g += width


@njit(cache=True)
def with_border(x: Array, n: int, channel: int, s: Any, padded: Array) -> None:
    """The channels of a group of image n into the middle of padded (C, H + 2 ph, W + 2 pw)."""
    height, line = s.H + 2 * s.ph, s.W + 2 * s.pw
    of_x, of_padded = x.reshape(-1), padded.reshape(-1)
    for c in range(s.C):
        at = (n * x.shape[1] + channel + c) * s.H * s.W
        to = (c * height + s.ph) * line + s.pw
        move_lines(of_x, at, s.W, of_padded, to, line, s.H, s.W)  # type: ignore[call-arg]


@njit(cache=True)
def _grid_of_image(
    x: Array, weight: Array, bias: Array, n: int, group: int, s: Any, rows: Array, padded: Array,
    floor: Any, grid: Array,
) -> None:  # fmt: skip
    """grid (K, ≥ g) = the convolution of an image's group, and max(floor, …) of that."""
    line = s.W + 2 * s.pw
    G = (s.H + 2 * s.ph - (s.kh - 1) * s.dh - 1) * line + line - (s.kw - 1) * s.dw
    R = s.C * s.kh * s.kw
    for k in range(s.K):
        first = bias[group * s.K + k] if bias.size else grid.dtype.type(0)
        for g in range(G):
            grid[k, g] = first
    a = Matrix(weight, group * s.K * R, R, 1)
    if padded.size:
        with_border(x, n, group * s.C, s, padded)
        grid_product(a, padded.reshape(-1), 0, rows, floor, grid, s.K, R, G)
    else:
        at = (n * s.groups + group) * s.C * s.H * s.W
        grid_product(a, x.reshape(-1), at, rows, floor, grid, s.K, R, G)


@njit(cache=True)
def _scratch_of(x: Array, s: Any) -> Any:
    """What a thread needs for forward: a padded image, if there is padding, places, and a grid."""
    height, line = s.H + 2 * s.ph, s.W + 2 * s.pw
    padding = s.ph > 0 or s.pw > 0
    padded = np.zeros((s.C if padding else 0, height, line), x.dtype)
    rows = places(s.C, height * line, line, s.kh, s.kw, s.dh, s.dw, False)
    return padded, rows, np.empty((s.K, height * line), x.dtype)


# --------------------------------------------------------------------------------------- forward


@njit(cache=True)
def _forward(
    x: Array, weight: Array, bias: Array, s: Any, out: Array, first: int, last: int
) -> None:
    """Images first … last."""
    padded, rows, grid = _scratch_of(x, s)
    OH, OW = out.shape[2:]
    line = s.W + 2 * s.pw
    of_grid, of_out = grid.reshape(-1), out.reshape(-1)
    for n in range(first, last):
        for group in range(s.groups):
            _grid_of_image(x, weight, bias, n, group, s, rows, padded, x.dtype.type(-np.inf), grid)
            for k in range(s.K):
                to = (n * out.shape[1] + group * s.K + k) * OH * OW
                move_lines(  # type: ignore[call-arg]
                    of_grid, k * grid.shape[1], line, of_out, to, OW, OH, OW
                )


@njit(cache=True, parallel=True)
def _forwards(
    x: Array, weight: Array, bias: Array, s: Any, out: Array, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        _forward(x, weight, bias, s, out, t * chunk, min(x.shape[0], (t + 1) * chunk))


def forward(x: Array, weight: Array, bias: Array, s: Shape, out: Array) -> None:
    """out = the convolution + bias; arrays in order, an empty bias is none."""
    threads.call_on_threads(
        _forward, _forwards, (x, weight.reshape(-1), bias, s, out), len(x), 1, work(s, out),
        THREADS_FROM,
    )  # fmt: skip


def work(s: Shape, out: Array) -> int:
    return out.size * s.C * s.kh * s.kw


# ------------------------------------------------------------------------- forward with a pooling


@njit(cache=True)
def _forward_pooled(
    x: Array, weight: Array, bias: Array, s: Any, out: Array, indices: Array, first: int, last: int
) -> None:
    """Images first … last."""
    padded, rows, grid = _scratch_of(x, s)
    line = s.W + 2 * s.pw
    OW = line - (s.kw - 1) * s.dw
    PH, PW = out.shape[2:]
    of_grid, of_out, of_indices = grid.reshape(-1), out.reshape(-1), indices.reshape(-1)
    for n in range(first, last):
        for group in range(s.groups):
            _grid_of_image(x, weight, bias, n, group, s, rows, padded, x.dtype.type(0), grid)
            for k in range(s.K):
                for h in range(PH):
                    to = ((n * out.shape[1] + group * s.K + k) * PH + h) * PW
                    pool_tile(  # type: ignore[call-arg]
                        of_grid, k * grid.shape[1] + 2 * h * line, line, OW, 2 * h * OW, of_out,
                        of_indices, to, PW,
                    )  # fmt: skip


@njit(cache=True, parallel=True)
def _forwards_pooled(
    x: Array, weight: Array, bias: Array, s: Any, out: Array, indices: Array, chunk: int,
    chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        last = min(x.shape[0], (t + 1) * chunk)
        _forward_pooled(x, weight, bias, s, out, indices, t * chunk, last)


def forward_pooled(
    x: Array, weight: Array, bias: Array, s: Shape, out: Array, indices: Array
) -> None:
    """out = the largest of each 2 × 2 of max(0, convolution + bias), and where it was."""
    threads.call_on_threads(
        _forward_pooled, _forwards_pooled, (x, weight.reshape(-1), bias, s, out, indices), len(x),
        1, 4 * work(s, out), THREADS_FROM,
    )  # fmt: skip


def shape_of(x: Array, weight: Array, padding: Pair, dilation: Pair, groups: int) -> Shape:
    """The numbers of a convolution, of which both arrays' shapes are known."""
    K, C, kh, kw = weight.shape
    H, W = x.shape[2:]
    (dh, dw), (ph, pw) = dilation, padding
    return Shape(C, H, W, K // groups, kh, kw, dh, dw, ph, pw, groups)
