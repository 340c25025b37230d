"""Entry by entry: sums, ReLU and dropout; and how any such loop is called, GELU's too (gelu.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import flat
from npmlp.kernels.vectors import wide

Array = np.ndarray[Any, np.dtype[Any]]


def add_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out = x + y, for two arrays of one shape."""
    each(_ADD, inputs[0], inputs[1], 0.0, outs[0])


def relu_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out = max(x, 0)."""
    each(_RELU, inputs[0], inputs[0], 0.0, outs[0])


def relu_backward(
    dout: Array, inputs: Any, outs: tuple[Any, ...], grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout where out > 0, else 0."""
    each(_RELU_GRADIENT, dout, outs[0], 0.0, grads[0])


def dropout_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, scale: float
) -> None:
    """out = scale · x where the mask keeps it, else 0 · x: 0 with x's sign, and NaN stays NaN."""
    each(_SCALE_KEPT, inputs[0], inputs[1], scale, outs[0])


def dropout_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: Any,
    grads: tuple[Any, ...],
    scratch: Any,
    scale: float,
) -> None:
    """dx = scale · dout where the mask keeps it, else 0 · dout."""
    each(_SCALE_KEPT, dout, inputs[1], scale, grads[0])


class Loop(NamedTuple):
    """A loop over entries first … last of (a, b, number, out); the same in chunks on threads, or
    None; and what an entry costs, 1 being a load and a store.
    """

    part: Any
    parts: Any = None
    cost: int = 1


_THREADS_FROM = 1 << 19  # entries times their cost: some 80 µs


def each(loop: Loop, a: Array, b: Array, number: float, out: Array) -> None:
    """Call a loop with arrays that are flat, on threads if they are large."""
    arguments = flat(a), flat(b), out.dtype.type(number), flat(out)
    work = out.size * loop.cost
    threads.call_on_threads(loop.part, loop.parts, arguments, out.size, 16, work, _THREADS_FROM)


# ----------------------------------------------------------------------- sums, ReLU and dropout


@njit(cache=True)
def _add(x: Array, y: Array, number: Any, out: Array, first: int, last: int) -> None:
    wide()  # type: ignore[call-arg]
    x, y, out = x[first:last], y[first:last], out[first:last]
    for i in range(out.size):
        out[i] = x[i] + y[i]


@njit(cache=True)
def _relu(x: Array, _: Array, number: Any, out: Array, first: int, last: int) -> None:
    wide()  # type: ignore[call-arg]
    zero = x.dtype.type(0)
    x, out = x[first:last], out[first:last]
    for i in range(out.size):
        out[i] = zero if x[i] <= zero else x[i]  # in this form NaN stays NaN


@njit(cache=True)
def _relu_gradient(dout: Array, out: Array, number: Any, dx: Array, first: int, last: int) -> None:
    wide()  # type: ignore[call-arg]
    zero = dout.dtype.type(0)
    dout, out, dx = dout[first:last], out[first:last], dx[first:last]
    for i in range(dx.size):
        dx[i] = zero if out[i] <= zero else dout[i]


@njit(cache=True)
def _scale_kept(x: Array, keep: Array, scale: Any, out: Array, first: int, last: int) -> None:
    wide()  # type: ignore[call-arg]
    zero = x.dtype.type(0)
    x, keep, out = x[first:last], keep[first:last], out[first:last]
    for i in range(out.size):
        out[i] = x[i] * (scale if keep[i] else zero)


# -------------------------------------------------------------------------------------- on threads
#
# Written out one by one: a function that made them of the loops above would have each loop in its
# closure, and compiled code is not kept for a closure that holds a compiled function.


@njit(cache=True, parallel=True)
def _adds(x: Array, y: Array, number: Any, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        _add(x, y, number, out, t * chunk, min(out.size, (t + 1) * chunk))


@njit(cache=True, parallel=True)
def _relus(x: Array, _: Array, number: Any, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        _relu(x, _, number, out, t * chunk, min(out.size, (t + 1) * chunk))


@njit(cache=True, parallel=True)
def _relu_gradients(
    dout: Array, out: Array, number: Any, dx: Array, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        _relu_gradient(dout, out, number, dx, t * chunk, min(dx.size, (t + 1) * chunk))


@njit(cache=True, parallel=True)
def _scales_kept(x: Array, keep: Array, scale: Any, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        _scale_kept(x, keep, scale, out, t * chunk, min(out.size, (t + 1) * chunk))


_ADD = Loop(_add, _adds)
_RELU, _RELU_GRADIENT = Loop(_relu, _relus), Loop(_relu_gradient, _relu_gradients)
_SCALE_KEPT = Loop(_scale_kept, _scales_kept)
