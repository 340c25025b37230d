"""Threads for kernels: how many, in which portions, and who may start them now.

Numba's threads must not be started from two Python threads at once, nor in a forked child: there
the kernel runs on the calling thread alone, to the same bits.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from npmlp.kernels.cache import numba
from npmlp.kernels.calls import Call, kept

_one_at_a_time = threading.Lock()
_state: dict[str, Any] = {"usable": True, "layer": None, "taken_by": None}


def _after_fork() -> None:
    _state["usable"] = False


if hasattr(os, "register_at_fork"):  # the threads of the parent do not exist in the child
    os.register_at_fork(after_in_child=_after_fork)


def _load() -> None:
    """Have Numba load the library that runs its threads, and tell that how long to wait.

    A thread that waits for others asks again and again before it gives its core to the system;
    GNU's OpenMP, as it comes, asks for milliseconds. Beside another program each wait may last that
    long: a step of residual took 10 to 150 ms instead of 2. To ask a thousand times bridges what
    one thread does alone between two kernels.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        numba.get_num_threads()
        return
    os.environ["GOMP_SPINCOUNT"] = "10000"
    try:
        numba.get_num_threads()
    finally:
        del os.environ["GOMP_SPINCOUNT"]  # other libraries and programs have their own


_load()


def portions(size: int, count: int, unit: int) -> tuple[int, int]:
    """(size of a portion, portions) of `size` rows or columns for `count` threads.

    Portions are multiples of `unit`, such as the rows of a tile, but for the last.
    """
    chunk = max(1, -(-size // (unit * count))) * unit
    return chunk, -(-size // chunk)


# Times less work is divided in a plan, whose threads are at work already (program.py).
_PLANS_DIVIDE_FROM = 32


def call_on_threads(
    part: Callable[..., Any],
    parts: Callable[..., Any] | None,
    arguments: tuple[Any, ...],
    size: int,
    unit: int,
    work: int,
    least: int,
) -> None:
    """part(*arguments, 0, size), or where that pays parts(*arguments, chunk, chunks).

    `part` computes [first, last) of `size` things, `parts` computes chunk after chunk of them on as
    many threads; a chunk begins at a multiple of `unit`. It pays from `least` of some measure of
    work on, of which there is `work` to do. While others are using the threads, the calling thread
    does it alone.
    """
    if kept.calls is not None:  # whoever makes these calls takes the threads for all of them
        shares: tuple[tuple[int, int], ...] = ()
        if kept.on_threads and work * _PLANS_DIVIDE_FROM >= least:
            shares = _shares(size, unit)
        kept.calls.append(
            Call(part, arguments, (0, size), shares, parts if work >= least else None)
        )
        return
    divides = parts is not None and work >= least and not kept.alone
    divided = _divided(size, unit) if divides else None
    if divided is not None:
        assert parts is not None
        with borrowed() as count:
            if count > 1:
                parts(*arguments, *divided)
                return
    part(*arguments, 0, size)


def how_many(work: int, least: int) -> int:
    """Among how many threads `call_on_threads` would divide so much work."""
    least = least if kept.calls is None else least // _PLANS_DIVIDE_FROM
    allowed = _state["usable"] and (not kept.alone if kept.calls is None else kept.on_threads)
    return int(numba.get_num_threads()) if allowed and work >= least else 1


def _shares(size: int, unit: int) -> tuple[tuple[int, int], ...]:
    """(first, last) of each portion, or none where there would be but one."""
    divided = _divided(size, unit)
    if divided is None:
        return ()
    chunk, chunks = divided
    return tuple((t * chunk, min(size, (t + 1) * chunk)) for t in range(chunks))


def _divided(size: int, unit: int) -> tuple[int, int] | None:
    if not _state["usable"]:
        return None
    count = numba.get_num_threads()
    if count == 1:
        return None
    chunk, chunks = portions(size, count, unit)
    return (chunk, chunks) if chunks > 1 else None


def take() -> bool:
    """Ask for the threads. After a yes, and only then, call `give_back()`."""
    if not _state["usable"] or not _one_at_a_time.acquire(blocking=False):
        return False
    _state["taken_by"] = threading.get_ident()
    return True


@contextlib.contextmanager
def borrowed() -> Iterator[int]:
    """How many threads may be used within: 1 where others have them, or there is but one."""
    count = int(numba.get_num_threads())
    if count > 1 and _state["taken_by"] == threading.get_ident():
        yield count  # whoever took them is further out in this thread
    elif count > 1 and take():
        try:
            yield count
        finally:
            give_back()
    else:
        yield 1


def give_back() -> None:
    """The kernels have run: let others start threads."""
    _state["taken_by"] = None
    if _state["layer"] is None:
        try:
            _state["layer"] = numba.threading_layer()
        except ValueError:  # nothing has run on them yet
            _one_at_a_time.release()
            return
        # Numba's own fallback layer wakes its threads too slowly for kernels of this size
        # (48 µs, against 2 µs of OpenMP) and dies when other code enters it at the same time.
        _state["usable"] = _state["layer"] != "workqueue"
    _one_at_a_time.release()
