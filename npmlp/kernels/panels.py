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

That is all that the layers of small networks need. Where b does not stay in the second-level cache,
large.py comes in between.

a is read an entry at a time, so it may lie in any way: its transpose costs nothing.
Letters as in ladder.py: a (N, K), b (K, M), out (N, M).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit, prange
from npmlp.kernels.ladder import Array, Matrix, blocked, k_block, moved
from npmlp.kernels.scratch import SUM_BYTES
from npmlp.kernels.sums import dot_tile
from npmlp.kernels.tile import copy_strip, product_tile, transpose_tile
from npmlp.kernels.vectors import LINE, ROWS, VECTOR_BYTES, VECTORS, as_writable

# ------------------------------------------------------------------------------------- strips

ROWS_AT_ONCE = 240  # with 256 columns of a 240 kB, a quarter of a second-level cache


def _strip(vectors: int) -> Any:
    """Compile the product for a strip of so many vectors of columns."""
    rows = ROWS if vectors > 1 else 2 * ROWS  # taller, where there are registers left
    half = rows // 2

    @njit(cache=True)
    def strip(
        a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
    ) -> None:
        for i in range(0, N, rows):
            left = N - i
            p, s, o = a.at + i * a.down, start.at + i * start.down, out.at + i * out.down
            if left > half:
                product_tile(  # type: ignore[call-arg]
                    rows, vectors, left, M, K, a.memory, p, a.down, a.along, b.memory, b.at, b.down,
                    None, start.memory, s, start.down, floor, out.memory, o, out.down, None, None,
                    None,
                )  # fmt: skip
            else:
                product_tile(  # type: ignore[call-arg]
                    half, vectors, left, M, K, a.memory, p, a.down, a.along, b.memory, b.at, b.down,
                    None, start.memory, s, start.down, floor, out.memory, o, out.down, None, None,
                    None,
                )  # fmt: skip

    return strip


_strip_1, _strip_2, _strip_3 = _strip(1), _strip(2), _strip(3)


@njit()
def _whole_strip_that_asks(
    a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int,
    ask: Matrix, count: int,
) -> None:  # fmt: skip
    """The same of all VECTORS, with `count` elements of ask's memory fetched meanwhile."""
    line = LINE // out.memory.itemsize
    ask_at = ask.at
    for i in range(0, N, ROWS):
        p, s, o = a.at + i * a.down, start.at + i * start.down, out.at + i * out.down
        step = line if count > 0 else 0
        product_tile(  # type: ignore[call-arg]
            ROWS, VECTORS, N - i, M, K, a.memory, p, a.down, a.along, b.memory, b.at, b.down, None,
            start.memory, s, start.down, floor, out.memory, o, out.down, ask.memory, ask_at, step,
        )  # fmt: skip
        ask_at, count = ask_at + K * step, count - K * line


@njit(cache=True)
def strip_width(columns: int, lanes: int) -> int:
    """Columns of the next strip, whole vectors and as even as can be: of 7 vectors 3, then 2, 2."""
    vectors = -(-columns // lanes)
    strips = max(1, -(-vectors // VECTORS))
    return -(-vectors // strips) * lanes


@njit(cache=True)
def _writable(matrix: Matrix) -> Matrix:
    memory: Any = as_writable(matrix.memory)  # type: ignore[call-arg]
    return Matrix(memory, matrix.at, matrix.down, matrix.along)


@njit(cache=True)
def tiled(
    a: Matrix, b: Matrix, packed: bool, start: Matrix, floor: Any, out: Matrix,
    N: int, K: int, M: int,
) -> None:  # fmt: skip
    """out (N, M) = max(floor, start + a (N, K) b (K, M)); along is 1 for all but a.

    start may be out itself. A floor of -∞ is none.

    Where b is packed, its memory is one strip after the other: that of column j begins at j · K,
    and its rows are as long as it is wide.

    Some rows after others, and for these one block of k after another: so the strip of b stays in
    the first-level cache while tiles pass over it, and the rows of a and of out in the second while
    strips do. Tiles of two vectors (AVX2) are done with a row of b so soon that rows far apart, or
    across two cache lines, would hold them up: there the strip is copied first, if it is worth it.
    A b of many rows comes from further away, and a transposed a beside it; so tiles of one block
    of k ask for what the block after the next will read.
    """
    a, b = _writable(a), _writable(b)  # what is read is now a's, now b's, now a copy
    lanes = VECTOR_BYTES // out.memory.itemsize
    block = k_block(K)
    copies = VECTORS == 2 and not packed and N >= 4 * ROWS
    strip = np.empty(2 * lanes * block if copies else 0, out.memory.dtype)
    for i in range(0, N, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, N - i)
        for k in range(0, max(K, 1), block):
            steps = min(block, K - k)
            ak, from_ = moved(a, i, k), start if k == 0 else out
            least = floor if k + steps >= K else out.memory.dtype.type(-np.inf)
            # elements of b, and then of a, in the block after the next: to be asked for, and so far
            later = max(0, min(block, K - k - 2 * steps)) if i == 0 else 0
            ask_b, ask_a = 0 if packed else later * b.down, later * a.along if a.down == 1 else 0
            asked = 0
            j = 0
            while j < M:
                width = strip_width(M - j, lanes)
                at = b.at + j * K + k * width
                bj = Matrix(b.memory, at, width, 1) if packed else moved(b, k, j)
                sj, oj, columns = moved(from_, i, j), moved(out, i, j), min(width, M - j)
                if copies and width == 2 * lanes:
                    copy_strip(2, b.memory, bj.at, bj.down, steps, columns, strip)  # type: ignore[call-arg]
                    bj = Matrix(strip, 0, width, 1)
                if width == VECTORS * lanes and asked < ask_b + ask_a:
                    if asked < ask_b:
                        ask, left = moved(b, k + 2 * steps, asked), ask_b - asked
                    else:
                        ask = moved(a, asked - ask_b, k + 2 * steps)
                        left = ask_b + ask_a - asked
                    _whole_strip_that_asks(ak, bj, sj, least, oj, rows, steps, columns, ask, left)
                    asked += -(-rows // ROWS) * steps * (LINE // out.memory.itemsize)
                elif width == 3 * lanes:
                    _strip_3(ak, bj, sj, least, oj, rows, steps, columns)
                elif width == 2 * lanes:
                    _strip_2(ak, bj, sj, least, oj, rows, steps, columns)
                else:
                    _strip_1(ak, bj, sj, least, oj, rows, steps, columns)
                j += width


@njit(cache=True)
def _portable(
    a: Matrix, b: Matrix, packed: bool, start: Matrix, floor: Any, out: Matrix,
    N: int, K: int, M: int,
) -> None:  # fmt: skip
    """The same on rung 3, for which all of b is one strip."""
    blocked(a, Matrix(b.memory, b.at, M, 1) if packed else b, start, floor, out, N, K, M)


@njit(cache=True)
def blocked_either_way(
    a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
) -> None:
    """Rung 3, which reads b along its rows: a b that lies the other way is turned around first."""
    if b.along == 1:
        blocked(a, b, start, floor, out, N, K, M)
    else:
        turned = np.empty(K * M, out.memory.dtype)
        _pack_plainly(b, K, M, turned, 0, K)
        blocked(a, Matrix(turned, 0, M, 1), start, floor, out, N, K, M)


product = tiled if VECTOR_BYTES else _portable
"""The product as this processor computes it: rung 4, or rung 3 where there is no tile for it."""


# ---------------------------------------------------------------------------------- dot products
#
# b the other way around need not be turned where its rows are long: out[i, j] is the dot product of
# a row of a and a row of b, and both are read as they lie, a vector at a time. What it costs is to
# add up the lanes of each sum at the end. For few rows of a that is less than turning b.

_DOT_ROWS, DOT_COLUMNS = (8, 3) if VECTOR_BYTES == SUM_BYTES else (4, 3)  # sums in registers


_DOT_ROW_BYTES, _DOT_COLUMN_BYTES = 24 << 10, 256 << 10  # of the smallest caches, with room beside
_FEW_ROWS, _MORE_COLUMNS = (6, 4) if VECTOR_BYTES == SUM_BYTES else (2, 6)  # for six rows or less


def _dots_by(rows: int, columns: int) -> Any:
    """Compile the product by tiles of so many sums."""

    @njit(cache=True)
    def dots(
        a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
    ) -> None:
        # Columns of b that stay in the second-level cache; and of those that they meet, a few rows
        # of a that stay in the first.
        row = K * out.memory.itemsize
        few_columns = max(columns, _DOT_COLUMN_BYTES // row // columns * columns)
        few_rows = max(rows, _DOT_ROW_BYTES // row // rows * rows)
        for j_first in range(0, M, few_columns):
            for i_first in range(0, N, few_rows):
                for j in range(j_first, min(j_first + few_columns, M), columns):
                    for i in range(i_first, min(i_first + few_rows, N), rows):
                        dot_tile(  # type: ignore[call-arg]
                            rows, columns, N - i, M - j, K, a.memory, a.at + i * a.down, a.down,
                            b.memory, b.at + j * b.along, b.along, start.memory, start.at + j,
                            floor, out.memory, out.at + i * out.down + j, out.down,
                        )  # fmt: skip

    return dots


_dots_of_many = _dots_by(_DOT_ROWS, DOT_COLUMNS)
_dots_of_few = _dots_by(_FEW_ROWS, _MORE_COLUMNS)


@njit(cache=True)
def _dots(
    a: Matrix, b: Matrix, start: Matrix, floor: Any, out: Matrix, N: int, K: int, M: int
) -> None:
    """out (N, M) = max(floor, start + a (N, K) b (K, M)); a.along and b.down are 1."""
    if N <= _FEW_ROWS:
        _dots_of_few(a, b, start, floor, out, N, K, M)
    else:
        _dots_of_many(a, b, start, floor, out, N, K, M)


dots = _dots if VECTOR_BYTES else blocked_either_way


# ------------------------------------------------------------------------------------- packing


@njit(cache=True)
def turn(a: Matrix, rows: int, columns: int, out: Array, at: int, down: int) -> None:
    """out[k, j] = a[j, k] for j < rows, k < columns, out[k, j] being at + k · down + j.

    a.along is 1. Whole tiles alone are written: of each row of out as many vectors as cover rows,
    so down is at least that wide.
    """
    lanes = VECTOR_BYTES // out.itemsize
    for j in range(0, rows, lanes):
        last, row = min(lanes, rows - j) - 1, a.at + j * a.down
        if columns < lanes:
            for k in range(columns):
                for r in range(last + 1):
                    out[at + k * down + j + r] = a.memory[row + r * a.down + k]
        else:
            for k_tile in range(0, columns, lanes):
                k = min(k_tile, columns - lanes)  # the last one back inside: some are moved twice
                to = at + k * down + j
                transpose_tile(a.memory, row + k, a.down, last, out, to, down)  # type: ignore[call-arg]


@njit(cache=True)
def pack(b: Matrix, K: int, M: int, panels: Array, first: int, last: int) -> None:
    """Lay b (K, M) down as panels, strip after strip, rows first … last of it; along or down is 1.

    Those of one strip begin at j · K, j being its first column.
    """
    lanes = VECTOR_BYTES // panels.itemsize
    j = 0
    while j < M:
        width = strip_width(M - j, lanes)
        columns, to = min(width, M - j), j * K + first * width
        if b.along == 1:
            for k in range(first, last):
                start = b.at + k * b.down + j
                row, place = b.memory[start : start + columns], panels[to : to + columns]
                for c in range(columns):
                    place[c] = row[c]
                to += width
        else:
            at = b.at + j * b.along + first * b.down
            turn(Matrix(b.memory, at, b.along, 1), columns, last - first, panels, to, width)
        j += width


@njit(cache=True)
def _pack_plainly(b: Matrix, K: int, M: int, panels: Array, first: int, last: int) -> None:
    """One panel for rung 3, sixteen columns at a time: a cache line of each row."""
    for j_tile in range(0, M, 16):
        for k in range(first, last):
            for j in range(j_tile, min(j_tile + 16, M)):
                panels[k * M + j] = b.memory[b.at + k * b.down + j * b.along]


_pack = pack if VECTOR_BYTES else _pack_plainly


@njit(cache=True)
def pack_rows(
    memory: Array, at: int, down: int, along: int, K: int, M: int, panels: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Lay down b, Matrix(memory, at, down, along), for a product with packed=True: rows first …
    last of it.
    """
    _pack(Matrix(memory, at, down, along), K, M, panels, first, last)


@njit(cache=True, parallel=True)
def pack_all_rows(
    memory: Array, at: int, down: int, along: int, K: int, M: int, panels: Array,
    chunk: int, chunks: int,
) -> None:  # fmt: skip
    """The same for all rows, a chunk of them to a thread."""
    for t in prange(chunks):
        pack_rows(memory, at, down, along, K, M, panels, t * chunk, min(K, (t + 1) * chunk))
