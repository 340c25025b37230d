"""BatchNorm of features, GELU and dropout in one pass, a strip of channels after another.

All that a channel needs is in its own column: mean and variance, the normalised entries, what GELU
and the mask make of them. So each thread takes some channels and does everything for them, while
their columns are in the cache, a vector of channels at a time (strips.py). Every number is made as
in norm.py, gelu.py and elementwise.py, in the same order, so the bits are theirs.

Letters: x (N, C); mean, var, invstd (C,).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.gelu import gelu_of, gelu_slope
from npmlp.kernels.scratch import SUM_BYTES
from npmlp.kernels.strips import affine_strip, back_strip, kept_strip, normal_strip, total_strip
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS = 256  # at a time, of a strip of channels: 16 kB
_THREADS_FROM = 1 << 17  # entries; each costs some nanoseconds
_NONE = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}  # an absent weight or bias
_ALL = np.empty((0, 0), np.bool_)  # an absent mask


def batch_norm_gelu_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: tuple[Any, ...], eps: float,
    scale: float,
) -> None:  # fmt: skip
    """out = GELU((x - mean) · invstd · weight + bias) · scale where the mask keeps it, else 0."""
    x, weight, bias, keep = _plain(inputs)
    out, mean, var, invstd = outs
    arguments = (x, weight, bias, keep, x.dtype.type(scale), eps, out, mean, var, invstd, *scratch)
    threads.call_on_threads(_forward, _forwards, arguments, x.shape[1], 16, x.size, _THREADS_FROM)


def batch_norm_gelu_backward(
    dout: Array, inputs: tuple[Any, ...], outs: tuple[Any, ...], grads: tuple[Any, ...],
    scratch: tuple[Any, ...], eps: float, scale: float,
) -> None:  # fmt: skip
    """Back through the mask, GELU and the normalisation, whose values are computed again."""
    x, weight, bias, keep = _plain(inputs)
    none = _NONE[x.dtype]
    dx, dweight, dbias, _ = grads
    _, mean, _, invstd = outs
    dx = scratch[2] if dx is None else dx
    arguments = (
        dout, x, weight, bias, keep, x.dtype.type(scale), mean, invstd, dx,
        none if dweight is None else dweight, none if dbias is None else dbias, *scratch[:2],
    )  # fmt: skip
    threads.call_on_threads(_backward, _backwards, arguments, x.shape[1], 16, x.size, _THREADS_FROM)


def _plain(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    x, weight, bias, keep = inputs
    none = _NONE[x.dtype]
    return (
        in_order(x), none if weight is None else in_order(weight),
        none if bias is None else in_order(bias), _ALL if keep is None else in_order(keep),
    )  # fmt: skip


@njit(cache=True)
def _of_columns(weight: Array, bias: Array, scale: Any, C: int) -> tuple[Array, Array, Array]:
    """weight, bias and scale for every channel; without a weight 1, without a bias 0."""
    w, b = np.ones(C, weight.dtype), np.zeros(C, weight.dtype)
    if weight.size:
        w[:] = weight
    if bias.size:
        b[:] = bias
    return w, b, np.full(C, scale)


@njit(cache=True)
def _total(x: Array, j: int, columns: int, m: Any, total: Array) -> None:
    """total_strip of all rows, from column j on."""
    N, C = x.shape
    if columns == SUM_BYTES // x.itemsize:
        total_strip(1, columns, N, x, j, C, m, total, j)  # type: ignore[call-arg]
    else:
        total_strip(0, columns, N, x, j, C, m, total, j)  # type: ignore[call-arg]


@njit(cache=True)
def _affine(
    x: Array, n: int, rows: int, j: int, columns: int, z: Array, m: Array, s: Array, w: Array,
    b: Array,
) -> None:  # fmt: skip
    """affine_strip of some rows, from row n and column j on, into z (rows, lanes)."""
    C, lanes = x.shape[1], SUM_BYTES // x.itemsize
    if columns == lanes:
        affine_strip(1, columns, rows, x, n * C + j, C, z, 0, lanes, m, s, w, b, j)  # type: ignore[call-arg]
    else:
        affine_strip(0, columns, rows, x, n * C + j, C, z, 0, lanes, m, s, w, b, j)  # type: ignore[call-arg]


@njit(cache=True)
def _kept(
    z: Array, rows: int, keep: Any, out: Array, n: int, j: int, columns: int, scale: Array
) -> None:
    """kept_strip of z (rows, lanes) into out, from row n and column j on."""
    C, lanes = out.shape[1], SUM_BYTES // out.itemsize
    at = n * C + j
    if columns == lanes:
        kept_strip(1, columns, rows, z, 0, lanes, keep, at, C, out, at, C, scale, j)  # type: ignore[call-arg]
    else:
        kept_strip(0, columns, rows, z, 0, lanes, keep, at, C, out, at, C, scale, j)  # type: ignore[call-arg]


@njit(cache=True)
def _back(
    dout: Array, keep: Any, z: Array, x: Array, dx: Array, n: int, rows: int, j: int, columns: int,
    scale: Array, m: Array, p: Array, q: Array,
) -> None:  # fmt: skip
    """back_strip of some rows, from row n and column j on."""
    C, lanes = x.shape[1], SUM_BYTES // x.itemsize
    at = n * C + j
    if columns == lanes:
        back_strip(  # type: ignore[call-arg]
            1, columns, rows, dout, at, C, keep, at, C, z, 0, lanes, x, at, C, dx, at, C, scale, m,
            p, q, j,
        )  # fmt: skip
    else:
        back_strip(  # type: ignore[call-arg]
            0, columns, rows, dout, at, C, keep, at, C, z, 0, lanes, x, at, C, dx, at, C, scale, m,
            p, q, j,
        )  # fmt: skip


@njit(cache=True)
def _normal(
    x: Array, dx: Array, j: int, columns: int, m: Array, s: Array, w: Array, p: Array, q: Array
) -> None:
    """normal_strip of all rows, from column j on."""
    N, C = x.shape
    if columns == SUM_BYTES // x.itemsize:
        normal_strip(1, columns, N, x, j, C, dx, j, C, m, s, w, p, q, j)  # type: ignore[call-arg]
    else:
        normal_strip(0, columns, N, x, j, C, dx, j, C, m, s, w, p, q, j)  # type: ignore[call-arg]


@njit(cache=True, error_model="numpy")
def _forward(
    x: Array, weight: Array, bias: Array, keep: Array, scale: Any, eps: float, out: Array,
    mean: Array, var: Array, invstd: Array, total: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Channels first … last."""
    wide()  # type: ignore[call-arg]
    N, C = x.shape
    lanes = SUM_BYTES // x.itemsize
    w, b, scales = _of_columns(weight, bias, scale, C)
    z = np.zeros(_ROWS * lanes, x.dtype)
    total[first:last] = 0
    for j in range(first, last, lanes):
        columns = min(lanes, last - j)
        _total(x, j, columns, None, total)
        for c in range(j, j + columns):
            mean[c] = total[c] / N
            total[c] = 0
        _total(x, j, columns, mean, total)
        for c in range(j, j + columns):
            var[c] = total[c] / N
            invstd[c] = 1 / np.sqrt(total[c] / N + eps)
        for n in range(0, N, _ROWS):
            rows = min(_ROWS, N - n)
            _affine(x, n, rows, j, columns, z, mean, invstd, w, b)
            for i in range(rows * lanes):  # by itself: one long loop, which becomes a vector's
                z[i] = gelu_of(z[i])
            if keep.size:
                _kept(z, rows, keep, out, n, j, columns, scales)
            else:
                _kept(z, rows, None, out, n, j, columns, scales)


@njit(cache=True, error_model="numpy")
def _backward(
    dout: Array, x: Array, weight: Array, bias: Array, keep: Array, scale: Any, mean: Array,
    invstd: Array, dx: Array, dweight: Array, dbias: Array, plain: Array, weighted: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Channels first … last. dx holds what comes to the normalisation before it is dx."""
    wide()  # type: ignore[call-arg]
    N, C = x.shape
    lanes = SUM_BYTES // x.itemsize
    w, b, scales = _of_columns(weight, bias, scale, C)
    z = np.zeros(_ROWS * lanes, x.dtype)
    mean_plain, mean_weighted = np.empty(C, x.dtype), np.empty(C, x.dtype)
    plain[first:last] = 0
    weighted[first:last] = 0
    for j in range(first, last, lanes):
        columns = min(lanes, last - j)
        for n in range(0, N, _ROWS):
            rows = min(_ROWS, N - n)
            _affine(x, n, rows, j, columns, z, mean, invstd, w, b)
            for i in range(rows * lanes):
                z[i] = gelu_slope(z[i])
            if keep.size:
                _back(dout, keep, z, x, dx, n, rows, j, columns, scales, mean, plain, weighted)
            else:
                _back(dout, None, z, x, dx, n, rows, j, columns, scales, mean, plain, weighted)
        for c in range(j, j + columns):
            weighted[c] *= invstd[c]
            if dweight.size:
                dweight[c] = weighted[c]
            if dbias.size:
                dbias[c] = plain[c]
            mean_plain[c] = plain[c] / N
            mean_weighted[c] = weighted[c] / N
        _normal(x, dx, j, columns, mean, invstd, w, mean_plain, mean_weighted)


@njit(cache=True, parallel=True)
def _forwards(
    x: Array, weight: Array, bias: Array, keep: Array, scale: Any, eps: float, out: Array,
    mean: Array, var: Array, invstd: Array, total: Array, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        last = x.shape[1] if t == chunks - 1 else (t + 1) * chunk
        _forward(x, weight, bias, keep, scale, eps, out, mean, var, invstd, total, t * chunk, last)


@njit(cache=True, parallel=True)
def _backwards(
    dout: Array, x: Array, weight: Array, bias: Array, keep: Array, scale: Any, mean: Array,
    invstd: Array, dx: Array, dweight: Array, dbias: Array, plain: Array, weighted: Array,
    chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        last = x.shape[1] if t == chunks - 1 else (t + 1) * chunk
        _backward(dout, x, weight, bias, keep, scale, mean, invstd, dx, dweight, dbias, plain,
                  weighted, t * chunk, last)  # fmt: skip
