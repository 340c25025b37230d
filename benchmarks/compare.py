"""How sides are compared: in turns, by ratios of neighbours in time; and how it is written down.

A busy or a warm machine slows neighbours alike, so a ratio of two bursts that follow each other
says more than a quotient of two averages. The median over the pairs counts, with its quartiles.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import machine
from side import Side, SideError

from npmlp.files import write_atomically

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("npmlp", "numpy", "numba", "llvmlite", "torch", "torchvision", "jax", "scikit-learn")


# ------------------------------------------------------------------------------------- in turns


def in_turns(measures: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """What each gives, `rounds` times; in every round each has one turn, another first each time.

    Returns: a list for each of `measures`, in their order; equal positions are neighbours in time.
    """
    found: list[list[float]] = [[] for _ in measures]
    for i in range(rounds):
        for j in range(len(measures)):
            k = (i + j) % len(measures)
            found[k].append(measures[k]())
    return found


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Theirs ÷ ours, pair by pair: the median and the quartiles. Above 1: ours is faster."""
    ratios = [t / o for t, o in zip(theirs, ours, strict=True)]
    if len(ratios) == 1:
        return {"median": ratios[0], "quarter": ratios[0], "three_quarters": ratios[0], "pairs": 1}
    quarter, median, three_quarters = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        "median": median, "quarter": quarter, "three_quarters": three_quarters,
        "pairs": len(ratios),
    }  # fmt: skip


def geometric_mean(values: Iterable[float]) -> float:
    """The n-th root of the product."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def calls_for(seconds: Callable[[int], float], burst: float, least: int) -> int:
    """How many calls fill a burst of that many seconds, a multiple of `least`.

    `seconds(n)` says how long n calls take; what it says first includes warming up.
    """
    calls = least
    seconds(calls)
    while True:
        took = seconds(calls)
        if took > burst / 4 or calls >= 1 << 20:
            return least * max(1, math.ceil(calls * burst / max(took, 1e-9) / least))
        calls *= 4


# ------------------------------------------------------------------------------ the best setting


def fastest(
    start: Callable[[dict[str, Any]], Side],
    settings: Iterable[dict[str, Any]],
    clock: Callable[[Side], Callable[[], float]],
    rounds: int,
) -> tuple[Side | None, list[dict[str, Any]]]:
    """Try the settings of one library: each new one in turns with the fastest so far.

    Parameters: `start` makes a side that is ready to be timed, or raises SideError, which is
    recorded as what became of that setting; `clock` makes of a side what measures its seconds once;
    `rounds`, how many pairs decide.

    Returns: the fastest side, still running, and of every setting what came of it: the median of
    its seconds, and how many times that of the fastest until then it took. None where none works.
    """
    best: Side | None = None
    tried: list[dict[str, Any]] = []
    try:
        for setting in settings:
            try:
                side = start(setting)
            except SideError as error:
                tried.append({"setting": setting, "failed": str(error)})
                print(f"    {describe(setting)}: {error}", flush=True)
                continue
            mine = clock(side)
            slower = 1.0
            if best is None:
                times = [mine() for _ in range(rounds)]
                best, fast = side, mine
            else:
                old, times = in_turns([fast, mine], rounds)
                slower = ratio(times, old)["median"]
                loser = best if slower < 1 else side
                loser.close()
                if slower < 1:
                    best, fast = side, mine
            seconds = statistics.median(times)
            tried.append({"setting": setting, "seconds": seconds, "times_the_fastest_then": slower})
            print(f"    {describe(setting)}: {duration(seconds)}", flush=True)
    except BaseException:
        if best is not None:
            best.close()
        raise
    return best, tried


def finalists(
    start: Callable[[dict[str, Any]], Side],
    settings: Iterable[dict[str, Any]],
    clock: Callable[[Side], Callable[[], float]],
    rounds: int,
    beyond: float = math.inf,
) -> tuple[list[Side], list[dict[str, Any]]]:
    """The fastest side for each number of threads, still running, and what came of all settings.

    Two threads that wait for each other lose by far most when something else wants a core, so
    which number is the better is decided where the ratios are taken, and not some minutes before.
    Only one that takes more than `beyond` times the fastest's time is out. Raises SideError where
    no setting works.
    """
    wanted = list(settings)
    found: list[Side] = []
    seconds: list[float] = []
    tried: list[dict[str, Any]] = []
    try:
        for threads in dict.fromkeys(setting["threads"] for setting in wanted):
            these = [setting for setting in wanted if setting["threads"] == threads]
            side, of_these = fastest(start, these, clock, rounds)
            tried += of_these
            if side is not None:
                found.append(side)
                seconds.append(min(t["seconds"] for t in of_these if "seconds" in t))
    except BaseException:
        close(found)
        raise
    if not found:
        raise SideError("no setting works: " + "; ".join(str(t.get("failed")) for t in tried))
    out = [s for s, time in zip(found, seconds, strict=True) if time > beyond * min(seconds)]
    close(out)
    return [side for side in found if side not in out], tried


def close(sides: Iterable[Side]) -> None:
    """End them all."""
    for side in sides:
        side.close()


def final(
    sides: dict[str, list[Side]], clock: Callable[[Side], Callable[[], float]], pairs: int
) -> dict[str, Any]:
    """All sides of all libraries in turns: the faster of each, and the others' ratios to the first.

    Returns: `best`, by library: the setting and the median of its seconds; `by_threads`, by library
    and number of threads, the same medians; `ratio`, by library but the first one: its seconds ÷
    those of the first.
    """
    running = [(library, side) for library, those in sides.items() for side in those]
    times = in_turns([clock(side) for _, side in running], pairs)
    best: dict[str, tuple[Side, list[float]]] = {}
    by_threads: dict[str, dict[str, float]] = {}
    for (library, side), seconds in zip(running, times, strict=True):
        median = statistics.median(seconds)
        by_threads.setdefault(library, {})[str(side.setting["threads"])] = median
        if library not in best or median < statistics.median(best[library][1]):
            best[library] = side, seconds
    ours, *others = best
    return {
        "best": {
            library: {"setting": side.setting, "seconds": statistics.median(seconds)}
            for library, (side, seconds) in best.items()
        },
        "by_threads": by_threads,
        "ratio": {library: ratio(best[library][1], best[ours][1]) for library in others},
    }


def burst(side: Side, seconds: float, least: int = 1) -> Callable[[], float]:
    """What measures the seconds of a step, in bursts that take about so long.

    A burst has a multiple of `least` steps.
    """
    steps = calls_for(lambda n: float(side.ask("seconds", steps=n)), seconds, least)
    return lambda: float(side.ask("seconds", steps=steps)) / steps


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.1f} µs"
    return f"{1e3 * seconds:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def describe(setting: dict[str, Any]) -> str:
    """A setting in words: "eager, fused, 2 threads"."""
    words = []
    for key, value in setting.items():
        if key in ("threads", "workers"):
            words.append(f"{value} {key if value != 1 else key[:-1]}")
        elif value:
            words.append(str(value))
    return ", ".join(words)


# ------------------------------------------------------------------------------------ the losses


def losses_apart(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """How far two trainings' losses are apart at most, as a share of the loss.

    Both as `Training.losses` gives them: one may begin a step later.
    """
    first = max(ours["first"], theirs["first"])
    a, b = (x["losses"][first - x["first"] :] for x in (ours, theirs))
    pairs = list(zip(a, b, strict=False))
    if len(pairs) < 16:
        raise ValueError(f"only {len(pairs)} losses to compare")
    apart = [abs(x - y) / abs(y) for x, y in pairs]
    return max(apart) if all(map(math.isfinite, apart)) else math.inf


# ----------------------------------------------------------------------------------- result files


def facts(parts: Iterable[str]) -> dict[str, Any]:
    """What every result file begins with; `parts` are the files that the benchmark consists of."""
    return {
        "machine": machine.facts(),
        "versions": machine.versions(*PACKAGES),
        "commit": machine.commit(),
        "sources": machine.sources([*parts, "side.py", "compare.py"]),
    }


def same_day(found: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a result was measured with these sources and versions, on such a machine."""
    return all(found.get(field) == now[field] for field in ("machine", "versions", "sources"))


class Result:
    """A result file that grows row by row: a benchmark that was stopped goes on behind the last.

    What the file has of other sources, versions or another machine is dropped.

    Parameters: `name`, of benchmarks/results/<name>.json; `parts`, the benchmark's files; `header`,
    what the file says beside its rows, which must be the same for rows to be kept; `folder`.
    """

    def __init__(
        self,
        name: str,
        parts: Iterable[str],
        header: dict[str, Any] | None = None,
        folder: Path = RESULTS,
    ) -> None:
        self.path = folder / f"{name}.json"
        now = {"benchmark": name, **(header or {}), **facts(parts)}
        found = json.loads(self.path.read_text()) if self.path.exists() else {}
        stays = same_day(found, now) and all(found.get(k) == v for k, v in (header or {}).items())
        rows = found.get("rows", []) if stays else []
        self.content: dict[str, Any] = {
            **now, "load": machine.load(), "complete": False, "rows": rows
        }  # fmt: skip

    def row(self, **key: Any) -> dict[str, Any] | None:
        """The row with these fields, if it was measured already."""
        for row in self.content["rows"]:
            if all(row.get(field) == value for field, value in key.items()):
                return dict(row)
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.content["rows"].append(row)
        self.write()

    def finish(self, **more: Any) -> None:
        """All rows are there; `more` is what follows from them."""
        self.content |= {"complete": True, **more}
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.content, indent=1, allow_nan=False) + "\n")
