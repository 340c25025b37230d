"""Tables: arrays by their addresses, so that one compiled call walks over any number of them.

Numba takes a fixed number of arguments of fixed types and checks each at every call. A table is one
argument, whatever it leads to: a row of int64 for each parameter,

    entries in each of its arrays, its row of `rates`, address of param, of grad, of each buffer

with 0 for a buffer that is absent, as it then is in all rows. `rates` (float64) has the numbers of
a step, a row for each set of them that some parameter has.

An address keeps nothing alive: whoever makes a table holds the arrays for as long as it is used.
"""

from __future__ import annotations

import ctypes
import itertools
from array import array
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LENGTH, RATES, PARAM, GRAD = range(4)  # the first columns

_from_buffer: Any = (ctypes.c_char * 0).from_buffer
_addressof = ctypes.addressof


def place_of(a: Array, dtype: np.dtype[Any]) -> int:
    """The address of an array that a table can have: of this dtype, writable, its entries in order.
    0 for another.
    """
    if a.dtype is not dtype and a.dtype != dtype:
        return 0
    try:  # a quarter of the time of a.ctypes.data and of a.__array_interface__
        address = _addressof(_from_buffer(a))
    except TypeError:
        return 0
    return 0 if address % dtype.itemsize else address


def address_of(a: Array) -> int:
    """Where an array begins in memory."""
    try:
        return _addressof(_from_buffer(a))
    except TypeError:  # not writable, or not in order
        return int(a.__array_interface__["data"][0])


# The dtypes that have kernels, and what tells compiled code which one it is.
LIKE = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}

# Entries, of all parameters together, from which threads take a part each: Adam needs 0.6 to 0.7 ns
# for one, so 150 µs or more. Measured with two free cores and Adam: 1.8 times as fast at 170,000
# entries, twice at a million; from four million on, where the memory is the limit, up to 1.3 times.
_THREADS_FROM = 1 << 18


class Table:
    """Rows of parameters of one dtype that have the same buffers.

    Parameters
    ----------
    lines : what the rows hold
    dtype : float32 or float64
    kept : for each buffer, whether the rows have it
    """

    def __init__(
        self, lines: list[list[int]], dtype: np.dtype[Any], kept: tuple[bool, ...]
    ) -> None:
        self._columns = len(lines[0])
        self._cells = array("q", itertools.chain.from_iterable(lines))
        self.rows = np.frombuffer(self._cells, np.int64).reshape(-1, self._columns)
        self.kept, self.like = kept, LIKE[dtype]
        self._parts: Array | None = None  # the latest, while the rows stay as they are
        self._parts_of: Any = None
        self.entries = sum(line[LENGTH] for line in lines)
        self.overlaps = self._overlaps()

    def write(self, row: int, column: int, value: int) -> None:
        """Change one number; by way of `rows` it takes three times as long."""
        self._cells[row * self._columns + column] = value

    def _overlaps(self) -> bool:
        """Whether parameters share memory, so that one must be updated after the other."""
        begins = self.rows[:, PARAM]
        ends = begins + self.rows[:, LENGTH] * self.like.itemsize
        order = begins.argsort()
        return bool((begins[order][1:] < ends[order][:-1]).any())

    def parts(self, count: int) -> Array:
        """`count` tables (count, parameters, columns), each with a part of every array. Parts meet
        at multiples of 64 entries, so that two threads seldom write to one cache line.
        """
        if count == 1:
            return self.rows[None]
        if self._parts is not None and self._parts_of == (count, self._cells):
            return self._parts
        lengths = self.rows[:, LENGTH]
        ends = (
            lengths * np.arange(count + 1)[:, None] // count // 64 * 64
        )  # (count + 1, parameters)
        ends[-1] = lengths
        parts = np.repeat(self.rows[None], count, axis=0)
        parts[:, :, LENGTH] = ends[1:] - ends[:-1]
        parts[:, :, PARAM:] += ends[:-1, :, None] * self.like.itemsize
        self._parts, self._parts_of = parts, (count, self._cells[:])
        return parts


def walk(loop: Any, loop_on_threads: Any, table: Table, *arguments: Any) -> None:
    """loop(parts, …, first, last) for the table as a whole or, where that pays, in a part for each
    thread. No entry depends on another, so both give the same bits.
    """
    from npmlp.kernels import threads  # and with it Numba

    count = 1 if table.overlaps else threads.how_many(table.entries, _THREADS_FROM)
    threads.call_on_threads(
        loop, loop_on_threads, (table.parts(count), *arguments), count, 1, table.entries,
        _THREADS_FROM,
    )  # fmt: skip
