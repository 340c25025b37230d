"""What this machine can do at most, as npmlp's probe has measured it, and the roofline over it.

    python -m npmlp.plan.machine            the figures of this machine
    python -m npmlp.plan.machine --again    measured again: the better of each figure stays

The figures are kept in the user's cache, a file for each processor and number of threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npmlp import commands
from npmlp.errors import NpmlpError
from npmlp.files import write_atomically


class Rates(NamedTuple):
    """So much per second: on one thread, and on all together."""

    one: float
    all: float

    def on(self, threads: int, most: int) -> float:
        """On `threads` of `most`: as many times one thread's, but no more than all together."""
        return self.all if threads >= most else min(threads * self.one, self.all)

    def or_better(self, other: Rates) -> Rates:
        """The higher of each."""
        return Rates(max(self.one, other.one), max(self.all, other.all))


@dataclass(frozen=True)
class Level:
    """A cache, or the memory behind them, in bytes and bytes per second.

    `size` is of one core's cache, or of the whole where all cores share it; 0 is without end.
    `measured` says how much memory the figures were measured with, a thread's or, shared, in all.
    The triad is out ← b · s + c, whose bytes are those of the three arrays, as in STREAM
    (McCalpin, Memory Bandwidth and Machine Balance, 1995).
    """

    name: str
    size: int
    shared: bool
    measured: int
    read: Rates
    write: Rates
    triad: Rates

    def fits(self, working_set: float, threads: int) -> bool:
        """Whether that many bytes, divided among the threads, stay in this level."""
        return not self.size or working_set <= self.size * (1 if self.shared else threads)

    def fastest(self, threads: int, most: int) -> float:
        """Bytes per second of whichever access is the fastest."""
        return max(rates.on(threads, most) for rates in (self.read, self.write, self.triad))


@dataclass(frozen=True)
class Machine:
    """A machine's limits. Rates of float32 and float64 are floating-point operations per second,
    where a multiply-add is two; `call_seconds` is what calling a compiled kernel costs by itself.
    """

    processor: str
    vector_bytes: int
    """of a vector of fused multiply-adds; 0 where multiplication and addition are two steps"""
    threads: int
    float32: Rates
    float64: Rates
    levels: tuple[Level, ...]
    call_seconds: float

    def or_better(self, other: Machine) -> Machine:
        """The better of each figure, of two measurements with the same caches and threads: other
        programs make figures worse, and nothing makes them better than the machine.
        """
        levels = [
            dataclasses.replace(
                mine,
                read=mine.read.or_better(its.read),
                write=mine.write.or_better(its.write),
                triad=mine.triad.or_better(its.triad),
            )
            for mine, its in zip(self.levels, other.levels, strict=True)
        ]
        return dataclasses.replace(
            self,
            float32=self.float32.or_better(other.float32),
            float64=self.float64.or_better(other.float64),
            levels=tuple(levels),
            call_seconds=min(self.call_seconds, other.call_seconds),
        )

    def peak(self, dtype: Any, threads: int) -> float:
        """Floating-point operations per second."""
        rates: Rates = getattr(self, np.dtype(dtype).name)
        return rates.on(threads, self.threads)

    def level(self, working_set: float, threads: int) -> Level:
        """The fastest level where that many bytes fit."""
        return next(level for level in self.levels if level.fits(working_set, threads))

    def limit_seconds(
        self, flops: float, bytes: float, dtype: Any, threads: int, working_set: float
    ) -> float:
        """No kernel that does so much can take less time than this.

        The roofline: arithmetic and memory accesses go on side by side, so the longer of the two
        decides, max(flops / peak, bytes / bandwidth), with the bandwidth of the fastest level that
        holds the working set.

        Parameters
        ----------
        flops: floating-point operations, a multiply-add counted as two.
        bytes: read and written.
        dtype: of the arithmetic, float32 or float64.
        threads: that share the work.
        working_set: bytes of all arrays that are used; it decides which cache serves.

        Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model
        for multicore architectures, 2009; with the caches' own roofs as Ilic, Pratas and Sousa
        have them, Cache-aware Roofline model, 2014.
        """
        level = self.level(working_set, threads)
        bandwidth = level.fastest(threads, self.threads)
        return max(flops / self.peak(dtype, threads), bytes / bandwidth)


# --------------------------------------------------------------------------------- the file


def this_machine(again: bool = False) -> Machine:
    """This machine's limits: from the file, or measured where there is none yet, or `again`."""
    from npmlp.config import get_num_threads

    count = get_num_threads()
    path = _file(count)
    machine = _read(path)
    if machine is None or again:
        from npmlp.plan.measure import measure

        found = measure(count)
        machine = found if machine is None else found.or_better(machine)
        with contextlib.suppress(OSError):  # where nothing can be written it is measured each time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(dataclasses.asdict(machine), indent=2) + "\n")
    return machine


def _file(count: int) -> Path:
    """Of this processor, number of threads, and version of the probe."""
    import platformdirs

    from npmlp.plan.measure import levels, processor_name

    own = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("measure", "probe")]
    key = repr((processor_name(), levels(), count, own)).encode()
    folder = Path(platformdirs.user_cache_dir("npmlp", appauthor=False))
    return folder / f"machine-{hashlib.sha256(key).hexdigest()[:16]}.json"


def _read(path: Path) -> Machine | None:
    """The machine in a file; None where there is none, or something else than a machine."""
    try:
        content = json.loads(path.read_text())
        levels = tuple(_made(Level, level, "read", "write", "triad") for level in content["levels"])
        machine: Machine = _made(Machine, content | {"levels": levels}, "float32", "float64")
        numbers = [machine.call_seconds, *machine.float32, *machine.float64]
        numbers += [rate for v in levels for rates in (v.read, v.write, v.triad) for rate in rates]
        numbers += [machine.threads, *(level.size for level in levels[:-1])]
        whole = all(math.isfinite(number) and number > 0 for number in numbers)
        return machine if whole and levels[-1].size == 0 else None
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None


def _made(form: Any, fields: dict[str, Any], *rates: str) -> Any:
    return form(**fields | {name: Rates(*map(float, fields[name])) for name in rates})


# -------------------------------------------------------------------------------- the table


def table(machine: Machine) -> str:
    """The figures for people."""
    m = machine
    vector = f"vectors of {m.vector_bytes} bytes" if m.vector_bytes else "no fused multiply-add"
    several = m.threads > 1
    lines = [f"{m.processor}, {vector}", "", f"{'':34}{'1 thread':>10}"]
    if several:
        lines[-1] += f"{f'{m.threads} threads':>12}"

    def row(what: str, rates: Rates, unit: str) -> None:
        numbers = f"{rates.one / 1e9:10.1f}" + (f"{rates.all / 1e9:12.1f}" if several else "")
        lines.append(f"{what:34}{numbers}  {unit}")

    row("multiply-adds, float32", m.float32, "GFLOP/s")
    row("multiply-adds, float64", m.float64, "GFLOP/s")
    for level in m.levels:
        place = f"{level.name}, {_size(level.size)}" if level.size else level.name
        for what, rates in (("read", level.read), ("write", level.write), ("triad", level.triad)):
            row(f"{what:6}{place}", rates, "GB/s")
    last = m.levels[-1]
    lines += [
        "",
        f"A call of a compiled kernel with four arrays costs {1e6 * m.call_seconds:.2f} µs.",
        f"Memory was measured with {_size(last.measured)}.",
    ]
    largest = max((level.size for level in m.levels), default=0)
    if last.measured < largest:
        lines.append(f"The last cache, of {_size(largest)}, may have served some of it.")
    if several and m.float32.all < 1.5 * m.float32.one:
        lines.append(
            f"On {m.threads} threads multiply-adds were hardly faster than on one: other programs "
            "were\nusing the cores, or the threads share one. --again measures once more."
        )
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 2**20:.0f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.plan.machine`"""
    wrong = [word for word in argv if word not in ("--again", "--debug")]
    if wrong:
        raise NpmlpError(
            f"npmlp.plan.machine: got {wrong[0]!r}; there is --again, to measure once more"
        )
    from npmlp import progress
    from npmlp.compiling import announced

    with announced(progress.Lines()) as show:
        found = this_machine(again="--again" in argv)
        show.close()
    print(table(found))
    return 0


if __name__ == "__main__":
    from npmlp.plan import machine  # the one that the others import

    sys.exit(commands.run(machine.main))
