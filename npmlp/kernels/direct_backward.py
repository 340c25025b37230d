"""The gradients of a convolution with stride 1, without im2col: direct.py the other way.

dx is the same product, of dout with a border of zeros and the kernel turned around. dweight is a
sum over positions: d (K, positions) times the shifted images, whose tile keeps partial sums in
vectors.

dweight's sums are made in up to four chunks of images, however many threads there are, and added
one after the other: the bits are the same for all.

Where a kernel's lines are short, direct_sparse.py does it all in another way.

Letters as in conv.py, and g a grid's length: (OH - 1) · W + OW.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.direct import THREADS_FROM, Shape, grid_product, places, with_border, work
from npmlp.kernels.direct_sparse import collect, sparse_backward, sparse_backwards
from npmlp.kernels.ladder import Array, Matrix
from npmlp.kernels.lines import move_lines
from npmlp.kernels.scratch import CHUNKS, SUM_BYTES, is_sparse
from npmlp.kernels.sums import correlate_tile, sum_of_lanes
from npmlp.kernels.vectors import VECTOR_BYTES

_SUM_ROWS, _SUM_COLUMNS = (6, 4) if VECTOR_BYTES == SUM_BYTES else (2, 2)  # sums in registers
_NEAR = 40 << 10  # bytes of images that dweight's tiles go over again: they stay in the first cache


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
                        with_border(x, n, group * s.C, s, padded[b])
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
    none = nothing.reshape(-1)
    if is_sparse(s.C * s.kw, s.dw, d.itemsize):
        threads.call_on_threads(
            sparse_backward, sparse_backwards, arguments, CHUNKS, 1, work(s, d), THREADS_FROM
        )
        channels = s.groups * s.K
        weights, biases = (none if a is None else a.reshape(-1) for a in (dweight, dbias))
        threads.call_on_threads(
            collect, None, (sums, dbiases, s, weights, biases), channels, 1, 64 * weights.size,
            THREADS_FROM,
        )  # fmt: skip
        return
    threads.call_on_threads(_backward, _backwards, arguments, CHUNKS, 1, work(s, d), THREADS_FROM)
    collected = (
        sums, dbiases, none if dweight is None else dweight.reshape(-1),
        none if dbias is None else dbias,
    )  # fmt: skip
    threads.call_on_threads(
        _collect, None, collected, max(1, collected[2].size), 16, 64 * collected[2].size,
        THREADS_FROM,
    )  # fmt: skip
