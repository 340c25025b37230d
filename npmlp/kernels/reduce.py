"""Sums and means over neighbouring dimensions that others follow: x (A, R, B) to out (A, B).

A line of B entries is a few vectors, whose sums stay in registers (lines.py). The last dimension by
itself is left to NumPy, which adds it up by pairs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import in_order
from npmlp.kernels.lines import add_columns, move_lines

Array = np.ndarray[Any, np.dtype[Any]]
Dims = tuple[int, ...]

_CHUNK = 64  # lines; the error of a long sum grows with the longer of a chunk and their number
_THREADS_FROM = 1 << 19  # entries


def sum_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, dim: Dims, keepdim: bool
) -> None:
    """out[a, b] = Σ_r x[a, r, b]."""
    _reduce(inputs[0], outs[0], dim, 1)


def mean_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, dim: Dims, keepdim: bool
) -> None:
    """out[a, b] = Σ_r x[a, r, b] / R."""
    _reduce(inputs[0], outs[0], dim, math.prod(inputs[0].shape[i] for i in dim))


def sum_backward(
    dout: Array, inputs: Any, outs: Any, grads: tuple[Any, ...], scratch: Any, dim: Dims,
    keepdim: bool,
) -> None:  # fmt: skip
    """dx[a, r, b] = dout[a, b]."""
    _spread(dout, grads[0], dim, 1)


def mean_backward(
    dout: Array, inputs: Any, outs: Any, grads: tuple[Any, ...], scratch: Any, dim: Dims,
    keepdim: bool,
) -> None:  # fmt: skip
    """dx[a, r, b] = dout[a, b] / R."""
    _spread(dout, grads[0], dim, math.prod(grads[0].shape[i] for i in dim))


def _sizes(shape: tuple[int, ...], dim: Dims) -> tuple[int, int, int]:
    """(A, R, B)."""
    first, last = min(dim), max(dim) + 1
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])


def _reduce(x: Array, out: Array, dim: Dims, count: int) -> None:
    A, R, B = _sizes(x.shape, dim)
    arguments = (in_order(x).reshape(-1), R, B, out.reshape(-1), x.dtype.type(count), A > 1)
    size, unit = (A, 1) if A > 1 else (B, 16)
    threads.call_on_threads(_sums, _all_sums, arguments, size, unit, x.size, _THREADS_FROM)


def _spread(dout: Array, dx: Array, dim: Dims, count: int) -> None:
    A, R, B = _sizes(dx.shape, dim)
    arguments = (dout.reshape(-1), R, B, dx.reshape(-1), dout.dtype.type(count))
    threads.call_on_threads(_quotients, _all_quotients, arguments, A, 1, dx.size, _THREADS_FROM)


@njit(cache=True)
def _sums(
    x: Array, R: int, B: int, out: Array, count: Any, by_rows: bool, first: int, last: int
) -> None:
    """Rows first … last of out; or, of the only row, columns."""
    rows, begin, end = (range(first, last), 0, B) if by_rows else (range(1), first, last)
    for a in rows:
        out[a * B + begin : a * B + end] = 0
        for r in range(0, R, _CHUNK):
            lines = min(_CHUNK, R - r)
            at, to = (a * R + r) * B + begin, a * B + begin
            add_columns(x, at, None, None, B, lines, end - begin, out, to)
        for j in range(a * B + begin, a * B + end):
            out[j] /= count


@njit(cache=True, parallel=True)
def _all_sums(
    x: Array, R: int, B: int, out: Array, count: Any, by_rows: bool, chunk: int, chunks: int
) -> None:
    size = out.size // B if by_rows else B
    for t in prange(chunks):
        _sums(x, R, B, out, count, by_rows, t * chunk, min(size, (t + 1) * chunk))


@njit(cache=True)
def _quotients(dout: Array, R: int, B: int, dx: Array, count: Any, first: int, last: int) -> None:
    """Rows first … last of dout, each divided and written R times."""
    line = np.empty(B, dout.dtype)
    for a in range(first, last):
        for j in range(B):
            line[j] = dout[a * B + j] / count
        move_lines(line, 0, 0, dx, a * R * B, B, R, B)  # type: ignore[call-arg]


@njit(cache=True, parallel=True)
def _all_quotients(
    dout: Array, R: int, B: int, dx: Array, count: Any, chunk: int, chunks: int
) -> None:
    for t in prange(chunks):
        _quotients(dout, R, B, dx, count, t * chunk, min(dout.size // B, (t + 1) * chunk))
