"""Convolution with stride 1 without im2col: the product reads its columns where they are.

A column matrix has a row for each entry (c, i, j) of the kernel, and in it the pixel which that
entry sees for each output position. With stride 1 such a row lies in memory already: it is the
image, read from pixel (i, j) of channel c on, if positions are counted as the image counts its
pixels, W to a line. So nothing is copied. The register tile (tile.py) takes the place of each row
from a list, and what it computes is a grid of OH lines of W, of which the last W - OW in each line
are of windows that reach around the border, and are not looked at.

dx is the same product, of dout with a border of zeros and the kernel turned around. dweight is a
sum over positions: d (K, positions) times the shifted images, whose tile keeps partial sums in
vectors.

A thread takes some images. dweight's sums are made in up to four chunks of images, however many
threads there are, and added one after the other: the bits are the same for all.

Letters as in conv.py, and g a grid's length: (OH - 1) · W + OW.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.ladder import Array, Matrix, k_block
from npmlp.kernels.lines import move_lines, pool_tile
from npmlp.kernels.panels import strip_width
from npmlp.kernels.sums import correlate_tile, sum_of_lanes
from npmlp.kernels.tile import product_tile
from npmlp.kernels.vectors import SUM_BYTES, VECTOR_BYTES, VECTORS

Pair = tuple[int, int]

AVAILABLE = VECTOR_BYTES > 0
CHUNKS = 4  # of images, for dweight
_THREADS_FROM = 1 << 20  # multiplications
_ROWS = 6  # of a tile: most kernels have a multiple of 6 or 8 outputs; 12 divides them well
_WIDEST = 3 if VECTORS == 3 else 2  # vectors of a tile; a constant, where the loops are compiled
_SUM_ROWS, _SUM_COLUMNS = (6, 4) if VECTOR_BYTES == SUM_BYTES else (2, 2)  # sums in registers
_NEAR = 40 << 10  # bytes of images that dweight's tiles go over again: they stay in the first cache


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
                        flat, o, down, least, flat, o, down,
                    )  # fmt: skip
                elif width == 2 * lanes:
                    product_tile(  # type: ignore[call-arg]
                        _ROWS, 2, left, M, steps, a.memory, p, a.down, a.along, b, at + g, k, rows,
                        flat, o, down, least, flat, o, down,
                    )  # fmt: skip
                else:
                    product_tile(  # type: ignore[call-arg]
                        _ROWS, _WIDEST, left, M, steps, a.memory, p, a.down, a.along, b, at + g, k,
                        rows, flat, o, down, least, flat, o, down,
                    )  # fmt: skip
        g += width


@njit(cache=True)
def _with_border(x: Array, n: int, channel: int, s: Any, padded: Array) -> None:
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
        _with_border(x, n, group * s.C, s, padded)
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
        _forward, _forwards, (x, weight.reshape(-1), bias, s, out), len(x), 1, _work(s, out),
        _THREADS_FROM,
    )  # fmt: skip


def _work(s: Shape, out: Array) -> int:
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
        1, 4 * _work(s, out), _THREADS_FROM,
    )  # fmt: skip


# -------------------------------------------------------------------------------------- backward


@njit(cache=True)
def _take_pooled(
    d: Array, pooled: Array, indices: Array, first: int, PH: int, PW: int, OW: int, to: Array,
    at: int, line: int,
) -> None:  # fmt: skip
    """dout of a plane from behind a ReLU and a pooling, into zeros, where the largest were: as
    lines of `to`, from number `at` on, a `line` apart. The plane's entries begin at `first`.
    """
    o, zero = first, d.dtype.type(0)
    for h in range(PH):
        for w in range(PW):  # no branches: which way one goes is as good as random
            within = indices[o] - (2 * h * OW + 2 * w)  # 0, 1, OW or OW + 1
            place = at + 2 * h * line + 2 * w + within + (line - OW if within >= OW else 0)
            to[place] = zero if pooled[o] <= 0 else d[o]
            o += 1


@njit(cache=True)
def _turned(weight: Array, group: int, s: Any) -> Array:
    """The weight of a group as (C, K · kh · kw)."""
    size = s.kh * s.kw
    found = np.empty((s.C, s.K * size), weight.dtype)
    for k in range(s.K):
        for c in range(s.C):
            first = ((group * s.K + k) * s.C + c) * size
            for i in range(size):
                found[c, k * size + i] = weight[first + i]
    return found


@njit(cache=True)
def _backward(
    d: Array, pooled: Array, indices: Array, x: Array, weight: Array, s: Any, dx: Array,
    sums: Array, dbiases: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Chunks first … last of images: dx; and of each chunk the sums of dweight and dbias.

    Without elements are: `pooled` and `indices` if there was no pooling, dx, sums or dbiases if
    these are not wanted.
    """
    N, height, line = d.shape[0], s.H + 2 * s.ph, s.W + 2 * s.pw
    OH, OW = height - (s.kh - 1) * s.dh, line - (s.kw - 1) * s.dw
    lanes = SUM_BYTES // d.itemsize
    R, G = s.C * s.kh * s.kw, (OH - 1) * line + OW
    rows = places(s.C, height * line, line, s.kh, s.kw, s.dh, s.dw, False)
    padding = s.ph > 0 or s.pw > 0
    near = max(1, _NEAR // ((s.K * G + s.C * height * line) * d.itemsize))
    padded = np.zeros((near if padding else 0, s.C, height, line), d.dtype)
    grids = np.zeros((near, s.K, OH * line), d.dtype)
    # dout with a border as wide as the kernel reaches
    wide, high = OW + 2 * (s.kw - 1) * s.dw, OH + 2 * (s.kh - 1) * s.dh
    bordered = np.zeros(s.K * high * wide if dx.size else 0, d.dtype)
    its_rows = places(s.K, high * wide, wide, s.kh, s.kw, s.dh, s.dw, True)
    dgrid = np.empty((s.C, high * wide), d.dtype)
    chunk = -(-N // CHUNKS)
    of_d, of_grids, of_dgrid, of_dx = (
        d.reshape(-1),
        grids.reshape(-1),
        dgrid.reshape(-1),
        dx.reshape(-1),
    )
    of_pooled, of_indices = pooled.reshape(-1), indices.reshape(-1)
    PH, PW = d.shape[2:]
    source = padded.reshape(-1) if padding else x.reshape(-1)
    for t in range(first, last):
        if sums.size:
            sums[t] = 0
        if dbiases.size:
            dbiases[t] = 0
    for group in range(s.groups):
        turned = _turned(weight, group, s) if dx.size else np.empty((0, 0), d.dtype)
        of_turned = turned.reshape(-1)
        for t in range(first, last):
            for start in range(t * chunk, min(N, (t + 1) * chunk), near):
                images = min(near, min(N, (t + 1) * chunk) - start)
                for b in range(images):
                    n = start + b
                    if pooled.size:
                        grids[b] = 0
                        bordered[:] = 0
                    for k in range(s.K):
                        channel = group * s.K + k
                        to = grids[b, k]
                        at = (k * high + (s.kh - 1) * s.dh) * wide + (s.kw - 1) * s.dw
                        if pooled.size:
                            of = (n * d.shape[1] + channel) * PH * PW
                            _take_pooled(of_d, of_pooled, of_indices, of, PH, PW, OW, to, 0, line)
                            if dx.size:
                                _take_pooled(
                                    of_d, of_pooled, of_indices, of, PH, PW, OW, bordered, at, wide
                                )
                        else:
                            of = (n * d.shape[1] + channel) * OH * OW
                            move_lines(of_d, of, OW, to, 0, line, OH, OW)  # type: ignore[call-arg]
                            if dx.size:
                                move_lines(of_d, of, OW, bordered, at, wide, OH, OW)
                        if dbiases.size:
                            _add_lanes(to, dbiases[t, channel])
                    if dx.size:
                        dgrid[:] = 0
                        begin, length = s.ph * wide + s.pw, (s.H - 1) * wide + s.W
                        grid_product(
                            Matrix(of_turned, 0, turned.shape[1], 1), bordered, begin,
                            its_rows, d.dtype.type(-np.inf), dgrid, s.C, turned.shape[1], length,
                        )  # fmt: skip
                        for c in range(s.C):
                            to_c = (n * dx.shape[1] + group * s.C + c) * s.H * s.W
                            move_lines(  # type: ignore[call-arg]
                                of_dgrid, c * dgrid.shape[1], wide, of_dx, to_c,
                                s.W, s.H, s.W,
                            )  # fmt: skip
                    if padding and sums.size:
                        _with_border(x, n, group * s.C, s, padded[b])
                if sums.size:
                    own = sums[t, group].reshape(-1)
                    at = 0 if padding else (start * s.groups + group) * s.C * s.H * s.W
                    step = s.C * height * line * (1 if padding else s.groups)
                    for k in range(0, s.K, _SUM_ROWS):
                        for r in range(0, R, _SUM_COLUMNS):
                            correlate_tile(  # type: ignore[call-arg]
                                _SUM_ROWS, _SUM_COLUMNS, own, (k * R + r) * lanes, R * lanes,
                                s.K - k, of_grids, k * OH * line, OH * line,
                                s.K * OH * line, source, at, step, rows, r, R - r, G, images,
                            )  # fmt: skip


@njit(cache=True)
def _add_lanes(x: Array, sums: Array) -> None:
    """sums[l] += Σ x[i], over the i that leave l divided by as many as there are."""
    lanes = sums.size
    whole = x.size // lanes * lanes
    for i in range(0, whole, lanes):
        part = x[i : i + lanes]
        for lane in range(lanes):
            sums[lane] += part[lane]
    for i in range(whole, x.size):
        sums[i - whole] += x[i]


@njit(cache=True, parallel=True)
def _backwards(
    d: Array, pooled: Array, indices: Array, x: Array, weight: Array, s: Any, dx: Array,
    sums: Array, dbiases: Array, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        last = min(CHUNKS, (t + 1) * chunk)
        _backward(d, pooled, indices, x, weight, s, dx, sums, dbiases, t * chunk, last)


@njit(cache=True)
def _collect(
    sums: Array, dbiases: Array, dweight: Array, dbias: Array, first: int, last: int
) -> None:
    """dweight[i] = the sum of what sums (CHUNKS, …) have for it, first ≤ i < last; and dbias."""
    lanes, flat = SUM_BYTES // sums.itemsize, sums.reshape(-1)
    for i in range(first, min(last, dweight.size)):
        dweight[i] = sum_of_lanes(CHUNKS, flat, i * lanes, flat.size // CHUNKS)  # type: ignore[call-arg]
    if first == 0:
        flat = dbiases.reshape(-1)
        for k in range(dbias.size):
            dbias[k] = sum_of_lanes(CHUNKS, flat, k * lanes, flat.size // CHUNKS)  # type: ignore[call-arg]


def backward(
    d: Array, pooled: Array | None, indices: Array | None, inputs: tuple[Any, ...],
    grads: tuple[Any, ...], scratch: tuple[Any, ...], s: Shape,
) -> None:  # fmt: skip
    """dx, dweight and dbias, those that are wanted.

    `pooled` and `indices` are what forward_pooled gave, None after `forward`; inputs are x and
    weight, whose entries are read where the other's gradient is wanted.
    """
    (x, weight), (dx, dweight, dbias), (sums, dbiases) = inputs, grads, scratch
    nothing = np.empty((0, 0, 0, 0), d.dtype)
    if indices is None:
        indices = np.empty((0, 0, 0, 0), np.int64)
    sums = np.empty((0, 0, 0), d.dtype) if dweight is None else sums
    dbiases = np.empty((0, 0, 0), d.dtype) if dbias is None else dbiases
    arguments = (
        d,
        nothing if pooled is None else pooled,
        indices,
        nothing if dweight is None else in_order(x),
        nothing.reshape(-1) if dx is None else in_order(weight).reshape(-1),
        s,
        nothing if dx is None else dx,
        sums,
        dbiases,
    )
    threads.call_on_threads(_backward, _backwards, arguments, CHUNKS, 1, _work(s, d), _THREADS_FROM)
    none = nothing.reshape(-1)
    collected = (
        sums, dbiases, none if dweight is None else dweight.reshape(-1),
        none if dbias is None else dbias,
    )  # fmt: skip
    threads.call_on_threads(
        _collect, None, collected, max(1, collected[2].size), 16, 64 * collected[2].size,
        _THREADS_FROM,
    )  # fmt: skip


def shape_of(x: Array, weight: Array, padding: Pair, dilation: Pair, groups: int) -> Shape:
    """The numbers of a convolution, of which both arrays' shapes are known."""
    K, C, kh, kw = weight.shape
    H, W = x.shape[2:]
    (dh, dw), (ph, pw) = dilation, padding
    return Shape(C, H, W, K // groups, kh, kw, dh, dw, ph, pw, groups)
