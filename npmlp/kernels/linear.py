"""The linear layer: out = x weightᵀ + bias and its three gradients, each one product of the ladder.

Letters: x (…, K) with N rows in all, weight (M, K) as stored, bias (M,), out (…, M).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.kernels.cache import njit
from npmlp.kernels.matmul import contiguous, multiply, multiply_transposed

Array = np.ndarray[Any, np.dtype[Any]]


def linear_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out = x weightᵀ + bias, as dot products of stored rows, or with the weight transposed into
    scratch where rows are short and many.
    """
    x, weight, bias = inputs
    x = _rows(contiguous(x))
    out = _rows(outs[0])
    if bias is not None:
        bias = contiguous(bias)
    if scratch:
        transpose(weight, scratch[0])
        multiply(x, scratch[0], out, bias)
    else:
        multiply_transposed(x, contiguous(weight), out, bias)


def linear_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout weight, dweight = doutᵀ x, dbias = Σ dout over rows."""
    x, weight, _ = inputs
    dx, dweight, dbias = grads
    dout = _rows(dout)
    if dx is not None:
        multiply(dout, contiguous(weight), _rows(dx))
    if dweight is not None:
        multiply(dout.T, _rows(contiguous(x)), dweight)
    if dbias is not None:
        sum_rows(dout, scratch[0], dbias)


def _rows(x: Array) -> Array:
    """x (…, K) as (N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@njit(cache=True)
def transpose(weight: Array, out: Array) -> None:
    """out (K, M) = weightᵀ, sixteen columns of out at a time: one cache line of each row."""
    M, K = weight.shape
    for m in range(0, M, 16):
        for k in range(K):
            for j in range(m, min(m + 16, M)):
                out[k, j] = weight[j, k]


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
