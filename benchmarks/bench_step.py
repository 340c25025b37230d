"""A training step of vanilla, batch 64: npmlp beside PyTorch eager, in alternation.

Each side runs in a process of its own (step_side.py). First both must compute the same losses;
then each in turn runs a burst of steps, over and over, and every ratio is taken from two bursts
that were neighbours in time. A ratio above 1: npmlp is faster. For each side 1 and 2 threads are
tried, and its faster setting counts.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine

HERE = Path(__file__).parent
PACKAGES = ("npmlp", "numpy", "numba", "torch")  # whose versions matter to the result


class Side:
    """A process that trains when it is told to."""

    def __init__(self, name: str, threads: int, batch_size: int) -> None:
        self.name, self.threads = name, threads
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "step_side.py"), name, str(threads), str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.import_seconds = self._answer()["import_seconds"]

    def run(self, steps: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the {self.name} side ended with code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=40, help="bursts to compare")
    parser.add_argument("--steps", type=int, default=100, help="training steps in a burst")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()

    check = []
    for name in ("npmlp", "torch"):
        side = Side(name, 1, args.batch_size)
        check.append(side.run(24)["loss"])
        side.close()
    # the 24th loss of a float32 training; each step rounds some hundred times at 6e-8
    if abs(check[0] - check[1]) > 1e-5 * abs(check[1]):
        raise SystemExit(f"the two sides do not compute the same: losses {check[0]} and {check[1]}")

    best = {name: _faster(name, args) for name in ("npmlp", "torch")}
    ours, theirs = (Side(name, best[name], args.batch_size) for name in ("npmlp", "torch"))
    ratios, seconds = [], {"npmlp": [], "torch": []}  # type: ignore[var-annotated]
    for i in range(args.pairs):
        order = (ours, theirs) if i % 2 == 0 else (theirs, ours)
        pair = {side.name: side.run(args.steps)["seconds"] / args.steps for side in order}
        ratios.append(pair["torch"] / pair["npmlp"])
        for name, value in pair.items():
            seconds[name].append(value)
    quarters = statistics.quantiles(ratios, n=4)
    result = {
        "benchmark": "training step of vanilla",
        "batch_size": args.batch_size,
        "threads": best,
        "median_us": {name: 1e6 * statistics.median(values) for name, values in seconds.items()},
        "ratio": {"median": quarters[1], "quarter": quarters[0], "three_quarters": quarters[2]},
        "pairs": args.pairs,
        "import_seconds": _imports(),
        "machine": machine.facts(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    for side in (ours, theirs):
        side.close()
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "step.json").write_text(json.dumps(result, indent=2) + "\n")
    us, r = result["median_us"], result["ratio"]
    print(f"a training step of vanilla, batch {args.batch_size}")
    for name in ("npmlp", "torch"):
        print(f"  {name:6} {us[name]:8.1f} us   ({best[name]} threads)")
    print(
        f"  npmlp is {r['median']:.2f} times as fast as PyTorch eager "
        f"(half of {args.pairs} pairs between {r['quarter']:.2f} and {r['three_quarters']:.2f})"
    )
    imports = result["import_seconds"]
    print(f"  import: npmlp {imports['npmlp']:.3f} s, torch {imports['torch']:.3f} s (median of 5)")


def _faster(name: str, args: argparse.Namespace) -> int:
    """The number of threads with which a side is faster, in turns."""
    sides = [Side(name, threads, args.batch_size) for threads in args.threads]
    times: dict[int, list[float]] = {side.threads: [] for side in sides}
    for _ in range(9):
        for side in sides:
            times[side.threads].append(side.run(args.steps)["seconds"])
    for side in sides:
        side.close()
    return min(times, key=lambda threads: statistics.median(times[threads][1:]))


def _imports() -> dict[str, float]:
    """Seconds to import each package in a new process: the median of 5, in turns."""
    times: dict[str, list[float]] = {"npmlp": [], "torch": []}
    for _ in range(6):
        for name, values in times.items():
            code = (
                f"import time; t = time.perf_counter(); import {name}; "
                "print(time.perf_counter() - t)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            values.append(float(done.stdout))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
