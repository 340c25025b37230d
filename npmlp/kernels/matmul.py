"""The matmul ladder: out = a b, from three loops to within sight of BLAS, a rung at a time.

Read it from the top: each rung is the same sum in another order, and the rung below is its oracle.
Letters: a (N, K), b (K, M), out (N, M); i, k, j are their indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange

Array = np.ndarray[Any, np.dtype[Any]]

# ------------------------------------------------------------------------ rung 1: three loops


@njit(cache=True)
def three_loops(a: Array, b: Array, out: Array) -> None:
    """The definition. `b[k, j]` walks down a column: each step is another cache line, and each
    addition waits for the one before it.
    """
    N, K = a.shape
    for i in range(N):
        for j in range(b.shape[1]):
            total = out.dtype.type(0)
            for k in range(K):
                total += a[i, k] * b[k, j]
            out[i, j] = total


# ------------------------------------------------------- rung 2: the loops in the right order


@njit(cache=True)
def right_order(a: Array, b: Array, out: Array) -> None:
    """The same additions with j innermost: all three arrays are read along their rows, and
    neighbouring j do not wait for each other, so the compiler puts 8 or 16 of them in a vector.
    Bound by memory now: for one multiplication a load of b, a load of out and a store.
    """
    N, K = a.shape
    out[:] = 0
    for i in range(N):
        for k in range(K):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


# --------------------------------------- rung 3: blocked for the cache, with a register tile
#
# A 4 × 4 tile: four rows of out take four steps of k at once. The 16 entries of a stay in
# registers for a whole row, and what is loaded (4 vectors of b, 4 of out) and stored (4 of out)
# now serves 16 multiplications instead of one.
#
# fastmath={"contract"} lets a*b + c become one fused multiply-add. That is twice the arithmetic
# per instruction and one rounding less; it reorders nothing. In every loop below an element of out
# is the same chain of fused additions over k = 0, 1, 2, …, so which tile or which edge it falls in
# does not change its bits.


@njit(cache=True, fastmath={"contract"})
def _add_product(a: Array, down: int, along: int, b: Array, out: Array) -> None:
    """out += a b, for a b small enough to stay in the second-level cache.

    `a` comes as memory, with a[i, k] at i · down + k · along: so the same compiled code reads a
    matrix and its transpose.

    Loops count from 0 on whole arrays: then the compiler sees that no index is negative and checks
    once, outside of the loops, that the arrays do not overlap. With offsets it is half as fast.
    """
    N, M = out.shape
    K = b.shape[0]
    for i in range(0, N - N % 4, 4):
        c0, c1, c2, c3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        for k in range(0, K - K % 4, 4):
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            p = i * down + k * along
            q, r, t = p + down, p + 2 * down, p + 3 * down
            a00, a01, a02, a03 = a[p], a[p + along], a[p + 2 * along], a[p + 3 * along]
            a10, a11, a12, a13 = a[q], a[q + along], a[q + 2 * along], a[q + 3 * along]
            a20, a21, a22, a23 = a[r], a[r + along], a[r + 2 * along], a[r + 3 * along]
            a30, a31, a32, a33 = a[t], a[t + along], a[t + 2 * along], a[t + 3 * along]
            for j in range(M):
                x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                c0[j] = c0[j] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                c1[j] = c1[j] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                c2[j] = c2[j] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                c3[j] = c3[j] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
        for k in range(K - K % 4, K):  # the last one to three steps
            b0 = b[k]
            p = i * down + k * along
            a00, a10, a20, a30 = a[p], a[p + down], a[p + 2 * down], a[p + 3 * down]
            for j in range(M):
                x0 = b0[j]
                c0[j] += a00 * x0
                c1[j] += a10 * x0
                c2[j] += a20 * x0
                c3[j] += a30 * x0
    for i in range(N - N % 4, N):  # the last one to three rows
        c0 = out[i]
        for k in range(0, K - K % 4, 4):
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            p = i * down + k * along
            a00, a01, a02, a03 = a[p], a[p + along], a[p + 2 * along], a[p + 3 * along]
            for j in range(M):
                c0[j] = c0[j] + a00 * b0[j] + a01 * b1[j] + a02 * b2[j] + a03 * b3[j]
        for k in range(K - K % 4, K):
            b0 = b[k]
            a00 = a[i * down + k * along]
            for j in range(M):
                c0[j] += a00 * b0[j]


_K_BLOCK = 128  # rows of b that are used by all rows of a before the next ones: 400 kB at M = 784


@njit(cache=True, fastmath={"contract"})
def blocked(
    a: Array, down: int, along: int, b: Array, bias: Array, out: Array, first: int, last: int
) -> None:
    """out[first:last] = a[first:last] b + bias. An empty `bias` is none.

    `a` as memory with its two steps, b and out with contiguous rows. What is still missing: with M
    a multiple of 1024 the eight rows in use fall into one set of the first-level cache and push
    each other out (half speed); packing b into panels would cure it.
    """
    K, M = b.shape
    for i in range(first, last):
        for j in range(M):
            out[i, j] = bias[j] if bias.size else out.dtype.type(0)
    for k in range(0, K, _K_BLOCK):
        part = a[first * down + k * along :]
        _add_product(part, down, along, b[k : k + _K_BLOCK], out[first:last])


# -------------------------------------------- rung 3, its twin: when b is stored transposed
#
# A linear layer keeps its weight as (M, K), so x weightᵀ is a table of dot products of rows. Here
# the vector runs along k, and the 4 × 4 tile holds 16 sums in registers that are stored only once.
#
# That splits each sum into one sum per vector lane, so it needs "reassoc", the permission to
# regroup a sum. The grouping is the compiler's, fixed when it compiles: equal inputs give equal
# bits, and error bounds only get better, 16 short sums instead of a long one.

_PANEL_BYTES = 1 << 19  # rows of the transposed b that stay in the second-level cache meanwhile


@njit(cache=True, fastmath={"contract", "reassoc"})
def blocked_transposed(a: Array, bt: Array, bias: Array, out: Array, first: int, last: int) -> None:
    """out[first:last] = a[first:last] btᵀ + bias, for bt (M, K). Both have contiguous rows.

    A last tile that would stick out is moved back inside: it computes a few elements twice, the
    same way, which is cheaper than loops for edges. The tile needs 4 rows and 4 columns.
    """
    K = a.shape[1]
    M = bt.shape[0]
    zero = out.dtype.type(0)
    if last - first < 4 or M < 4:
        for i in range(first, last):
            for j in range(M):
                total = zero
                for k in range(K):
                    total += a[i, k] * bt[j, k]
                out[i, j] = total
    else:
        panel = max(4, _PANEL_BYTES // (4 * max(1, K) * a.itemsize) * 4)
        for j_panel in range(0, M, panel):
            for i_tile in range(first, last, 4):
                i = min(i_tile, last - 4)
                a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
                for j_tile in range(j_panel, min(j_panel + panel, M), 4):
                    j = min(j_tile, M - 4)
                    b0, b1, b2, b3 = bt[j], bt[j + 1], bt[j + 2], bt[j + 3]
                    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
                    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
                    for k in range(K):
                        x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
                        y0, y1, y2, y3 = b0[k], b1[k], b2[k], b3[k]
                        s00 += x0 * y0
                        s01 += x0 * y1
                        s02 += x0 * y2
                        s03 += x0 * y3
                        s10 += x1 * y0
                        s11 += x1 * y1
                        s12 += x1 * y2
                        s13 += x1 * y3
                        s20 += x2 * y0
                        s21 += x2 * y1
                        s22 += x2 * y2
                        s23 += x2 * y3
                        s30 += x3 * y0
                        s31 += x3 * y1
                        s32 += x3 * y2
                        s33 += x3 * y3
                    c0, c1, c2, c3 = out[i], out[i + 1], out[i + 2], out[i + 3]
                    c0[j], c0[j + 1], c0[j + 2], c0[j + 3] = s00, s01, s02, s03
                    c1[j], c1[j + 1], c1[j + 2], c1[j + 3] = s10, s11, s12, s13
                    c2[j], c2[j + 1], c2[j + 2], c2[j + 3] = s20, s21, s22, s23
                    c3[j], c3[j + 1], c3[j + 2], c3[j + 3] = s30, s31, s32, s33
    if bias.size:
        for i in range(first, last):
            for j in range(M):
                out[i, j] += bias[j]


@njit(cache=True)
def blocked_each(
    a: Array,
    down: int,
    along: int,
    b: Array,
    rows_of_b: tuple[int, int],
    bias: Array,
    out: Array,
    rows_of_out: tuple[int, int],
) -> None:
    """For every n: some rows of out[n] = a times some rows of b[n], + bias, which here belongs to
    the rows. Rows from the first of a pair up to its second. An empty `bias` is none.
    """
    for n in range(b.shape[0]):
        source = b[n][rows_of_b[0] : rows_of_b[1]]
        result = out[n][rows_of_out[0] : rows_of_out[1]]
        for i in range(result.shape[0]):
            start = bias[i] if bias.size else out.dtype.type(0)
            for j in range(result.shape[1]):
                result[i, j] = start
        for k in range(0, source.shape[0], _K_BLOCK):
            _add_product(a[k * along :], down, along, source[k : k + _K_BLOCK], result)


@njit(cache=True)
def add_blocked_transposed_each(
    a: Array, bt: Array, first_of_a: int, partial: Array, out: Array
) -> None:
    """out (N, M) += Σ_n (N rows of a[n]) bt[n]ᵀ, one n after another. `partial` is as large."""
    N, M = out.shape
    for n in range(bt.shape[0]):
        source = a[n][first_of_a : first_of_a + N]
        blocked_transposed(source, bt[n], partial[0, :0], partial, 0, N)
        for i in range(N):
            for j in range(M):
                out[i, j] += partial[i, j]


# ------------------------------------------------------------------------------ rung 4: threads
#
# Each thread takes one run of rows of out, so an element has one thread and one order of addition,
# and its bits do not depend on how many threads there are.


@njit(cache=True, parallel=True)
def blocked_threads(
    a: Array,
    down: int,
    along: int,
    b: Array,
    bias: Array,
    out: Array,
    chunk: int,
    chunks: int,
) -> None:
    """`blocked`, with rows [t·chunk, (t+1)·chunk) to thread t; the last takes what remains."""
    for t in prange(chunks):
        last = out.shape[0] if t == chunks - 1 else (t + 1) * chunk
        blocked(a, down, along, b, bias, out, t * chunk, last)


@njit(cache=True, parallel=True)
def blocked_transposed_threads(
    a: Array, bt: Array, bias: Array, out: Array, chunk: int, chunks: int
) -> None:
    """`blocked_transposed`, divided in the same way."""
    for t in prange(chunks):
        last = out.shape[0] if t == chunks - 1 else (t + 1) * chunk
        blocked_transposed(a, bt, bias, out, t * chunk, last)


# -------------------------------------------------------------------------------- for the others

_NO_BIAS = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}
# Multiplications from which a product is divided among threads. A second thread is awake within
# 2 µs, and from 1 << 20 on it pays on a machine that is otherwise idle; but where anything else
# wants a core, the first thread waits for the second until the system runs it again, up to some
# milliseconds. Below this bound, 150 µs of work, that risk is more than the gain.
_THREADS_FROM = 1 << 23


def memory(a: Array) -> tuple[Array, int, int]:
    """A matrix as its memory, and the steps from a row and from a column to the next."""
    if a.flags.c_contiguous:
        return a.reshape(-1), a.shape[1], 1
    if a.flags.f_contiguous:
        return a.T.reshape(-1), 1, a.shape[0]
    return np.ascontiguousarray(a).reshape(-1), a.shape[1], 1


def multiply(a: Array, b: Array, out: Array, bias: Array | None = None) -> None:
    """out = a b + bias, on as many threads as it is worth. b contiguous; `a` may be a transpose."""
    if bias is None:
        bias = _NO_BIAS[out.dtype]
    n, m = out.shape
    flat, down, along = memory(a)
    if n * m * b.shape[0] >= _THREADS_FROM and (chunks := threads.enter(n)):
        try:
            blocked_threads(flat, down, along, b, bias, out, *chunks)
        finally:
            threads.leave()
    else:
        blocked(flat, down, along, b, bias, out, 0, n)


def multiply_transposed(a: Array, bt: Array, out: Array, bias: Array | None = None) -> None:
    """out = a btᵀ + bias, on as many threads as it is worth. Both contiguous."""
    if bias is None:
        bias = _NO_BIAS[out.dtype]
    n, m = out.shape
    if n * m * a.shape[1] >= _THREADS_FROM and (chunks := threads.enter(n)):
        try:
            blocked_transposed_threads(a, bt, bias, out, *chunks)
        finally:
            threads.leave()
    else:
        blocked_transposed(a, bt, bias, out, 0, n)


def contiguous(x: Array) -> Array:
    """x itself where its elements lie in order, else a copy in which they do."""
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def matmul_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out (N, M) = x (N, K) y (K, M)."""
    x, y = inputs
    if y.flags.f_contiguous and not y.flags.c_contiguous:  # the transpose of a stored matrix
        multiply_transposed(contiguous(x), y.T, outs[0])
    else:
        multiply(x, contiguous(y), outs[0])


def matmul_backward(
    dout: Array, inputs: tuple[Any, ...], outs: Any, grads: tuple[Any, ...], scratch: Any
) -> None:
    """dx = dout yᵀ, dy = xᵀ dout."""
    dx, dy = grads
    if dx is not None:
        multiply_transposed(dout, contiguous(inputs[1]), dx)
    if dy is not None:
        multiply(inputs[0].T, dout, dy)
