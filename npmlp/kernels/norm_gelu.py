"""BatchNorm of features, GELU and dropout in one pass, a block of channels after another.

All that a channel needs is in its own column: mean and variance, the normalised entries, what GELU
and the mask make of them. So each thread takes some channels and does everything for them, while
their columns are in the cache. Every number is made as in norm.py and elementwise.py, in the same
order, so the bits are theirs.

Letters: x (N, C); mean, var, invstd (C,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.elementwise import gelu_of_32, gelu_of_64, gelu_slope_32, gelu_slope_64
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]

_BLOCK = 64  # channels at a time: four cache lines of a row
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


# Which GELU it is, is settled by the dtype when a loop is compiled. A call that is not inlined
# would keep the loop around it from becoming a vector's.


def _gelu(x: Any) -> Any:
    """x Φ(x), as in elementwise.py"""


def _slope(x: Any) -> Any:
    """Φ(x) + x φ(x), as in elementwise.py"""


@overload(_gelu, jit_options={"forceinline": True})
def _compiled_gelu(x: Any) -> Any:
    def single(x: Any) -> Any:
        return gelu_of_32(x)

    def double(x: Any) -> Any:
        return gelu_of_64(x)

    return single if x == types.float32 else double


@overload(_slope, jit_options={"forceinline": True})
def _compiled_slope(x: Any) -> Any:
    def single(x: Any) -> Any:
        return gelu_slope_32(x)

    def double(x: Any) -> Any:
        return gelu_slope_64(x)

    return single if x == types.float32 else double


@njit(cache=True, error_model="numpy")
def _forward(
    x: Array, weight: Array, bias: Array, keep: Array, scale: Any, eps: float, out: Array,
    mean: Array, var: Array, invstd: Array, total: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Channels first … last."""
    wide()  # type: ignore[call-arg]
    N = x.shape[0]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for start in range(first, last, _BLOCK):
        C = min(_BLOCK, last - start)
        t, m, s = total[start : start + C], mean[start : start + C], invstd[start : start + C]
        t[:] = 0
        for n in range(N):
            row = x[n, start : start + C]
            for c in range(C):
                t[c] += np.float64(row[c])
        for c in range(C):
            m[c] = t[c] / N
        t[:] = 0
        for n in range(N):
            row = x[n, start : start + C]
            for c in range(C):
                deviation = np.float64(row[c]) - np.float64(m[c])
                t[c] += deviation * deviation
        for c in range(C):
            var[start + c] = t[c] / N
            s[c] = 1 / np.sqrt(t[c] / N + eps)
        w, b = np.empty(C, x.dtype), np.empty(C, x.dtype)
        for c in range(C):
            w[c] = weight[start + c] if weight.size else one
            b[c] = bias[start + c] if bias.size else zero
        for n in range(N):
            row, to = x[n, start : start + C], out[n, start : start + C]
            for c in range(C):
                to[c] = _gelu((row[c] - m[c]) * s[c] * w[c] + b[c])
            if keep.size:
                kept = keep[n, start : start + C]
                for c in range(C):
                    to[c] *= scale if kept[c] else zero


@njit(cache=True, error_model="numpy")
def _backward(
    dout: Array, x: Array, weight: Array, bias: Array, keep: Array, scale: Any, mean: Array,
    invstd: Array, dx: Array, dweight: Array, dbias: Array, plain: Array, weighted: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Channels first … last. dx holds what comes to the normalisation before it is dx."""
    wide()  # type: ignore[call-arg]
    N = x.shape[0]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for start in range(first, last, _BLOCK):
        C = min(_BLOCK, last - start)
        m, s = mean[start : start + C], invstd[start : start + C]
        p, q = plain[start : start + C], weighted[start : start + C]
        w, b = np.empty(C, x.dtype), np.empty(C, x.dtype)
        for c in range(C):
            w[c] = weight[start + c] if weight.size else one
            b[c] = bias[start + c] if bias.size else zero
        slope = np.empty(C, x.dtype)  # by itself: a loop over fewer arrays becomes a vector's
        p[:] = 0
        q[:] = 0
        for n in range(N):
            row, d = x[n, start : start + C], dx[n, start : start + C]
            given = dout[n, start : start + C]
            for c in range(C):
                slope[c] = (row[c] - m[c]) * s[c] * w[c] + b[c]
            for c in range(C):
                slope[c] = _slope(slope[c])
            if keep.size:
                kept = keep[n, start : start + C]
                for c in range(C):
                    d[c] = given[c] * (scale if kept[c] else zero) * slope[c]
            else:
                for c in range(C):
                    d[c] = given[c] * slope[c]
            for c in range(C):
                p[c] += np.float64(d[c])
                q[c] += np.float64(d[c]) * (np.float64(row[c]) - np.float64(m[c]))
        for c in range(C):
            q[c] *= s[c]
        for c in range(C):
            if dweight.size:
                dweight[start + c] = q[c]
            if dbias.size:
                dbias[start + c] = p[c]
        for c in range(C):  # means from here on
            p[c] /= N
            q[c] /= N
        for n in range(N):
            row, d = x[n, start : start + C], dx[n, start : start + C]
            for c in range(C):
                normal = (row[c] - m[c]) * s[c]
                value = s[c] * (d[c] - x.dtype.type(p[c]) - normal * x.dtype.type(q[c]))
                d[c] = value * w[c]


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
