"""The matrix product that the other kernels call: out = a b, on as many threads as it is worth.

How it is computed is told in four chapters, to be read in this order: ladder.py (three loops, and
what order and blocks do for them), tile.py (a tile of out that stays in registers), panels.py (b
laid out for that tile), and the threads here.
Letters: a (N, K), b (K, M), out (N, M).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit, prange

from npmlp.kernels import threads
from npmlp.kernels.ladder import Array, Matrix, moved
from npmlp.kernels.panels import pack_transposed, product

# ------------------------------------------------------------------------------ rung 5: threads
#
# Each thread takes one run of rows of out, or of columns where these are more, so an element has
# one thread and one order of addition, and its bits do not depend on how many threads there are.

# Multiplications from which a product is divided among threads. A second thread is awake within
# 2 µs, and from 1 << 20 on it pays on a machine that is otherwise idle; but where anything else
# wants a core, the first thread waits for the second until the system runs it again, up to some
# milliseconds. Below this bound that risk is more than the gain.
_THREADS_FROM = 1 << 23
_ROWS, _COLUMNS = 8, 16  # a portion is whole tiles, and whole cache lines of a row


@njit(cache=True)
def _part(
    a: Array, down: int, along: int, b: Array, packed: bool, start: Array, out: Array,
    K: int, by_rows: bool, first: int, last: int,
) -> None:  # fmt: skip
    """Rows, or columns, first … last of out = start + a b."""
    N, M = out.shape
    a_, b_ = Matrix(a, 0, down, along), Matrix(b.reshape(-1), 0, M, 1)
    start_, out_ = Matrix(start, 0, 0, 1), Matrix(out.reshape(-1), 0, M, 1)
    if by_rows:
        product(moved(a_, first, 0), b_, packed, start_, moved(out_, first, 0), last - first, K, M)
    else:
        product(
            a_, moved(b_, 0, first), packed, moved(start_, 0, first), moved(out_, 0, first),
            N, K, last - first,
        )  # fmt: skip


@njit(cache=True, parallel=True)
def _parts(
    a: Array, down: int, along: int, b: Array, packed: bool, start: Array, out: Array,
    K: int, by_rows: bool, chunk: int, chunks: int,
) -> None:  # fmt: skip
    """All of out: [t · chunk, (t + 1) · chunk) to thread t; the last takes what remains."""
    for t in prange(chunks):
        end = out.shape[0] if by_rows else out.shape[1]
        last = end if t == chunks - 1 else (t + 1) * chunk
        _part(a, down, along, b, packed, start, out, K, by_rows, t * chunk, last)


def _run(a: Array, b: Array, packed: bool, bias: Array | None, out: Array, K: int) -> None:
    n, m = out.shape
    flat, down, along = memory(a)
    start = _zeros(out.dtype, m) if bias is None else bias
    by_rows = packed or n >= m
    if n * m * K >= _THREADS_FROM and (
        chunks := threads.enter(n, _ROWS) if by_rows else threads.enter(m, _COLUMNS)
    ):
        try:
            _parts(flat, down, along, b, packed, start, out, K, by_rows, *chunks)
        finally:
            threads.leave()
    else:
        _part(flat, down, along, b, packed, start, out, K, True, 0, n)


# -------------------------------------------------------------------------------- for the others


def multiply(a: Array, b: Array, out: Array, bias: Array | None = None) -> None:
    """out = a b + bias. b contiguous; `a` may be a transpose."""
    _run(a, b, False, bias, out, b.shape[0])


def multiply_transposed(
    a: Array, bt: Array, out: Array, panels: Array, bias: Array | None = None
) -> None:
    """out = a btᵀ + bias, for bt (M, K), contiguous, which is packed into `panels` first."""
    pack_transposed(bt, panels)
    _run(a, panels, True, bias, out, bt.shape[1])


@functools.lru_cache(maxsize=64)
def _zeros(dtype: np.dtype[Any], m: int) -> Array:
    """What a product without a bias starts from."""
    zeros = np.zeros(m, dtype)
    zeros.flags.writeable = False
    return zeros


def memory(a: Array) -> tuple[Array, int, int]:
    """A matrix as its memory, and the steps from a row and from a column to the next."""
    if a.flags.c_contiguous:
        return a.reshape(-1), a.shape[1], 1
    if a.flags.f_contiguous:
        return a.T.reshape(-1), 1, a.shape[0]
    return np.ascontiguousarray(a).reshape(-1), a.shape[1], 1


def contiguous(x: Array) -> Array:
    """x itself where its elements lie in order, else a copy in which they do."""
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def matmul_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out (N, M) = x (N, K) y (K, M)."""
    x, y = inputs
    if y.flags.f_contiguous and not y.flags.c_contiguous:  # the transpose of a stored matrix
        multiply_transposed(x, y.T, outs[0], scratch[0])
    else:
        multiply(x, contiguous(y), outs[0])


def matmul_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout yᵀ, dy = xᵀ dout."""
    dx, dy = grads
    if dx is not None:
        multiply_transposed(dout, contiguous(inputs[1]), dx, scratch[0])
    if dy is not None:
        multiply(inputs[0].T, dout, dy)
