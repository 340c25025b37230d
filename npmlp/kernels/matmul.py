"""The matrix product that the other kernels call: out = a b, on as many threads as it is worth.

How it is computed is told in five chapters, to be read in this order: ladder.py (three loops, and
what order and blocks do for them), tile.py (a tile of out that stays in registers), panels.py (b
laid out for that tile), large.py (what does not fit a cache), and the threads here.
Letters: a (N, K), b (K, M), out (N, M).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from npmlp import config
from npmlp.kernels import scratch, threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import call, in_order
from npmlp.kernels.gelu import gelu_block, gelu_forward
from npmlp.kernels.ladder import Array, Matrix, moved
from npmlp.kernels.large import large_product
from npmlp.kernels.panels import (
    DOT_COLUMNS,
    ROWS_AT_ONCE,
    dots,
    pack_all_rows,
    pack_rows,
    product,
)

Flat = tuple[Array, int, int]  # a matrix's memory, and its steps down and along

# ------------------------------------------------------------------------------ rung 6: threads
#
# Each thread takes one run of rows of out, or of columns, so an element has one thread and one
# order of addition, and its bits do not depend on how many threads there are. What is divided is
# chosen by where the matrices are: a weight's rows belong to one thread in all that a training step
# does with them. They are columns of the layer's output, and rows of the weight's gradient, and the
# optimizer's table is cut there, too; so each core finds its part of the weight in its own cache.

_THREADS_FROM = 1 << 22  # multiplications, 80 µs: to wake a sleeping thread takes up to 45
_PACKING_ON_THREADS_FROM = 1 << 19  # entries
_ROWS, _COLUMNS = 4, 16  # a portion is whole halves of tiles, and whole cache lines of a row

_AS_IT_LIES, _PACKED, _TO_PACK, _DOTS = range(4)  # what becomes of b


@njit(cache=True)
def _matrices(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, out: Array, by_rows: bool, first: int, last: int,
) -> tuple[Matrix, Matrix, Matrix, Matrix, int, int]:  # fmt: skip
    """Of a, b, start and out what rows, or columns, first … last of out need; and N, M of these."""
    N, M = out.shape
    a, b = Matrix(in_a, 0, a_down, a_along), Matrix(in_b, 0, b_down, b_along)
    start_, out_ = Matrix(start, 0, 0, 1), Matrix(out.reshape(-1), 0, M, 1)
    if by_rows:
        return moved(a, first, 0), b, start_, moved(out_, first, 0), last - first, M
    return a, moved(b, 0, first), moved(start_, 0, first), moved(out_, 0, first), N, last - first


@njit(cache=True)
def _part(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, way: int, panels: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Rows, or columns, first … last of out = max(floor, start + a b).

    b that is to be packed is divided by columns: each thread lays down its own, and nobody waits.
    """
    a, b, start_, out_, N, M = _matrices(
        in_a, a_down, a_along, in_b, b_down, b_along, start, out, by_rows, first, last
    )
    if way == _DOTS:
        dots(a, b, start_, floor, out_, N, K, M)
    elif way == _TO_PACK:
        own = panels[first * K :]
        pack_rows(in_b, b.at, b_down, b_along, K, M, own, 0, K)
        product(a, Matrix(own, 0, M, 1), True, start_, floor, out_, N, K, M)
    else:
        product(a, b, way == _PACKED, start_, floor, out_, N, K, M)


@njit(cache=True, parallel=True)
def _parts(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, way: int, panels: Array,
    chunk: int, chunks: int,
) -> None:  # fmt: skip
    """All of out: [t · chunk, (t + 1) · chunk) to thread t; the last takes what remains."""
    for t in prange(chunks):
        end = out.shape[0] if by_rows else out.shape[1]
        last = end if t == chunks - 1 else (t + 1) * chunk
        _part(in_a, a_down, a_along, in_b, b_down, b_along, start, floor, out, K, by_rows, way,
              panels, t * chunk, last)  # fmt: skip


# The same of a large product: apart, so that small networks need not wait until it is compiled.


@njit(cache=True)
def _large_part(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, first: int, last: int,
) -> None:  # fmt: skip
    a, b, start_, out_, N, M = _matrices(
        in_a, a_down, a_along, in_b, b_down, b_along, start, out, by_rows, first, last
    )
    large_product(a, b, start_, floor, out_, N, K, M)


@njit(cache=True, parallel=True)
def _large_parts(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        end = out.shape[0] if by_rows else out.shape[1]
        last = end if t == chunks - 1 else (t + 1) * chunk
        _large_part(in_a, a_down, a_along, in_b, b_down, b_along, start, floor, out, K, by_rows,
                    t * chunk, last)  # fmt: skip


# And with GELU. It is not done in the tile: x Φ(x) takes so many instructions that each entry may
# as well be stored, which backward needs anyway, and read again from the nearest cache.


@njit(cache=True)
def _gelu_part(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, way: int, panels: Array,
    gelu: Array, first: int, last: int,
) -> None:  # fmt: skip
    """`_part`, and gelu = GELU(out) of some rows before the next are begun."""
    step = ROWS_AT_ONCE if by_rows else max(1, last - first)
    for i in range(first, last, step):
        end = min(i + step, last)
        _part(in_a, a_down, a_along, in_b, b_down, b_along, start, floor, out, K, by_rows, way,
              panels, i, end)  # fmt: skip
        _gelu_of(out, gelu, by_rows, i, end)


@njit(cache=True)
def _gelu_of(out: Array, gelu: Array, by_rows: bool, first: int, last: int) -> None:
    """gelu = GELU(out) in rows, or columns, first … last."""
    N, M = out.shape
    at, rows, columns = first * M, last - first, M
    if not by_rows:
        at, rows, columns = first, N, last - first
    gelu_block(out.reshape(-1), gelu.reshape(-1), at, M, rows, columns)


@njit(cache=True, parallel=True)
def _gelu_parts(
    in_a: Array, a_down: int, a_along: int, in_b: Array, b_down: int, b_along: int,
    start: Array, floor: Any, out: Array, K: int, by_rows: bool, way: int, panels: Array,
    gelu: Array, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for t in prange(chunks):
        end = out.shape[0] if by_rows else out.shape[1]
        last = end if t == chunks - 1 else (t + 1) * chunk
        _gelu_part(in_a, a_down, a_along, in_b, b_down, b_along, start, floor, out, K, by_rows,
                   way, panels, gelu, t * chunk, last)  # fmt: skip


def _run(
    a: Array, b: Flat, bias: Array | None, relu: bool, out: Array, K: int, by_rows: bool,
    way: int | None, panels: Array | None = None, gelu: Array | None = None,
) -> None:  # fmt: skip
    """out = a b + bias on threads, and gelu = GELU(out); without a way as a large product."""
    n, m = out.shape
    start = _zeros(out.dtype, m) if bias is None else bias
    if not start.flags.writeable:  # another type to Numba, and start changes places with out
        own = np.empty(m, out.dtype)
        call(np.copyto, own, start)
        start = own
    floor = out.dtype.type(0 if relu else -np.inf)
    operands: tuple[Any, ...] = (*memory(a), *b, start, floor, out, K, by_rows)
    portions = (n, _ROWS) if by_rows else (m, DOT_COLUMNS if way == _DOTS else _COLUMNS)
    if way is not None:
        operands += (way, start if panels is None else panels)
    loops = (_part, _parts) if way is not None else (_large_part, _large_parts)
    if gelu is not None:
        operands, loops = (*operands, gelu), (_gelu_part, _gelu_parts)
    threads.call_on_threads(*loops, operands, *portions, n * m * K, _THREADS_FROM)


# -------------------------------------------------------------------------------- for the others


def multiply(a: Array, b: Array, out: Array, bias: Array | None = None) -> None:
    """out = a b + bias. b contiguous; `a` may be a transpose."""
    if config.get_matmul() == "blas":
        call(_by_blas, a, b, bias, False, out)
        return
    n, (k, m) = len(a), b.shape
    way = None if scratch.is_large(n, k, m, b.itemsize) else _AS_IT_LIES
    _run(a, memory(b), bias, False, out, k, n >= min(m, 32), way)


def multiply_transposed(
    a: Array, bt: Array, out: Array, panels: Sequence[Array], bias: Array | None = None,
    relu: bool = False, gelu: Array | None = None,
) -> None:  # fmt: skip
    """out = a btᵀ + bias, for bt (M, K), contiguous; with `relu` the positive part of that, and
    GELU of it in `gelu`.

    It is packed into `panels` first, as scratch.panels says for (N, K, M); where that gives none,
    block by block.
    """
    if config.get_matmul() == "blas":
        call(_by_blas, a, bt.T, bias, relu, out)
        if gelu is not None:
            gelu_forward((out,), (gelu,), (), "none")
        return
    m, k = bt.shape
    b = (bt.reshape(-1), 1, k)
    if scratch.are_dots(len(a), k, m):
        _run(in_order(a), b, bias, relu, out, k, False, _DOTS, None, gelu)
    elif not panels:
        _run(a, b, bias, relu, out, k, len(a) >= m, None)
        if gelu is not None:  # little beside such a product
            gelu_forward((out,), (gelu,), (), "none")
    elif len(a) < 2 * m:
        _run(a, b, bias, relu, out, k, False, _TO_PACK, panels[0], gelu)
    else:  # many rows, of which each is better read by one thread alone
        threads.call_on_threads(
            pack_rows, pack_all_rows, (b[0], 0, 1, k, k, m, panels[0]), k, 16, k * m,
            _PACKING_ON_THREADS_FROM,
        )  # fmt: skip
        _run(a, (panels[0], m, 1), bias, relu, out, k, True, _PACKED, None, gelu)


def _by_blas(a: Array, b: Array, bias: Array | None, relu: bool, out: Array) -> None:
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
    if relu:
        np.maximum(out, 0, out=out)


@functools.lru_cache(maxsize=64)
def _zeros(dtype: np.dtype[Any], m: int) -> Array:
    """What a product without a bias starts from."""
    return np.zeros(m, dtype)


def memory(a: Array) -> Flat:
    """A matrix as its memory, and the steps from a row and from a column to the next."""
    if a.flags.c_contiguous:
        return a.reshape(-1), a.shape[1], 1
    if a.flags.f_contiguous:
        return a.T.reshape(-1), 1, a.shape[0]
    return in_order(a).reshape(-1), a.shape[1], 1


def matmul_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], panels: Any) -> None:
    """out (N, M) = x (N, K) y (K, M)."""
    x, y = inputs
    if y.flags.f_contiguous and not y.flags.c_contiguous:  # the transpose of a stored matrix
        multiply_transposed(x, y.T, outs[0], panels)
    else:
        multiply(x, in_order(y), outs[0])


def matmul_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], panels: Any
) -> None:
    """dx = dout yᵀ, dy = xᵀ dout."""
    dx, dy = grads
    if dx is not None:
        multiply_transposed(dout, in_order(inputs[1]), dx, panels)
    if dy is not None:
        multiply(inputs[0].T, dout, dy)
