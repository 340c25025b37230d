"""The arena: one block of memory for everything that a step computes and nobody sees afterwards.

An array is needed from the first entry that writes it to the last that reads it. Arrays whose spans
do not overlap can have the same place. They are placed one after another, the largest first, each
at the lowest address where it overlaps none that is needed at the same time; so a step needs less
memory, and finds more of it in the cache.

Source: Pisarchyk and Lee 2020, Efficient memory management for deep neural net inference
(arXiv:2001.03288), greedy by size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.ops.spec import Array
from npmlp.plan.tape import Entry, owner

LINE = 64  # bytes: every array begins at a cache line


@dataclass
class Span:
    """Memory that is needed from one entry to another, both included."""

    size: int  # bytes
    first: int
    last: int
    at: int = 0


def place(spans: Iterable[Span]) -> int:
    """Give each span its `at`. Returns: the bytes that they need together."""
    placed: list[Span] = []
    total = 0
    for span in sorted(spans, key=lambda s: (-s.size, s.first)):
        at = 0
        for other in sorted(placed, key=lambda s: s.at):
            if other.first <= span.last and span.first <= other.last:  # both needed at some time
                if at + span.size <= other.at:
                    break
                at = max(at, other.at + other.size)
        span.at = at
        placed.append(span)
        total = max(total, at + span.size)
    return total


def block(size: int) -> Array:
    """Bytes that begin at a cache line."""
    memory = np.empty(size + LINE, np.uint8)
    return memory[-memory.__array_interface__["data"][0] % LINE :][:size]


def rounded(size: int) -> int:
    """The next multiple of a cache line."""
    return -(-max(size, 1) // LINE) * LINE


class Arena:
    """Where the arrays of a tape are, once it is a plan.

    Parameters: `entries`; `fixed`, ids of the memory that stays where it is, since it is older than
    the step or somebody sees it; `scratch`, for each entry the arrays that it needs to work, as
    (shape, dtype).
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        fixed: set[int],
        scratch: Sequence[Sequence[Any]],
    ) -> None:
        written = {id(owner(a)) for entry in entries for a in entry.writes()}
        movable = written - fixed
        spans: dict[int, Span] = {}
        for i, entry in enumerate(entries):
            for array in (*entry.writes(), *entry.reads()):
                own = owner(array)
                if id(own) in movable:
                    span = spans.setdefault(id(own), Span(rounded(own.nbytes), i, i))
                    span.last = i
        working = [
            [Span(rounded(int(np.prod(shape)) * dtype.itemsize), i, i) for shape, dtype in specs]
            for i, specs in enumerate(scratch)
        ]
        self.size = place([*spans.values(), *(span for each in working for span in each)])
        self.without_reuse = sum(s.size for s in (*spans.values(), *itertools.chain(*working)))
        self.memory = block(self.size)
        self._spans = spans
        self.scratch = [
            tuple(
                np.ndarray(shape, dtype, self.memory, span.at)
                for (shape, dtype), span in zip(specs, each, strict=True)
            )
            for specs, each in zip(scratch, working, strict=True)
        ]

    def __call__(self, array: Array) -> Array:
        """An array of the tape where the plan has it."""
        own = owner(array)
        if id(own) not in self._spans:
            return array
        return _moved(array, own, self.memory, self._spans[id(own)].at)


class Others:
    """Memory of a step that another step of the same replay has for itself.

    Parameters: `own`, the arrays whose memory that is.
    """

    def __init__(self, own: Iterable[Array]) -> None:
        self._memory = {id(array): block(rounded(array.nbytes)) for array in own}

    def __call__(self, array: Array) -> Array:
        """An array of the one step where the other has it."""
        own = owner(array)
        memory = self._memory.get(id(own))
        return array if memory is None else _moved(array, own, memory)


def _moved(array: Array, own: Array, memory: Array, at: int = 0) -> Array:
    """A view of `own` in other memory, where `own` begins at byte `at`."""
    at += _address(array) - _address(own)
    return np.ndarray(array.shape, array.dtype, memory, at, array.strides)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
