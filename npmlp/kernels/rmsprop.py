"""RMSprop for all parameters of one dtype, as a table (npmlp.kernels.tables), with the bits of its
NumPy text: every operation rounds, none is fused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.addresses import array_at
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.tables import Table, walk
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]
Rates = tuple[float, float, float, float, float]


def rmsprop_table(table: Table, rates: Array) -> None:
    """One step of RMSprop for every row of a table.

        g ← ±grad + weight_decay · param
        v ← α v + (1 - α) g²
        m ← m + (1 - α) (g - m), and v - m² instead of v below      (only if centered)
        b ← momentum · b + g / (√v + eps)                           (only with momentum)
        param ← param - lr · b, or without momentum param - lr · g / (√v + eps)

    Parameters
    ----------
    table : its buffers are square_avg (v), momentum_buffer (b) and grad_avg (m)
    rates : rows of lr, α, eps, weight_decay, momentum, maximize

    Source: Tieleman, Hinton 2012, lecture 6.5; Graves 2013, equations 38-45.
    """
    has_buf = table.like if table.kept[1] else None
    has_mean = table.like if table.kept[2] else None
    walk(_part, _parts, table, rates, table.like, has_buf, has_mean)


# error_model="numpy": x / 0 is infinity, not an exception that every entry would be checked for
@njit(cache=True, error_model="numpy")
def _rmsprop(
    param: Array,
    square_avg: Array,
    buf: Array | None,
    mean: Array | None,
    grad: Array,
    rates: Rates,
    maximize: bool,
) -> None:
    wide()  # type: ignore[call-arg]
    number = param.dtype.type
    lr, keep, take = number(rates[0]), number(rates[1]), number(1 - rates[1])
    eps, decay, momentum = number(rates[2]), number(rates[3]), number(rates[4])
    leave = number(1) - take
    for i in range(param.size):
        g = -grad[i] if maximize else grad[i]
        # a condition, since PyTorch leaves the term out: 0 · inf would be NaN
        g = g + decay * param[i] if rates[3] != 0 else g
        v = square_avg[i] * keep + take * g * g
        square_avg[i] = v
        if mean is not None:  # settled when it is compiled, as is `buf is None`
            gap = g - mean[i]
            # PyTorch's lerp, which starts from the nearer end
            m = mean[i] + take * gap if 1 - rates[1] < 0.5 else g - gap * leave
            mean[i] = m
            v = v - m * m
        move = g / (np.sqrt(v) + eps)
        if buf is not None:
            move = buf[i] * momentum + move
            buf[i] = move
        param[i] -= lr * move


@njit(cache=True, error_model="numpy")
def _rows(
    rows: Array, rates: Array, like: Array, has_buf: Array | None, has_mean: Array | None
) -> None:
    wide()  # type: ignore[call-arg]
    for row in rows:
        n, k = row[0], rates[row[1]]
        numbers, maximize = (k[0], k[1], k[2], k[3], k[4]), k[5] != 0
        param, grad = array_at(row[2], n, like), array_at(row[3], n, like)
        v = array_at(row[4], n, like)
        buf = None if has_buf is None else array_at(row[5], n, like)
        mean = None if has_mean is None else array_at(row[6], n, like)
        _rmsprop(param, v, buf, mean, grad, numbers, maximize)


@njit(cache=True, error_model="numpy")
def _part(
    parts: Array,
    rates: Array,
    like: Array,
    has_buf: Array | None,
    has_mean: Array | None,
    first: int,
    last: int,
) -> None:
    wide()  # type: ignore[call-arg]
    for t in range(first, last):
        _rows(parts[t], rates, like, has_buf, has_mean)


@njit(cache=True, parallel=True)
def _parts(
    parts: Array,
    rates: Array,
    like: Array,
    has_buf: Array | None,
    has_mean: Array | None,
    chunk: int,
    chunks: int,
) -> None:
    for t in prange(chunks):
        _part(parts, rates, like, has_buf, has_mean, t, t + 1)
