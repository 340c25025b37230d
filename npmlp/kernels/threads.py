"""Threads for kernels: how many, in which portions, and who may start them now.

Numba's threads must not be started from two Python threads at once, nor in a forked child: there
the kernel runs on the calling thread alone, to the same bits.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numba

_one_at_a_time = threading.Lock()
_state: dict[str, Any] = {"usable": True, "layer": None}


def _after_fork() -> None:
    _state["usable"] = False


if hasattr(os, "register_at_fork"):  # the threads of the parent do not exist in the child
    os.register_at_fork(after_in_child=_after_fork)


def portions(size: int, count: int, unit: int) -> tuple[int, int]:
    """(size of a portion, portions) of `size` rows or columns for `count` threads.

    Portions are multiples of `unit`, such as the rows of a tile, but for the last.
    """
    chunk = max(1, -(-size // (unit * count))) * unit
    return chunk, -(-size // chunk)


def enter(size: int, unit: int) -> tuple[int, int] | None:
    """Ask for threads for `size` rows or columns: the portions, or None to run on the calling
    thread.

    After portions, and only then, call `leave()`.
    """
    if not _state["usable"] or not _one_at_a_time.acquire(blocking=False):
        return None
    count = numba.get_num_threads()
    if count > 1:
        chunk, chunks = portions(size, count, unit)
        if chunks > 1:
            return chunk, chunks
    _one_at_a_time.release()
    return None


def leave() -> None:
    """The kernel has run: let others start threads."""
    if _state["layer"] is None:
        _state["layer"] = numba.threading_layer()
        # Numba's own fallback layer wakes its threads too slowly for kernels of this size
        # (48 µs, against 2 µs of OpenMP) and dies when other code enters it at the same time.
        _state["usable"] = _state["layer"] != "workqueue"
    _one_at_a_time.release()
