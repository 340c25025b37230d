"""Every compiled function is called through here, so that calls can be kept instead of made.

A face reads shapes, makes views and chooses loops; the work on the arrays' entries it leaves to
`call`. While `keeping()` is on, `call` notes function and arguments, and nothing runs: the list is
a plan's, which makes the same calls again and again with no face in between.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Call(NamedTuple):
    """function(*arguments); or of work that can be divided function(*arguments, first, last).

    Where it is worth it, `shares` are the portions (first, last) of several threads, and
    on_threads(*arguments, chunk, chunks) does them all.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    whole: tuple[int, ...] = ()
    shares: tuple[tuple[int, int], ...] = ()
    on_threads: Callable[..., Any] | None = None

    def make(self) -> None:
        """Make the call, from Python."""
        if self.on_threads is not None and self.shares:
            chunk = self.shares[0][1] - self.shares[0][0]
            self.on_threads(*self.arguments, chunk, len(self.shares))
        else:
            self.function(*self.arguments, *self.whole)


class _Kept(threading.local):
    calls: list[Call] | None = None
    on_threads = True
    alone = False  # whether calls are made on one thread, with all there would be


kept = _Kept()


def call(function: Callable[..., Any], *arguments: Any) -> None:
    """function(*arguments), now or, where calls are kept, later."""
    if kept.calls is None:
        function(*arguments)
    else:
        kept.calls.append(Call(function, arguments))


@contextlib.contextmanager
def keeping(on_threads: bool) -> Iterator[list[Call]]:
    """Within it calls are kept, in the list that it gives; divided among threads, or not."""
    before = kept.calls, kept.on_threads
    calls: list[Call] = []
    kept.calls, kept.on_threads = calls, on_threads
    try:
        yield calls
    finally:
        kept.calls, kept.on_threads = before


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it calls that are made are not divided among threads.

    A kernel on several threads is compiled by itself, and of some that takes seconds. What runs
    once, as a step that is recorded, does without: its replays divide the calls in another way.
    """
    before, kept.alone = kept.alone, True
    try:
        yield
    finally:
        kept.alone = before


def in_order(x: Array) -> Array:
    """x itself where its elements lie in order, else a copy in which they do."""
    if x.flags.c_contiguous:
        return x
    copy = np.empty(x.shape, x.dtype)
    call(np.copyto, copy, x)
    return copy


def flat(x: Array) -> Array:
    """The elements of x in one dimension: of a copy where they do not lie in order."""
    return x if x.ndim == 1 and x.flags.c_contiguous else in_order(x).reshape(-1)
