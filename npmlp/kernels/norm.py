"""Batch normalisation in training: statistics of the batch, the normalised output, the gradients.

Letters: x (N, C) or (N, C, …) with S entries behind each channel, M = N S entries per channel;
mean, var and invstd = 1/√(var + eps) are (C,). Sums over the batch run in the order of memory and
are kept in double precision, as PyTorch's are on CPU: a float32 sum over a batch of images would
spend the digits that the variance needs. For S = 1 the vectors run along C, else along S.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit
from npmlp.kernels.calls import call, in_order

Array = np.ndarray[Any, np.dtype[Any]]

_THREADS_FROM = 1 << 18  # entries
_NONE = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}  # an absent weight or bias


def batch_norm_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: tuple[Any, ...], eps: float
) -> None:
    """out = (x - mean) · invstd · weight + bias, with the mean and biased variance of the batch.

    outs = (out, mean, var, invstd). Two passes: the variance is the mean of squared deviations, not
    a difference of large numbers. Source: Ioffe and Szegedy, 2015, algorithm 1.
    """
    x, weight, bias = inputs
    out, mean, var, invstd = outs
    none = _NONE[x.dtype]
    weight = none if weight is None else weight
    bias = none if bias is None else bias
    (total,) = scratch
    x, out = _by_channel(x), _by_channel(out)
    if x.ndim == 2:
        call(_column_statistics, x, mean, var, invstd, eps, total)
        call(_normalize_columns, x, mean, invstd, weight, bias, out)
    else:
        _planes(_plane_statistics, x, mean, var, invstd, eps, total)
        _planes(_normalize_planes, x, mean, invstd, weight, bias, out)


def batch_norm_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    grads: tuple[Any, ...],
    scratch: tuple[Any, ...],
    eps: float,
) -> None:
    """With x̂ = (x - mean) invstd, dbias = Σ dout and dweight = Σ dout x̂ over the batch,
    dx = weight · invstd · (dout - dbias/M - x̂ dweight/M).
    """
    x, weight, _ = inputs
    dx, dweight, dbias = grads
    _, mean, _, invstd = outs
    plain, weighted = scratch  # Σ dout and Σ dout x̂, in double precision
    dout = _by_channel(dout)
    if dx is None and dweight is None:  # then x has not been kept
        call(_sum, dout, (0, 2)[: dout.ndim - 1], plain)
    else:
        x = _by_channel(x)
        arguments = (dout, x, mean, invstd, plain, weighted)
        call(_column_sums, *arguments) if x.ndim == 2 else _planes(_plane_sums, *arguments)
    if dweight is not None:
        call(_rounded, weighted, dweight)
    if dbias is not None:
        call(_rounded, plain, dbias)
    if dx is not None:
        weight = _NONE[x.dtype] if weight is None else weight
        if x.ndim == 2:
            call(_column_gradient, dout, x, mean, invstd, weight, plain, weighted, _by_channel(dx))
        else:
            of_x = (x, mean, invstd, weight, plain, weighted, _by_channel(dx))
            _planes(_plane_gradient, dout, *of_x)


def _planes(part: Any, x: Array, *arguments: Any) -> None:
    """Call a loop over channels, in a plan on all threads."""
    threads.call_on_threads(part, None, (x, *arguments), x.shape[1], 8, x.size, _THREADS_FROM)


@njit(cache=True)
def _rounded(x: Array, out: Array) -> None:
    for c in range(out.size):
        out[c] = x[c]


def _sum(x: Array, axes: tuple[int, ...], out: Array) -> None:
    x.sum(axis=axes, dtype=np.float64, out=out)


def _by_channel(x: Array) -> Array:
    """x as (N, C), or as (N, C, S) where S > 1."""
    if x.ndim == 2 and x.flags.c_contiguous:
        return x
    S = math.prod(x.shape[2:])
    return in_order(x).reshape(x.shape[:2] if S == 1 else (*x.shape[:2], S))


@njit(cache=True)
def move_statistics(running: Array, batch: Array, factor: float, momentum: float) -> None:
    """running = (1 - momentum) · running + momentum · factor · batch, rounded once."""
    for c in range(running.size):
        now = np.float64(batch[c]) * factor
        running[c] = (1 - momentum) * np.float64(running[c]) + momentum * now


# --------------------------------------------------------------------------------- S = 1: columns


@njit(cache=True, error_model="numpy")
def _column_statistics(
    x: Array, mean: Array, var: Array, invstd: Array, eps: float, total: Array
) -> None:
    N, C = x.shape
    total[:] = 0
    for n in range(N):
        for c in range(C):
            total[c] += np.float64(x[n, c])
    for c in range(C):
        mean[c] = total[c] / N
    total[:] = 0
    for n in range(N):
        for c in range(C):
            deviation = np.float64(x[n, c]) - np.float64(mean[c])
            total[c] += deviation * deviation
    for c in range(C):
        var[c] = total[c] / N
        invstd[c] = 1 / np.sqrt(total[c] / N + eps)


@njit(cache=True)
def _normalize_columns(
    x: Array, mean: Array, invstd: Array, weight: Array, bias: Array, out: Array
) -> None:
    N, C = x.shape
    for n in range(N):
        for c in range(C):
            out[n, c] = (x[n, c] - mean[c]) * invstd[c]
        if weight.size:
            for c in range(C):
                out[n, c] *= weight[c]
        if bias.size:
            for c in range(C):
                out[n, c] += bias[c]


@njit(cache=True)
def _column_sums(
    dout: Array, x: Array, mean: Array, invstd: Array, plain: Array, weighted: Array
) -> None:
    N, C = x.shape
    plain[:] = 0
    weighted[:] = 0
    for n in range(N):
        for c in range(C):
            d = np.float64(dout[n, c])
            plain[c] += d
            weighted[c] += d * (np.float64(x[n, c]) - np.float64(mean[c]))
    for c in range(C):
        weighted[c] *= invstd[c]


@njit(cache=True, error_model="numpy")
def _column_gradient(
    dout: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    plain: Array,
    weighted: Array,
    dx: Array,
) -> None:
    N, C = x.shape
    number = dx.dtype.type
    for c in range(C):  # means from here on: a division per channel, not per entry
        plain[c] /= N
        weighted[c] /= N
    for n in range(N):
        for c in range(C):
            normal = (x[n, c] - mean[c]) * invstd[c]
            dx[n, c] = invstd[c] * (dout[n, c] - number(plain[c]) - normal * number(weighted[c]))
        if weight.size:
            for c in range(C):
                dx[n, c] *= weight[c]


# ---------------------------------------------------------------------------------- S > 1: planes
#
# Here a sum runs along the vector, one partial sum per lane: "reassoc" allows that grouping, which
# is fixed when the kernel is compiled. In double precision the order is far below the result. A
# thread of a plan takes channels first … last, of which each has its own sums.


@njit(cache=True, error_model="numpy", fastmath={"reassoc"})
def _plane_statistics(
    x: Array, mean: Array, var: Array, invstd: Array, eps: float, total: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    N, _, S = x.shape
    total[first:last] = 0
    for n in range(N):
        for c in range(first, last):
            part = 0.0
            for s in range(S):
                part += np.float64(x[n, c, s])
            total[c] += part
    for c in range(first, last):
        mean[c] = total[c] / (N * S)
    total[first:last] = 0
    for n in range(N):
        for c in range(first, last):
            center = np.float64(mean[c])
            part = 0.0
            for s in range(S):
                deviation = np.float64(x[n, c, s]) - center
                part += deviation * deviation
            total[c] += part
    for c in range(first, last):
        var[c] = total[c] / (N * S)
        invstd[c] = 1 / np.sqrt(total[c] / (N * S) + eps)


@njit(cache=True)
def _normalize_planes(
    x: Array, mean: Array, invstd: Array, weight: Array, bias: Array, out: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    N, _, S = x.shape
    for n in range(N):
        for c in range(first, last):
            center, scale = mean[c], invstd[c]
            w = weight[c] if weight.size else x.dtype.type(1)
            b = bias[c] if bias.size else x.dtype.type(0)
            for s in range(S):
                out[n, c, s] = (x[n, c, s] - center) * scale * w + b


@njit(cache=True, fastmath={"reassoc"})
def _plane_sums(
    dout: Array, x: Array, mean: Array, invstd: Array, plain: Array, weighted: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    N, _, S = x.shape
    plain[first:last] = 0
    weighted[first:last] = 0
    for n in range(N):
        for c in range(first, last):
            center = np.float64(mean[c])
            p, w = 0.0, 0.0
            for s in range(S):
                d = np.float64(dout[n, c, s])
                p += d
                w += d * (np.float64(x[n, c, s]) - center)
            plain[c] += p
            weighted[c] += w
    for c in range(first, last):
        weighted[c] *= invstd[c]


@njit(cache=True, error_model="numpy")
def _plane_gradient(
    dout: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    plain: Array,
    weighted: Array,
    dx: Array,
    first: int,
    last: int,
) -> None:
    N, _, S = x.shape
    number = dx.dtype.type
    for n in range(N):
        for c in range(first, last):
            center, scale = mean[c], invstd[c]
            w = weight[c] * scale if weight.size else scale
            p, q = number(plain[c] / (N * S)), number(weighted[c] / (N * S))
            for s in range(S):
                normal = (x[n, c, s] - center) * scale
                dx[n, c, s] = w * (dout[n, c, s] - p - normal * q)
