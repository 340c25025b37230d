"""Threads for kernels: how many, in which portions, and who may start them now.

Numba's threads must not be started from two Python threads at once, nor in a forked child: there
the kernel runs on the calling thread alone, to the same bits.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from npmlp.kernels.cache import numba

_one_at_a_time = threading.Lock()
_state: dict[str, Any] = {"usable": True, "layer": None}


def _after_fork() -> None:
    _state["usable"] = False


if hasattr(os, "register_at_fork"):  # the threads of the parent do not exist in the child
    os.register_at_fork(after_in_child=_after_fork)


def portions(rows: int, count: int) -> tuple[int, int]:
    """(rows in a portion, portions) for `count` threads.

    Portions begin at multiples of four rows and have at least four, so that the 4-row tiles of
    a matmul fall as they would in one portion.
    """
    chunk = max(4, -(-rows // (4 * count)) * 4)
    chunks = -(-rows // chunk)
    if chunks > 1 and rows - (chunks - 1) * chunk < 4:
        chunks -= 1
    return chunk, chunks


def enter(rows: int) -> tuple[int, int] | None:
    """Ask for threads for `rows` rows: the portions, or None to run on the calling thread.

    After portions, and only then, call `leave()`.
    """
    if not _state["usable"] or not _one_at_a_time.acquire(blocking=False):
        return None
    count = numba.get_num_threads()
    if count > 1:
        chunk, chunks = portions(rows, count)
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
