"""The linear layer: out = x weightᵀ + bias and its three gradients, each one product of the ladder.

Letters: x (…, K) with N rows in all, weight (M, K) as stored, bias (M,), out (…, M).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.matmul import multiply, multiply_transposed
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]


def linear_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, relu: bool = False
) -> None:
    """out = x weightᵀ + bias, the weight turned around into scratch; with `relu` max(0, that)."""
    x, weight, bias = inputs
    if bias is not None:
        bias = in_order(bias)
    x, out = _rows(in_order(x)), _rows(outs[0])
    multiply_transposed(x, in_order(weight), out, scratch, bias, relu)


def linear_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout weight, dweight = doutᵀ x, dbias = Σ dout over rows."""
    dout = _rows(dout)
    if grads[2] is not None:
        _sum_rows(dout, scratch[0], grads[2])
    _products_backward(dout, inputs, grads)


def _products_backward(dout: Array, inputs: tuple[Any, ...], grads: tuple[Any, ...]) -> None:
    x, weight, _ = inputs
    dx, dweight, _ = grads
    if dx is not None:
        multiply(dout, in_order(weight), _rows(dx))
    if dweight is not None:
        multiply(dout.T, _rows(in_order(x)), dweight)


def linear_relu_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out = max(0, x weightᵀ + bias): the tile does it before it stores."""
    linear_forward(inputs, outs, scratch, relu=True)


def linear_relu_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """As linear's, from d = dout where out > 0, else 0; dbias is summed in the same pass."""
    d = _rows(scratch[-1])
    none = d[0, :0] if d.size else d.reshape(-1)
    partial, total = (none, none) if grads[2] is None else (scratch[0], grads[2])
    _mask(_rows(dout), _rows(outs[0]), d, partial, total)
    _products_backward(d, inputs, grads)


def _rows(x: Array) -> Array:
    """x (…, K) as (N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


_CHUNK = 64  # rows; the error of a long sum grows with the longer of a chunk and their number
_THREADS_FROM = 1 << 19  # entries


def _sum_rows(x: Array, partial: Array, out: Array) -> None:
    """out (M,) = Σ_n x[n]."""
    arguments = (x, partial, out)
    threads.call_on_threads(sum_rows, _sums_rows, arguments, out.size, 16, x.size, _THREADS_FROM)


@njit(cache=True)
def sum_rows(x: Array, partial: Array, out: Array, first: int, last: int) -> None:
    """out[j] = Σ_n x[n, j] for columns first … last: chunks of 64 rows one after another, each
    summed in `partial` (M,).
    """
    wide()  # type: ignore[call-arg]
    partial, out = partial[first:last], out[first:last]
    out[:] = 0
    for n in range(0, x.shape[0], _CHUNK):
        partial[:] = 0
        for i in range(n, min(n + _CHUNK, x.shape[0])):
            row = x[i, first:last]
            for j in range(row.size):
                partial[j] += row[j]
        for j in range(out.size):
            out[j] += partial[j]


@njit(cache=True, parallel=True)
def _sums_rows(x: Array, partial: Array, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        sum_rows(x, partial, out, t * chunk, min(out.size, (t + 1) * chunk))


def _mask(dout: Array, out: Array, d: Array, partial: Array, total: Array) -> None:
    """d (N, M) = dout where out > 0 or is NaN, else 0, and total (M,) = Σ_n d[n] if it has room."""
    arguments = (dout, out, d, partial, total)
    threads.call_on_threads(
        mask_and_sum_rows, _masks, arguments, d.shape[1], 16, d.size, _THREADS_FROM
    )


@njit(cache=True)
def mask_and_sum_rows(
    dout: Array, out: Array, d: Array, partial: Array, total: Array, first: int, last: int
) -> None:
    """Back through a ReLU, and `sum_rows` of what comes of it, for columns first … last."""
    wide()  # type: ignore[call-arg]
    zero = d.dtype.type(0)
    sums = total.size > 0
    if sums:
        partial, total = partial[first:last], total[first:last]
        total[:] = 0
    for n in range(0, d.shape[0], _CHUNK):
        if sums:
            partial[:] = 0
        for i in range(n, min(n + _CHUNK, d.shape[0])):
            given, result, to = dout[i, first:last], out[i, first:last], d[i, first:last]
            for j in range(to.size):
                to[j] = zero if result[j] <= zero else given[j]
            if sums:
                for j in range(to.size):
                    partial[j] += to[j]
        if sums:
            for j in range(total.size):
                total[j] += partial[j]


@njit(cache=True, parallel=True)
def _masks(
    dout: Array, out: Array, d: Array, partial: Array, total: Array, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        mask_and_sum_rows(dout, out, d, partial, total, t * chunk, min(d.shape[1], (t + 1) * chunk))
