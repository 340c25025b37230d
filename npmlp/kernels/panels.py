"""Rung 4 of the matmul ladder: packed panels and a register tile, within sight of the processor's
limit.

tile.py has 8 rows by 3 vectors of out that stay in registers while k runs. Here such tiles are laid
over out: strips of up to 3 vectors of columns, and in each strip tile below tile. All tiles of a
strip read the same columns of b, so these should lie close together:

- b as stored, (K, M): of each row a strip takes 192 bytes, and some hundred rows of it stay in the
  first two levels of the cache as they are. Nothing is copied.
- b the other way around, (M, K), as a linear layer keeps its weight: there the columns lie far
  apart, so the weight is turned around first, 16 × 16 entries at a time in registers, and laid down
  as panels: strip after strip, each (K, its columns). M · K moves for N · M · K multiplications.

a is read an entry at a time, so it may lie in any way: its transpose costs nothing.
Letters as in ladder.py: a (N, K), b (K, M), out (N, M).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from npmlp.kernels.ladder import Array, Matrix, blocked, moved
from npmlp.kernels.tile import ROWS, VECTOR_BYTES, VECTORS, product_tile, transpose_tile

# ------------------------------------------------------------------------------------- strips


def _strip(vectors: int) -> Any:
    """Compile the product for a strip of so many vectors of columns."""
    rows = ROWS if vectors > 1 else 2 * ROWS  # taller, where there are registers left
    half = rows // 2

    @njit(cache=True)
    def strip(a: Matrix, b: Matrix, start: Matrix, out: Matrix, N: int, K: int, M: int) -> None:
        in_a, down, along = a.memory, a.down, a.along
        for i in range(0, N, rows):
            left = N - i
            p, s, o = a.at + i * down, start.at + i * start.down, out.at + i * out.down
            if left > half:
                product_tile(  # type: ignore[call-arg]
                    rows, vectors, left, M, K, in_a, p, down, along, b.memory, b.at, b.down,
                    start.memory, s, start.down, out.memory, o, out.down,
                )  # fmt: skip
            else:
                product_tile(  # type: ignore[call-arg]
                    half, vectors, left, M, K, in_a, p, down, along, b.memory, b.at, b.down,
                    start.memory, s, start.down, out.memory, o, out.down,
                )  # fmt: skip

    return strip


_strip_1, _strip_2, _strip_3 = _strip(1), _strip(2), _strip(3)


@njit(cache=True)
def strip_width(columns: int, lanes: int) -> int:
    """Columns of the next strip, whole vectors and as even as can be: of 7 vectors 3, then 2, 2."""
    vectors = -(-columns // lanes)
    strips = max(1, -(-vectors // VECTORS))
    return -(-vectors // strips) * lanes


@njit(cache=True)
def _tiled(
    a: Matrix, b: Matrix, packed: bool, start: Matrix, out: Matrix, N: int, K: int, M: int
) -> None:
    """out (N, M) = start + a (N, K) b (K, M); along is 1 for all but a. start may be out itself.

    Where b is packed, its memory is one strip after the other: that of column j begins at j · K,
    and its rows are as long as it is wide.
    """
    lanes = VECTOR_BYTES // out.memory.itemsize
    j = 0
    while j < M:
        width = strip_width(M - j, lanes)
        bj = Matrix(b.memory, b.at + j * K, width, 1) if packed else moved(b, 0, j)
        sj, oj, columns = moved(start, 0, j), moved(out, 0, j), min(width, M - j)
        if width == 3 * lanes:
            _strip_3(a, bj, sj, oj, N, K, columns)
        elif width == 2 * lanes:
            _strip_2(a, bj, sj, oj, N, K, columns)
        else:
            _strip_1(a, bj, sj, oj, N, K, columns)
        j += width


@njit(cache=True)
def _portable(
    a: Matrix, b: Matrix, packed: bool, start: Matrix, out: Matrix, N: int, K: int, M: int
) -> None:
    """The same on rung 3, for which all of b is one strip."""
    blocked(a, Matrix(b.memory, b.at, M, 1) if packed else b, start, out, N, K, M)


product = _tiled if VECTOR_BYTES else _portable
"""The product as this processor computes it: rung 4, or rung 3 where there is no tile for it."""


# ------------------------------------------------------------------------------------- packing


@njit(cache=True)
def _transposed_tiles(bt: Array, panels: Array) -> None:
    M, K = bt.shape
    lanes = VECTOR_BYTES // bt.itemsize
    memory = bt.reshape(-1)
    j = 0
    while j < M:
        width = strip_width(M - j, lanes)
        for v in range(j, min(j + width, M), lanes):
            last = min(lanes, M - v) - 1
            to = j * K + v - j
            if lanes <= K:
                for k_tile in range(0, K, lanes):
                    k = min(k_tile, K - lanes)  # the last one back inside: some are moved twice
                    at = v * K + k
                    transpose_tile(  # type: ignore[call-arg]
                        memory, at, K, last, panels, to + k * width, width
                    )
            else:
                for k in range(K):
                    for r in range(last + 1):
                        panels[to + k * width + r] = bt[v + r, k]
        j += width


@njit(cache=True)
def _transposed_plainly(bt: Array, panels: Array) -> None:
    """One panel for rung 3, sixteen columns at a time: a cache line of each row."""
    M, K = bt.shape
    for j_tile in range(0, M, 16):
        for k in range(K):
            for j in range(j_tile, min(j_tile + 16, M)):
                panels[k * M + j] = bt[j, k]


pack_transposed = _transposed_tiles if VECTOR_BYTES else _transposed_plainly
"""(bt, panels): lay down the transpose of bt (M, K) as panels, for a product with packed=True."""
