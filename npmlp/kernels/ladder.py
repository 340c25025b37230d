"""The first rungs of the matmul ladder: out = a b, from three loops to blocks for the cache.

Read it from the top: each rung is the same sum in another order, and the rung below is its oracle.
panels.py goes on from here, and matmul.py is what the rest of npmlp calls.
Letters: a (N, K), b (K, M), out (N, M); i, k, j are their indices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels.cache import njit

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
# is made in one way, which the next rung keeps, so that its bits are the same whichever tile or
# edge it falls in: K is cut into equal blocks, each block's products are one chain of fused
# additions that begins at 0, and the blocks' sums are added to out one after the other.
#
# One chain over all of K would be simpler and worse: the rounding of a sum grows with its length.


class Matrix(NamedTuple):
    """A matrix somewhere in memory: its entry (r, c) is at `at` + r · down + c · along.

    So a matrix, its transpose and a part of it are read by the same compiled code.
    """

    memory: Array
    at: int
    down: int
    along: int


@njit(cache=True, fastmath={"contract"})
def _add_product(a: Matrix, b: Matrix, out: Matrix, N: int, K: int, M: int) -> None:
    """out += a b, for a b small enough to stay in the second-level cache.

    Rows of b and out are slices that loops count through from 0: then the compiler sees that no
    index is negative and checks once, outside of the loops, that the rows do not overlap.
    """
    memory, at, down, along = a
    for i in range(0, N - N % 4, 4):
        c0, c1, c2, c3 = (_row(out, i, M), _row(out, i + 1, M),
                          _row(out, i + 2, M), _row(out, i + 3, M))  # fmt: skip
        for k in range(0, K - K % 4, 4):
            b0, b1, b2, b3 = (_row(b, k, M), _row(b, k + 1, M),
                              _row(b, k + 2, M), _row(b, k + 3, M))  # fmt: skip
            p = at + i * down + k * along
            q, r, t = p + down, p + 2 * down, p + 3 * down
            a00, a01, a02, a03 = (memory[p], memory[p + along],
                                  memory[p + 2 * along], memory[p + 3 * along])  # fmt: skip
            a10, a11, a12, a13 = (memory[q], memory[q + along],
                                  memory[q + 2 * along], memory[q + 3 * along])  # fmt: skip
            a20, a21, a22, a23 = (memory[r], memory[r + along],
                                  memory[r + 2 * along], memory[r + 3 * along])  # fmt: skip
            a30, a31, a32, a33 = (memory[t], memory[t + along],
                                  memory[t + 2 * along], memory[t + 3 * along])  # fmt: skip
            for j in range(M):
                x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                c0[j] = c0[j] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                c1[j] = c1[j] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                c2[j] = c2[j] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                c3[j] = c3[j] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
        for k in range(K - K % 4, K):  # the last one to three steps
            b0 = _row(b, k, M)
            p = at + i * down + k * along
            a00, a10 = memory[p], memory[p + down]
            a20, a30 = memory[p + 2 * down], memory[p + 3 * down]
            for j in range(M):
                x0 = b0[j]
                c0[j] += a00 * x0
                c1[j] += a10 * x0
                c2[j] += a20 * x0
                c3[j] += a30 * x0
    for i in range(N - N % 4, N):  # the last one to three rows
        c0 = _row(out, i, M)
        for k in range(K):
            b0 = _row(b, k, M)
            a00 = memory[at + i * down + k * along]
            for j in range(M):
                c0[j] += a00 * b0[j]


@njit(cache=True)
def _row(matrix: Matrix, r: int, columns: int) -> Array:
    """The first columns of a row, as an array."""
    first = matrix.at + r * matrix.down
    return matrix.memory[first : first + columns]


@njit(cache=True)
def moved(matrix: Matrix, rows: int, columns: int) -> Matrix:
    """The part of a matrix that begins so many rows and columns further on."""
    at = matrix.at + rows * matrix.down + columns * matrix.along
    return Matrix(matrix.memory, at, matrix.down, matrix.along)


_LONGEST = 256  # a block of b this long and 48 columns wide just fits the first-level cache


@njit(cache=True)
def k_block(K: int) -> int:
    """The length of the blocks that a sum over K is cut into: as few as can be, and equal."""
    blocks = max(1, -(-K // _LONGEST))
    return max(1, -(-K // blocks))


@njit(cache=True)
def blocked(
    a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
) -> None:
    """out (N, M) = max(floor, start + a (N, K) b (K, M)); along is 1 for all but a.

    start may be out itself. A floor of -∞ is none.

    What is still missing: a partial sum is loaded and stored for every four steps of k, and with M
    a multiple of 1024 the eight rows in use fall into one set of the first-level cache, where they
    push each other out.
    """
    partial = np.empty(4 * M, out.memory.dtype)
    sums = Matrix(partial, 0, M, 1)
    for i in range(N):
        to, of = _row(out, i, M), _row(start, i, M)
        for j in range(M):
            to[j] = of[j]
    block = k_block(K)
    for k in range(0, K, block):
        for i in range(0, N, 4):
            rows = min(4, N - i)
            partial[:] = 0
            _add_product(moved(a, i, k), moved(b, k, 0), sums, rows, min(block, K - k), M)
            for r in range(rows):
                to, of = _row(out, i + r, M), _row(sums, r, M)
                for j in range(M):
                    to[j] += of[j]
    for i in range(N):
        to = _row(out, i, M)
        for j in range(M):
            to[j] = floor if to[j] <= floor else to[j]
