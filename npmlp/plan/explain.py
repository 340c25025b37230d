"""explain: what each kernel of a plan costs, beside the least that this machine could take for it.

A kernel is bound by its arithmetic or by its memory: it can take no less time than its operations
at the measured peak, nor than its bytes at the measured bandwidth (machine.py, the roofline). How
near a kernel comes to the longer of the two is its percentage. What is missing is mostly the cost
of a call, for small arrays; vectors that are not full, at ragged edges; and for whatever is not a
matrix product, that one core cannot ask for memory fast enough.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npmlp import config, random
from npmlp.ops.spec import Array
from npmlp.plan.machine import Machine, this_machine
from npmlp.plan.prepare import Call
from npmlp.plan.tape import Action, Entry, optimizer_of, owner
from npmlp.plan.work import work_of

BATCHES = 30  # replays that are timed, at least
SECONDS = 1.0  # and for how long


@dataclass(frozen=True)
class Row:
    """An entry of the plan. Times in seconds."""

    name: str
    shapes: str
    calls: int
    flops: float | None
    bytes: float
    seconds: float
    limit: float

    @property
    def of_limit(self) -> float:
        """How near it comes to what the machine could do: 1 is the roofline itself."""
        return self.limit / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Explanation:
    """The rows of a plan in their order; `print` it."""

    rows: list[Row]
    threads: int
    machine: Machine
    arena: int
    without_reuse: int
    between: float
    """seconds that pass between the calls: in Python, and until the threads are at work"""

    @property
    def seconds(self) -> float:
        """Of all rows together."""
        return sum(row.seconds for row in self.rows)

    @property
    def limit(self) -> float:
        """The least that the rows could take, one after another."""
        return sum(row.limit for row in self.rows)

    def __str__(self) -> str:
        lines = [
            f"{'':4}{'what':26}{'shapes':40}{'MFLOP':>8}{'kB':>8}{'µs':>9}{'share':>7}"
            f"{'of limit':>10}"
        ]
        for i, row in enumerate(self.rows, 1):
            flops = "" if row.flops is None else f"{row.flops / 1e6:.3f}"
            lines.append(
                f"{i:<4}{row.name[:25]:26}{row.shapes[:39]:40}{flops:>8}{row.bytes / 1e3:>8.0f}"
                f"{1e6 * row.seconds:>9.1f}{row.seconds / self.seconds:>7.1%}{row.of_limit:>10.0%}"
            )
        total = sum(row.flops or 0.0 for row in self.rows)
        peak = self.machine.peak(np.float32, self.threads)
        count = sum(row.calls for row in self.rows)
        lines += [
            f"{'':4}{'together':66}{total / 1e6:>8.3f}{sum(r.bytes for r in self.rows) / 1e3:>8.0f}"
            f"{1e6 * self.seconds:>9.1f}{1:>7.1%}{self.limit / self.seconds:>10.0%}",
            "",
            f"{count} calls on {_threads(self.threads)}. The arithmetic is "
            f"{total / self.seconds / 1e9:.0f} GFLOP/s, of a peak of {peak / 1e9:.0f} in float32.",
            f"Between the calls pass {1e6 * self.between:.1f} µs more: the smaller a batch, the "
            "larger that share.",
            f"Intermediate arrays take {self.arena / 1e3:,.0f} kB, and would take "
            f"{self.without_reuse / 1e3:,.0f} kB side by side.",
        ]
        return "\n".join(lines)

    def figure(self) -> Any:
        """The rows as bars, the least possible time in each: a matplotlib Figure."""
        from npmlp.report.style import BLUE, GREY, new_figure

        figure = new_figure(9, 1.6 + 0.22 * len(self.rows))
        axes = figure.add_subplot()
        places = np.arange(len(self.rows))
        axes.barh(places, [1e6 * r.seconds for r in self.rows], color="#9ecae1", label="measured")
        axes.barh(
            places, [1e6 * r.limit for r in self.rows], height=0.4, color=BLUE,
            label="least possible on this machine",
        )  # fmt: skip
        for place, row in zip(places, self.rows, strict=True):
            axes.text(
                1e6 * row.seconds, place, f" {row.seconds / self.seconds:.0%}", va="center",
                fontsize=7, color=GREY,
            )  # fmt: skip
        axes.set_yticks(places, [row.name for row in self.rows], fontsize=7)
        axes.invert_yaxis()
        axes.set_ylim(len(self.rows) - 0.5, -0.5)
        axes.set_xlabel("µs")
        axes.margins(x=0.1)
        axes.legend(loc="lower right", fontsize=8)
        axes.set_title(
            f"{1e6 * self.seconds:,.0f} µs a step on {_threads(self.threads)}, at least "
            f"{1e6 * self.limit:,.0f} µs",
            fontsize=10,
        )
        return figure

    def write_png(self, path: str | Path) -> None:
        """Write the figure into a PNG file."""
        from npmlp.report.style import house_style, write_png

        with house_style():
            write_png(self.figure(), Path(path))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def explain(recording: Any) -> Explanation:
    """Time the entries of a recording. What it trains meanwhile is put back afterwards."""
    count = config.get_num_threads() if config.get_kernels() == "numba" else 1
    machine = this_machine()
    entries: list[Entry] = recording.entries
    with _Kept(entries):
        recording.replay(count)  # what is compiled, and made for the first time
        times, calls, between = _timed(recording, count)
        works = [work_of(entry) for entry in entries]  # now that the optimizer has its state
    rows = []
    for entry, its_calls, seconds, work in zip(entries, calls, times, works, strict=True):
        if not its_calls or entry.name == "set .grad":
            continue
        dtype = _dtype(entry)
        limit = machine.limit_seconds(work.flops or 0.0, work.bytes, dtype, count, work.bytes)
        rows.append(
            Row(entry.name, _shapes(entry), len(its_calls), work.flops, work.bytes, seconds, limit)
        )
    arena = recording.arena
    return Explanation(rows, count, machine, arena.size, arena.without_reuse, between)


def _timed(recording: Any, threads: int) -> tuple[list[float], list[list[Call]], float]:
    """The median time of each entry over some replays, its calls, and the time between them."""
    clock = time.perf_counter
    times: list[list[float]] = []
    others: list[float] = []
    until = clock() + SECONDS
    with recording.on_threads(threads) as count:
        while len(times) < BATCHES or clock() < until:
            each, other = recording.way(count).seconds(recording.inputs)
            times.append(each)
            others.append(other)
        calls = [p.calls + [c for c in (p.first,) if c] for p in recording.way(count).prepared]
    medians = [statistics.median(each) for each in zip(*times, strict=True)]
    return medians, calls, statistics.median(others)


def _dtype(entry: Entry) -> Any:
    for array in (*entry.writes(), *entry.reads()):
        if array.dtype in (np.float32, np.float64):
            return array.dtype
    return np.dtype(np.float32)


def _shapes(entry: Entry) -> str:
    reads, writes = entry.reads(), entry.writes()
    if isinstance(entry, Action) and not reads:
        return ""
    sides = [
        ", ".join("×".join(map(str, a.shape)) or "1" for a in side if a.ndim)
        for side in (reads[:3], writes[:1])
    ]
    return " → ".join(sides)


class _Kept:
    """While open, what the entries change outside of the plan; then it is put back."""

    def __init__(self, entries: list[Entry]) -> None:
        actions = [e for e in entries if isinstance(e, Action)]
        arrays: list[Array] = [owner(a) for action in actions for a in action.changes]
        owners = [optimizer_of(action.function) for action in actions]
        optimizers: dict[int, Any] = {id(o): o for o in owners if o is not None}
        leaves = [a.arguments[0] for a in actions if a.name == "set .grad"]
        self.grads = [(leaf, leaf._grad) for leaf in leaves]
        self.states = [
            (o, {key: dict(state) for key, state in o.state.items()}) for o in optimizers.values()
        ]
        arrays += [
            t._data for _, states in self.states for state in states.values()
            for t in state.values() if hasattr(t, "_data")
        ]  # fmt: skip
        arrays += [grad._data for _, grad in self.grads if grad is not None]
        self.arrays = [(a, a.copy()) for a in arrays]
        self.generator = random.default_generator.state_bytes()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        for array, values in self.arrays:
            array[...] = values
        for optimizer, states in self.states:
            optimizer.state.clear()
            optimizer.state.update(states)
        for leaf, grad in self.grads:
            leaf._grad = grad
        random.default_generator.load_state_bytes(self.generator)
