"""The gradients of a convolution with few channels, from those entries of dout that are not 0.

Behind a ReLU and a 2 × 2 pooling at most one of four entries of dout is not 0. A product of
matrices multiplies the others as well; and for dx its tiles also compute a border that is thrown
away. Here each entry is taken by itself: it adds one patch of the image to dweight and one of the
weight to dx (patches.py). With the channels of a pixel side by side, and as few of them as lenet
has, a line of such a patch is one or two vectors.

    dweight[k] = Σ_n Σ_p d[n, k, p] · patch of x[n] at p
    patch of dx[n] at p += d[n, k, p] · weight[k]

Terms of entries that are 0 are left out, so that 0 · ∞ is not NaN here. As in direct_backward.py
dweight's sums are made in up to four chunks of images, however many threads there are; in each an
image's sum is made first.

Letters as in conv.py. A line of a patch has L = kw · C numbers, `wide` with what fills its vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit, prange
from npmlp.kernels.ladder import Array
from npmlp.kernels.patches import add_patches, sum_patches
from npmlp.kernels.scratch import CHUNKS, SUM_BYTES
from npmlp.kernels.vectors import MANY_REGISTERS

_ROWS = 5  # lines of a tile


@njit(cache=True)
def _entries(
    d: Array, first: int, height: int, width: int, line: int, C: int, values: Array,
    positions: Array,
) -> int:  # fmt: skip
    """List what is not 0 of a plane of dout, which begins at `first`, and where its patches begin.

    Squares of 2 × 2 one after another: that is the order of a pooling's windows, so that the sums
    below have the same bits with and without one. Returns: how many there are.
    """
    count = 0
    for block in range(0, height, 2):
        for corner in range(0, width, 2):
            for h in range(block, min(block + 2, height)):
                for w in range(corner, min(corner + 2, width)):
                    value = d[first + h * width + w]
                    values[count] = value  # no branches: which way one goes is as good as random
                    positions[count] = (h * line + w) * C
                    count += value != 0
    return count


@njit(cache=True)
def _pooled_entries(
    d: Array, pooled: Array, indices: Array, first: int, PH: int, PW: int, OW: int, line: int,
    C: int, values: Array, positions: Array,
) -> int:  # fmt: skip
    """The same behind a ReLU and a pooling: each where the largest of its four was."""
    count, o = 0, first
    for h in range(PH):
        for w in range(PW):
            within = indices[o] - (2 * h * OW + 2 * w)  # 0, 1, OW or OW + 1
            place = 2 * h * line + 2 * w + within + (line - OW if within >= OW else 0)
            values[count] = d[o]
            positions[count] = place * C
            count += (not pooled[o] <= 0) & (d[o] != 0)
            o += 1
    return count


@njit(cache=True)
def _side_by_side(
    x: Array, at: int, C: int, H: int, W: int, to: Array, to_at: int, line: int
) -> None:
    """Planes of x, from `at` on, as pixels with their channels, into lines `line` pixels apart."""
    for c in range(C):
        for h in range(H):
            of, place = at + (c * H + h) * W, to_at + h * line * C + c
            for w in range(W):
                to[place] = x[of + w]
                place += C


@njit(cache=True)
def _planes(of: Array, of_at: int, line: int, C: int, H: int, W: int, to: Array, at: int) -> None:
    """And back."""
    for c in range(C):
        for h in range(H):
            place, o = of_at + h * line * C + c, at + (c * H + h) * W
            for w in range(W):
                to[o + w] = of[place]
                place += C


@njit(cache=True)
def _lines_of(weight: Array, group: int, s: Any, wide: int) -> Array:
    """A group's weight as patches with the channels side by side: (K, lines, wide), filled with 0
    to whole tiles.
    """
    rows = -(-s.kh // _ROWS) * _ROWS
    found = np.zeros(s.K * rows * wide, weight.dtype)
    for k in range(s.K):
        for c in range(s.C):
            for i in range(s.kh):
                for j in range(s.kw):
                    of = (((group * s.K + k) * s.C + c) * s.kh + i) * s.kw + j
                    found[(k * rows + i) * wide + j * s.C + c] = weight[of]
    return found


@njit(cache=True)
def _width(s: Any, itemsize: int) -> int:
    """Numbers of a patch's line, as vectors of 64 bytes; or as one of 32, which is read faster."""
    lanes, numbers = SUM_BYTES // itemsize, s.kw * s.C
    return lanes // 2 if numbers <= lanes // 2 else -(-numbers // lanes) * lanes


def _tiles(vectors: int, width: int) -> Any:
    """Compile both tiles for so many vectors of so many bytes."""
    at_once = vectors if MANY_REGISTERS else 1  # of sums, which all have registers

    @njit(cache=True)
    def both(
        R: int, values: Array, positions: Array, count: int, image: Array, at: int, down: int,
        sums: Array, s_at: int, wide: int, totals: Array, t_at: int, lines: Array, w_at: int,
        gradient: Array,
    ) -> None:  # fmt: skip
        """Some lines and vectors of the patches, for dweight and for dx, where that is wanted."""
        if sums.size:
            for v in range(0, vectors, at_once):
                first = v * width // sums.itemsize
                sum_patches(  # type: ignore[call-arg]
                    _ROWS, at_once, width, R, values, positions, count, image, at + first, down,
                    sums, s_at + first, wide, totals, t_at + v,
                )  # fmt: skip
        if gradient.size:
            add_patches(  # type: ignore[call-arg]
                _ROWS, vectors, width, R, values, positions, count, lines, w_at, wide, gradient,
                at, down,
            )  # fmt: skip

    return both


_half, _one, _two = _tiles(1, SUM_BYTES // 2), _tiles(1, SUM_BYTES), _tiles(2, SUM_BYTES)


@njit(cache=True)
def sparse_backward(
    d: Array, pooled: Array, indices: Array, x: Array, weight: Array, s: Any, dx: Array,
    sums: Array, dbiases: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Chunks first … last of images: dx; and of each chunk the sums of dweight, in the first K · kh
    · wide numbers of sums[chunk, group], and of dbias, in the first of dbiases[chunk, k].

    Without elements are: `pooled` and `indices` if there was no pooling, dx, sums or dbiases if
    these are not wanted.
    """
    N = d.shape[0]
    height, line = s.H + 2 * s.ph, s.W + 2 * s.pw
    OH, OW = height - (s.kh - 1) * s.dh, line - (s.kw - 1)
    lanes, wide = SUM_BYTES // d.itemsize, _width(s, d.itemsize)
    down, rows = s.dh * line * s.C, -(-s.kh // _ROWS) * _ROWS
    middle = (s.ph * line + s.pw) * s.C
    size = height * line * s.C
    image = np.zeros(size + lanes if sums.size else 0, d.dtype)
    gradient = np.zeros(size + lanes if dx.size else 0, d.dtype)
    values, positions = np.empty(OH * OW, d.dtype), np.empty(OH * OW, np.int64)
    nowhere = np.zeros(s.groups * s.K * lanes, d.dtype)
    of_d, of_x, of_dx = d.reshape(-1), x.reshape(-1), dx.reshape(-1)
    of_pooled, of_indices = pooled.reshape(-1), indices.reshape(-1)
    PH, PW = d.shape[2:]
    chunk = -(-N // CHUNKS)
    for t in range(first, last):
        if sums.size:
            sums[t] = 0
        if dbiases.size:
            dbiases[t] = 0
    for group in range(s.groups):
        lines = _lines_of(weight, group, s, wide) if dx.size else np.empty(0, d.dtype)
        for t in range(first, last):
            own = sums[t, group].reshape(-1) if sums.size else np.empty(0, d.dtype)
            totals = dbiases[t].reshape(-1) if dbiases.size else nowhere
            for n in range(t * chunk, min(N, (t + 1) * chunk)):
                of = (n * s.groups + group) * s.C * s.H * s.W
                if sums.size:
                    _side_by_side(of_x, of, s.C, s.H, s.W, image, middle, line)
                gradient[:] = 0
                for k in range(s.K):
                    channel = group * s.K + k
                    plane = (n * d.shape[1] + channel) * PH * PW
                    if pooled.size:
                        count = _pooled_entries(
                            of_d, of_pooled, of_indices, plane, PH, PW, OW, line, s.C, values,
                            positions,
                        )  # fmt: skip
                    else:
                        count = _entries(of_d, plane, PH, PW, line, s.C, values, positions)
                    if dbiases.size and not sums.size:
                        total = d.dtype.type(0)
                        for i in range(count):
                            total += values[i]
                        totals[channel * lanes] += total
                    for r in range(0, s.kh, _ROWS):
                        R = min(_ROWS, s.kh - r)
                        j = 0
                        while j < wide:
                            at, s_at = r * down + j, (k * s.kh + r) * wide + j
                            w_at = (k * rows + r) * wide + j
                            # the first tile adds up the entries as well; what others find is unread
                            b_at = channel * lanes + (0 if r + j == 0 else 1)
                            step = min(2 * lanes, wide - j)
                            if wide < lanes:
                                _half(R, values, positions, count, image, at, down, own, s_at,
                                      wide, totals, b_at, lines, w_at, gradient)  # fmt: skip
                            elif step == lanes:
                                _one(R, values, positions, count, image, at, down, own, s_at,
                                     wide, totals, b_at, lines, w_at, gradient)  # fmt: skip
                            else:
                                _two(R, values, positions, count, image, at, down, own, s_at,
                                     wide, totals, b_at, lines, w_at, gradient)  # fmt: skip
                            j += step
                if dx.size:
                    _planes(gradient, middle, line, s.C, s.H, s.W, of_dx, of)


@njit(cache=True, parallel=True)
def sparse_backwards(
    d: Array, pooled: Array, indices: Array, x: Array, weight: Array, s: Any, dx: Array,
    sums: Array, dbiases: Array, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        last = min(CHUNKS, (t + 1) * chunk)
        sparse_backward(d, pooled, indices, x, weight, s, dx, sums, dbiases, t * chunk, last)


@njit(cache=True)
def collect(
    sums: Array, dbiases: Array, s: Any, dweight: Array, dbias: Array, first: int, last: int
) -> None:
    """dweight (K, C, kh, kw) and dbias of what `sparse_backward` has for each chunk, channels first
    … last.
    """
    wide = _width(s, sums.itemsize)
    flat, o = dweight.reshape(-1), first * s.C * s.kh * s.kw
    for channel in range(first, last):
        group, k = channel // s.K, channel % s.K
        if flat.size:
            for c in range(s.C):
                for i in range(s.kh):
                    for j in range(s.kw):
                        at = (k * s.kh + i) * wide + j * s.C + c
                        total = sums[0, group, at]
                        for t in range(1, CHUNKS):
                            total += sums[t, group, at]
                        flat[o] = total
                        o += 1
        if dbias.size:
            total = dbiases[0, channel, 0]
            for t in range(1, CHUNKS):
                total += dbiases[t, channel, 0]
            dbias[channel] = total
