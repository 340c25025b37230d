"""The probe's clock: how fast this machine multiplies and adds, reads and writes, and calls.

A limit is a maximum, so each figure is the best of several repetitions: whatever else the machine
does meanwhile can only make a repetition slower.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import numba
from npmlp.plan import probe
from npmlp.plan.machine import Level, Machine, Rates

Array = np.ndarray[Any, np.dtype[Any]]

PAGE = 4096
_SYSTEMS = Path("/sys/devices/system/cpu/cpu0/cache")
_LENGTH = 2e-4  # seconds that a repetition takes at least
_BUDGET = 0.03  # seconds for the repetitions of one figure
_MOST = 384 << 20  # bytes of the largest arrays


def measure(count: int) -> Machine:
    """Measure this machine, on one thread and on `count`. It takes about a second."""
    processor, _ = processor_name()
    flops = 2 * probe.VECTOR_BYTES * probe.CHAINS  # of one step, for numbers of one byte
    return Machine(
        processor=processor,
        vector_bytes=probe.FUSED_BYTES,
        threads=count,
        float32=_rates(probe.MULTIPLY_ADD, flops // 4, _aligned(count, PAGE, np.float32)),
        float64=_rates(probe.MULTIPLY_ADD, flops // 8, _aligned(count, PAGE, np.float64)),
        levels=tuple(_level(*level, count) for level in levels()),
        call_seconds=_call(),
    )


def processor_name() -> tuple[str, str]:
    """The processor's name, and what Numba calls it: the name of its code generator's target."""
    import platform

    from numba.core.registry import cpu_target

    target = " ".join(cpu_target.target_context.codegen().magic_tuple())
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip(), target
    return platform.processor() or platform.machine(), target


# ------------------------------------------------------------------------------- the caches


def levels(folder: Path = _SYSTEMS) -> list[tuple[str, int, bool]]:
    """(name, bytes, whether all cores share it) of each level of memory, the fastest first.

    As Linux says it in `folder`; elsewhere sizes that any processor of these years has.
    """
    found = {}
    for index in folder.glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            kind, level, size, users = (
                (index / name).read_text().strip()
                for name in ("type", "level", "size", "shared_cpu_list")
            )
            if kind != "Instruction":
                number = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
                # a second-level cache that two threads of a core share is that core's own
                found[f"L{level}"] = (number, int(level) > 2 and users != "0")
    found = found or {"L1": (32 << 10, False), "L2": (256 << 10, False), "L3": (8 << 20, True)}
    return [*((name, *found[name]) for name in sorted(found)), ("memory", 0, True)]


def _level(name: str, size: int, shared: bool, count: int) -> Level:
    """Measure with half of a cache, so that nothing else of the process pushes it out."""
    sizes = [bytes_ for _, bytes_, _ in levels()]
    own = max((bytes_ for _, bytes_, all_ in levels() if not all_), default=0)
    if size == 0:  # memory: past the last cache, but no more than an eighth of what there is
        used = min(4 * max(sizes), _MOST)
        with contextlib.suppress(AttributeError, ValueError, OSError):
            used = min(used, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)
    elif shared:  # well past the caches that each core has for itself
        used = min(size // 2, 8 * count * own or size)
    else:
        used = size // 2
    unit = 3 * max(probe.ROUND, PAGE)
    each = max(unit, (used // count if shared else used) // unit * unit)
    memory = _aligned(count, each, np.float32)
    kinds = (_rates(what, each, memory) for what in (probe.READ, probe.FILL, probe.TRIAD))
    return Level(name, size, shared, each * count if shared else each, *kinds)


# -------------------------------------------------------------------------------- the clock


def _seconds(call: Callable[[], None], budget: float) -> float:
    """The seconds of the fastest repetition: three at least, and then until the time is up."""
    began = time.perf_counter()
    taken: list[float] = []
    while len(taken) < 3 or time.perf_counter() < began + budget:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _rates(what: int, each: int, memory: Array) -> Rates:
    """What the probe does per second, on one thread and on as many as memory (threads, size) has
    rows: `each` for a thread in one time.

    Several threads are together at least as fast as one. Where they seem slower, other programs
    were using the cores.
    """
    count = len(memory)
    sums = _aligned(count, PAGE, memory.dtype)  # a page each: no cache line has two writers

    def clocked(rows: int, times: int, budget: float = 0.0) -> float:
        # a factor and addend that leave ones as they are: no overflow, no denormal number
        arrays = memory[:rows], sums[:rows]
        return _seconds(lambda: probe.work(what, times, 0.5, 0.5, *arrays), budget)

    # short, so that other programs leave some repetitions alone, but long beside the clock and the
    # waking of threads
    times = 1
    while clocked(1, times) < _LENGTH:
        times *= 2
    one = each * times / clocked(1, times, _BUDGET)
    with _threads(count) as there_are:
        several = count * each * times / clocked(count, times, _BUDGET) if there_are else one
    return Rates(one, max(one, several))


@contextlib.contextmanager
def _threads(count: int) -> Iterator[bool]:
    """Whether kernels may run on several threads, which no others do meanwhile."""
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    entered = threads.take()
    try:
        yield entered
    finally:
        if entered:
            threads.give_back()
        numba.set_num_threads(before)


def _aligned(count: int, size: int, dtype: Any) -> Array:
    """Ones, (count, numbers in `size` bytes), with rows that begin at pages.

    A vector that lay in two cache lines would take two accesses.
    """
    row = -(-size // PAGE) * PAGE
    raw = np.empty(count * row + PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE
    rows = raw[start : start + count * row].view(dtype).reshape(count, -1)
    rows.fill(1)
    return rows


def _call() -> float:
    """Seconds for a call of a compiled function that does nothing, with four arrays."""
    arrays = [np.zeros(1, np.float32) for _ in range(4)]
    times, nothing = 2000, probe.nothing

    def calls() -> None:
        a, b, c, d = arrays
        for _ in range(times):
            nothing(a, b, c, d)

    return _seconds(calls, _BUDGET) / times
