"""Rung 5 of the matmul ladder: matrices that no cache holds, cut to fit each of them.

Without cuts a strip of b is read from memory for every pass over the rows of a, and rows of a that
lie a power of two apart push each other out of the cache. So

- b is cut into blocks of up to 256 rows and 960 columns, 1 MB, laid down as panels: this block
  stays in the second-level cache, its strip of 48 columns in the first;
- a is cut into blocks of 240 rows, copied so that they lie close together, 240 kB, and read past
  the strips of the panel;
- processors that have no AVX-512 mostly have half a megabyte there: then it is the rows of a that
  stay in it, 144 of them, and b's block, of up to 2064 columns, comes from the third level;
- the tile is the one of panels.py, and the blocks of k are those that all rungs have, so the bits
  are the same.

Copying takes one move for some hundred multiplications. Source: Goto and van de Geijn 2008, Anatomy
of high-performance matrix multiplication (ACM TOMS 34), section 4.
Letters as in ladder.py: a (N, K), b (K, M), out (N, M).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit
from npmlp.kernels.ladder import Array, Matrix, k_block, moved
from npmlp.kernels.panels import blocked_either_way, pack, tiled, turn
from npmlp.kernels.vectors import MANY_REGISTERS, VECTOR_BYTES

STRIP_BYTES = 192
STRIPS_AT_ONCE, ROWS_AT_ONCE = (20, 240) if MANY_REGISTERS else (43, 144)


@njit(cache=True)
def _copy_rows(a: Matrix, rows: int, columns: int, out: Array, down: int) -> None:
    """out[r · down + k] = a[r, k]."""
    lanes = VECTOR_BYTES // out.itemsize
    if a.along == 1:
        for r in range(rows):
            first = a.at + r * a.down
            row, place = a.memory[first : first + columns], out[r * down : r * down + columns]
            for k in range(columns):
                place[k] = row[k]
    elif a.down == 1 and rows >= lanes:
        turn(Matrix(a.memory, a.at, a.along, 1), columns, rows, out, 0, down)
    else:
        for r in range(rows):
            for k in range(columns):
                out[r * down + k] = a.memory[a.at + r * a.down + k * a.along]


@njit(cache=True)
def _cut(
    a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
) -> None:
    """out (N, M) = max(floor, start + a (N, K) b (K, M)). start may be out itself."""
    itemsize = out.memory.itemsize
    lanes, block = VECTOR_BYTES // itemsize, k_block(K)
    across = STRIPS_AT_ONCE * (STRIP_BYTES // itemsize)
    down = -(-block // lanes) * lanes
    # a megabyte for a product that moves many: not worth a place among an operation's arrays
    panels = np.empty(block * (min(M, across) + lanes), out.memory.dtype)
    rows = np.empty(min(N, ROWS_AT_ONCE) * down + lanes, out.memory.dtype)
    for j in range(0, M, across):
        columns = min(across, M - j)
        for k in range(0, max(K, 1), block):
            steps = min(block, K - k)
            pack(moved(b, k, j), steps, columns, panels, 0, steps)
            from_ = start if k == 0 else out
            least = floor if k + steps >= K else out.memory.dtype.type(-np.inf)
            for i in range(0, N, ROWS_AT_ONCE):
                n = min(ROWS_AT_ONCE, N - i)
                _copy_rows(moved(a, i, k), n, steps, rows, down)
                tiled(
                    Matrix(rows, 0, down, 1), Matrix(panels, 0, 0, 1), True,
                    moved(from_, i, j), least, moved(out, i, j), n, steps, columns,
                )  # fmt: skip


large_product = _cut if VECTOR_BYTES else blocked_either_way
"""The product of large matrices as this processor computes it: rung 5, or rung 3."""
