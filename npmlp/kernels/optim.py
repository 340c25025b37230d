"""Optimizer steps: one pass over a parameter, in place, rounding as PyTorch rounds.

PyTorch writes each update as a few tensor operations, each of which rounds its result once; where
its CPU code fuses a multiplication with an addition, `_fused` does, and nowhere else. SGD is equal
to PyTorch's bit for bit. So are Adam's moments; its step divides by a square root, which PyTorch
takes from a library that is wrong in the last bit for some arguments, and this one is not.

All arrays of a parameter have one shape and one dtype. There are two ways in: <rule>_step takes one
parameter, its arrays in any order of memory; <rule>_table takes all parameters of one dtype whose
entries lie in order, as a table (npmlp.kernels.tables).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.addresses import array_at
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.tables import Table, walk
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]


@njit(cache=True, fastmath={"contract"})
def _fused(a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once: only within this function may the two operations become one."""
    return a * b + c


def _flat(a: Array) -> Array:
    """`a` in one dimension: the same memory if its elements lie in order, else a copy."""
    return a.reshape(-1)


def _give_back(a: Array, flat: Array) -> None:
    """Write the copy back to an `a` whose elements do not lie in order, as a transposed weight."""
    if not a.flags.c_contiguous:
        a[...] = flat.reshape(a.shape)


# -------------------------------------------------------------------------------------------- SGD


def sgd_step(
    param: Array,
    grad: Array,
    buf: Array | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step of stochastic gradient descent.

        g ← ±grad + weight_decay · param
        buf ← momentum · buf + (1 - dampening) g        (buf ← g the first time)
        param ← param - lr · (g + momentum · buf with Nesterov, buf with momentum, else g)

    Parameters
    ----------
    param, buf : changed; `buf` is None where momentum is 0
    first : whether buf is yet to be filled
    maximize : the sign of grad is turned

    Source: PyTorch docs, torch.optim.SGD.
    """
    rates: Any = sgd_rates(first, lr, momentum, dampening, weight_decay, nesterov, maximize)
    p = _flat(param)
    if buf is None:
        _sgd(p, _flat(grad), rates[0], rates[3], maximize)
    else:
        b = _flat(buf)
        _sgd_momentum(p, b, _flat(grad), rates[:4], first, nesterov, maximize)
        _give_back(buf, b)
    _give_back(param, p)


def sgd_rates(
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> tuple[float, ...]:
    """The numbers of a step, as the loops below take them."""
    # floats throughout: a whole number given as an int would have Numba compile for it anew
    numbers = (float(lr), float(momentum), 1.0 - dampening, float(weight_decay))
    return (*numbers, float(first), float(nesterov), float(maximize))


def sgd_table(table: Table, rates: Array) -> None:
    """`sgd_step` for every row of a table. Buffers: buf. Each row of `rates` is of sgd_rates."""
    has_buf = table.like if table.kept[0] else None
    walk(_sgd_part, _sgd_parts, table, rates, table.like, has_buf)


@njit(cache=True)
def _sgd(param: Array, grad: Array, lr: float, weight_decay: float, maximize: bool) -> None:
    wide()  # type: ignore[call-arg]
    down, decay = param.dtype.type(-lr), param.dtype.type(weight_decay)
    for i in range(param.size):
        g = -grad[i] if maximize else grad[i]
        # a condition, since PyTorch leaves the term out: 0 · inf would be NaN
        g = _fused(decay, param[i], g) if weight_decay != 0 else g
        param[i] = _fused(down, g, param[i])


@njit(cache=True)
def _sgd_momentum(
    param: Array,
    buf: Array,
    grad: Array,
    rates: tuple[float, float, float, float],
    first: bool,
    nesterov: bool,
    maximize: bool,
) -> None:
    wide()  # type: ignore[call-arg]
    number = param.dtype.type
    down, keep, take, decay = (
        number(-rates[0]),
        number(rates[1]),
        number(rates[2]),
        number(rates[3]),
    )
    for i in range(param.size):
        g = -grad[i] if maximize else grad[i]
        g = _fused(decay, param[i], g) if rates[3] != 0 else g
        moved = _fused(take, g, keep * buf[i])
        b = g if first else moved
        buf[i] = b
        g = _fused(keep, b, g) if nesterov else b
        param[i] = _fused(down, g, param[i])


@njit(cache=True)
def _sgd_rows(rows: Array, rates: Array, like: Array, has_buf: Array | None) -> None:
    wide()  # type: ignore[call-arg]
    for row in rows:
        n, k = row[0], rates[row[1]]
        param, grad = array_at(row[2], n, like), array_at(row[3], n, like)
        if has_buf is None:  # settled when it is compiled
            _sgd(param, grad, k[0], k[3], k[6] != 0)
        else:
            numbers = (k[0], k[1], k[2], k[3])
            buf = array_at(row[4], n, like)
            _sgd_momentum(param, buf, grad, numbers, k[4] != 0, k[5] != 0, k[6] != 0)


@njit(cache=True, error_model="numpy")
def _sgd_part(
    parts: Array, rates: Array, like: Array, has_buf: Array | None, first: int, last: int
) -> None:
    wide()  # type: ignore[call-arg]
    for t in range(first, last):
        _sgd_rows(parts[t], rates, like, has_buf)


@njit(cache=True, parallel=True)
def _sgd_parts(
    parts: Array, rates: Array, like: Array, has_buf: Array | None, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        _sgd_part(parts, rates, like, has_buf, t, t + 1)


# ------------------------------------------------------------------------------------------- Adam


def adam_step(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """One step of Adam, or with `decoupled` weight decay of AdamW.

        g ← ±grad                       Adam: g ← g + weight_decay · param
                                        AdamW: param ← (1 - lr · weight_decay) param
        m ← β₁ m + (1 - β₁) g           as m + (1 - β₁)(g - m)
        v ← β₂ v + (1 - β₂) g²          with AMSGrad, v̂ ← max(v̂, v) takes v's place below
        param ← param - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps)

    Parameters
    ----------
    param, exp_avg (m), exp_avg_sq (v), max_exp_avg_sq (v̂, None without AMSGrad) : changed
    step : t, which is 1 in the first step

    Source: Kingma and Ba, Adam, 2015, algorithm 1; Loshchilov and Hutter, Decoupled Weight Decay
    Regularization, 2019, algorithm 2; in the order of torch.optim.adam's single-tensor form.
    """
    rates: Any = adam_rates(step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize)
    p, m, v = _flat(param), _flat(exp_avg), _flat(exp_avg_sq)
    peak = None if max_exp_avg_sq is None else _flat(max_exp_avg_sq)
    _adam(p, m, v, peak, _flat(grad), rates[:6], rates[6], rates[7], maximize)
    if max_exp_avg_sq is not None and peak is not None:
        _give_back(max_exp_avg_sq, peak)
    _give_back(exp_avg, m)
    _give_back(exp_avg_sq, v)
    _give_back(param, p)


def adam_rates(
    step: float,
    lr: Any,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> tuple[float, ...]:
    """The numbers of a step, as the loop below takes them."""
    # in double precision, as Python computes them in PyTorch, and rounded where they meet an array
    # (an lr that was a float32 Tensor is a NumPy float32, and rounds these to float32 as there)
    size = float(lr / (1 - beta1**step))
    root = (1 - beta2**step) ** 0.5
    shrink = float(1.0 - lr * weight_decay) if decoupled else 1.0
    decay = 0.0 if decoupled else float(weight_decay)
    averages = (1 - beta1, beta2, 1 - beta2)
    return (-size, *averages, root, float(eps), decay, shrink, float(maximize))


def adam_table(table: Table, rates: Array) -> None:
    """`adam_step` for every row of a table. Buffers: exp_avg, exp_avg_sq, max_exp_avg_sq. Each row
    of `rates` is of adam_rates.
    """
    has_peak = table.like if table.kept[2] else None
    walk(_adam_part, _adam_parts, table, rates, table.like, has_peak)


# error_model="numpy": x / 0 is infinity, not an exception that every entry would be checked for
@njit(cache=True, error_model="numpy")
def _adam(
    param: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    peak: Array | None,
    grad: Array,
    rates: tuple[float, float, float, float, float, float],
    weight_decay: float,
    shrink: float,
    maximize: bool,
) -> None:
    wide()  # type: ignore[call-arg]
    number = param.dtype.type
    down, take, keep_sq, take_sq = (
        number(rates[0]),
        number(rates[1]),
        number(rates[2]),
        number(rates[3]),
    )
    root, eps, decay, scale = (
        number(rates[4]),
        number(rates[5]),
        number(weight_decay),
        number(shrink),
    )
    leave = number(1) - take
    # Division is the slowest operation here. A quotient of two float32 is never nearer to a tie
    # than 2⁻⁴⁹ of itself, and the product with an inverse in double precision is off by less than
    # 2⁻⁵¹ of it: so that, rounded, has the quotient's bits.
    inverse = 1 / np.float64(root)
    for i in range(param.size):
        g = -grad[i] if maximize else grad[i]
        p = param[i] * scale
        g = _fused(decay, p, g) if weight_decay != 0 else g
        gap = g - exp_avg[i]
        # PyTorch's lerp, which starts from the nearer end
        m = _fused(take, gap, exp_avg[i]) if take < 0.5 else _fused(-gap, leave, g)
        exp_avg[i] = m
        v = _fused(take_sq * g, g, keep_sq * exp_avg_sq[i])
        exp_avg_sq[i] = v
        if peak is not None:  # settled when it is compiled
            v = peak[i] if peak[i] > v else v
            peak[i] = v
        root_v = np.sqrt(v)
        ratio = number(np.float64(root_v) * inverse) if param.itemsize == 4 else root_v / root
        param[i] = p + down * m / (ratio + eps)


@njit(cache=True, error_model="numpy")
def _adam_rows(rows: Array, rates: Array, like: Array, has_peak: Array | None) -> None:
    wide()  # type: ignore[call-arg]
    for row in rows:
        n, k = row[0], rates[row[1]]
        numbers = (k[0], k[1], k[2], k[3], k[4], k[5])
        param, grad = array_at(row[2], n, like), array_at(row[3], n, like)
        m, v = array_at(row[4], n, like), array_at(row[5], n, like)
        if has_peak is None:  # settled when it is compiled
            _adam(param, m, v, None, grad, numbers, k[6], k[7], k[8] != 0)
        else:
            peak = array_at(row[6], n, like)
            _adam(param, m, v, peak, grad, numbers, k[6], k[7], k[8] != 0)


@njit(cache=True, error_model="numpy")
def _adam_part(
    parts: Array, rates: Array, like: Array, has_peak: Array | None, first: int, last: int
) -> None:
    wide()  # type: ignore[call-arg]
    for t in range(first, last):
        _adam_rows(parts[t], rates, like, has_peak)


@njit(cache=True, parallel=True)
def _adam_parts(
    parts: Array, rates: Array, like: Array, has_peak: Array | None, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        _adam_part(parts, rates, like, has_peak, t, t + 1)
