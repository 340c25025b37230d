"""The linear layer: out = x weightᵀ + bias and its three gradients, each one product of the ladder.

Letters: x (…, K) with N rows in all, weight (M, K) as stored, bias (M,), out (…, M).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from npmlp.kernels.calls import call, in_order
from npmlp.kernels.matmul import multiply, multiply_transposed

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
        call(sum_rows, dout, scratch[0], grads[2])
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
    if grads[2] is not None:
        call(mask_and_sum_rows, _rows(dout), _rows(outs[0]), d, scratch[0], grads[2])
    else:
        call(mask, _rows(dout), _rows(outs[0]), d)
    _products_backward(d, inputs, grads)


def _rows(x: Array) -> Array:
    """x (…, K) as (N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


_CHUNK = 64  # rows; the error of a long sum grows with the longer of a chunk and their number


@njit(cache=True)
def sum_rows(x: Array, partial: Array, out: Array) -> None:
    """out (M,) = Σ_n x[n]: chunks of 64 rows one after another, each summed in `partial` (M,)."""
    N, M = x.shape
    out[:] = 0
    for n in range(0, N, _CHUNK):
        partial[:] = 0
        for i in range(n, min(n + _CHUNK, N)):
            for j in range(M):
                partial[j] += x[i, j]
        for j in range(M):
            out[j] += partial[j]


@njit(cache=True)
def mask(dout: Array, out: Array, d: Array) -> None:
    """d (N, M) = dout where out > 0 or is NaN, else 0: back through a ReLU."""
    zero = d.dtype.type(0)
    for n in range(d.shape[0]):
        for j in range(d.shape[1]):
            d[n, j] = zero if out[n, j] <= zero else dout[n, j]


@njit(cache=True)
def mask_and_sum_rows(dout: Array, out: Array, d: Array, partial: Array, total: Array) -> None:
    """`mask`, and `sum_rows` of what comes of it."""
    N, M = d.shape
    zero = d.dtype.type(0)
    total[:] = 0
    for n in range(0, N, _CHUNK):
        partial[:] = 0
        for i in range(n, min(n + _CHUNK, N)):
            for j in range(M):
                value = zero if out[i, j] <= zero else dout[i, j]
                d[i, j] = value
                partial[j] += value
        for j in range(M):
            total[j] += partial[j]
