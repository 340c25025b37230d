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
from npmlp.kernels.gelu import back_through_block
from npmlp.kernels.lines import add_columns
from npmlp.kernels.matmul import multiply, multiply_transposed

Array = np.ndarray[Any, np.dtype[Any]]


def linear_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, relu: bool = False,
    gelu: Array | None = None,
) -> None:  # fmt: skip
    """out = x weightᵀ + bias, the weight turned around into scratch; with `relu` max(0, that), and
    GELU of it in `gelu`.
    """
    x, weight, bias = inputs
    if bias is not None:
        bias = in_order(bias)
    x, out = _rows(in_order(x)), _rows(outs[0])
    multiply_transposed(x, in_order(weight), out, scratch, bias, relu, gelu)


def linear_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout weight, dweight = doutᵀ x, dbias = Σ dout over rows."""
    dout = _rows(dout)
    if grads[2] is not None:
        _sum_rows(dout, grads[2])
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
    d = _rows(scratch[0])
    _mask(_rows(dout), _rows(outs[0]), d, grads[2])
    _products_backward(d, inputs, grads)


def linear_gelu_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """outs: GELU(z) and z = x weightᵀ + bias, which backward needs."""
    linear_forward(inputs, outs[1:], scratch, gelu=_rows(outs[0]))


def linear_gelu_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """As linear's, from d = dout · the slope of GELU at z; dbias is summed in the same pass."""
    d = _rows(scratch[0])
    arguments = (_rows(dout), _rows(outs[1]), d, grads[2])
    threads.call_on_threads(
        _bend_and_sum_rows, _bends, arguments, d.shape[1], 16, _GELU_COST * d.size, _THREADS_FROM
    )
    _products_backward(d, inputs, grads)


def _rows(x: Array) -> Array:
    """x (…, K) as (N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


_CHUNK = 64  # rows; the error of a long sum grows with the longer of a chunk and their number
_THREADS_FROM = 1 << 19  # entries
_GELU_COST = 8  # times what an entry costs that is only added


def _sum_rows(x: Array, out: Array) -> None:
    """out (M,) = Σ_n x[n]."""
    threads.call_on_threads(sum_rows, _sums_rows, (x, out), out.size, 16, x.size, _THREADS_FROM)


@njit(cache=True)
def sum_rows(x: Array, out: Array, first: int, last: int) -> None:
    """out[j] = Σ_n x[n, j] for columns first … last: chunks of 64 rows, one after another."""
    _add_rows(x, None, None, out, first, last)


@njit(cache=True, parallel=True)
def _sums_rows(x: Array, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        sum_rows(x, out, t * chunk, min(out.size, (t + 1) * chunk))


def _mask(dout: Array, out: Array, d: Array, total: Array | None) -> None:
    """d (N, M) = dout where out > 0 or is NaN, else 0, and total (M,) = Σ_n d[n]."""
    arguments = (dout, out, d, total)
    threads.call_on_threads(
        mask_and_sum_rows, _masks, arguments, d.shape[1], 16, d.size, _THREADS_FROM
    )


@njit(cache=True)
def mask_and_sum_rows(dout: Array, out: Array, d: Array, total: Any, first: int, last: int) -> None:
    """Back through a ReLU, and `sum_rows` of what comes of it, for columns first … last."""
    _add_rows(dout, out, d, total, first, last)


@njit(cache=True, parallel=True)
def _masks(dout: Array, out: Array, d: Array, total: Any, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        mask_and_sum_rows(dout, out, d, total, t * chunk, min(d.shape[1], (t + 1) * chunk))


@njit(cache=True)
def _add_rows(x: Array, out: Any, d: Any, total: Any, first: int, last: int) -> None:
    """Columns first … last of a matrix (N, M), a chunk of rows at a time."""
    N, M = x.shape
    if total is not None:
        total[first:last] = 0
    for n in range(0, N, _CHUNK):
        rows, at = min(_CHUNK, N - n), n * M + first
        add_columns(x, at, out, d, M, rows, last - first, total, first)


@njit(cache=True)
def _bend_and_sum_rows(dout: Array, z: Array, d: Array, total: Any, first: int, last: int) -> None:
    """d (N, M) = dout · the slope of GELU at z, and total (M,) = Σ_n d[n], in columns first … last:
    each chunk of rows is added up while it is in the cache.
    """
    N, M = d.shape
    dout_, z_, d_ = dout.reshape(-1), z.reshape(-1), d.reshape(-1)
    if total is not None:
        total[first:last] = 0
    for n in range(0, N, _CHUNK):
        rows = min(_CHUNK, N - n)
        back_through_block(dout_, z_, d_, n * M + first, M, rows, last - first)
        if total is not None:
            add_columns(d, n * M + first, None, None, M, rows, last - first, total, first)


@njit(cache=True, parallel=True)
def _bends(dout: Array, z: Array, d: Array, total: Any, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        _bend_and_sum_rows(dout, z, d, total, t * chunk, min(d.shape[1], (t + 1) * chunk))
