"""Seconds per epoch of every recipe, npmlp and PyTorch in alternation, and residual as a whole.

Each process trains two epochs with all cores; the second counts, the first compiles and warms up.
An epoch is what a user waits for: the loader, the steps, and the evaluation on held-out images.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import tyro
from measured import EVERYTHING
from reproduce import MODULES

RESULT = Path(__file__).parent / "results" / "epochs.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time an epoch of every recipe in npmlp and in PyTorch."""

    only: tuple[str, ...] = ()
    """these recipes alone"""
    rounds: int = 3
    """pairs of processes for each recipe"""
    whole: bool = False
    """train residual's 120 epochs in both instead, once, and take the whole command's time"""


def train(engine: str, name: str, epochs: int, *flags: str) -> tuple[float, list[dict[str, Any]]]:
    """Train in a process of its own: its wall time, and the rows of its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.json"
        recipe.write_text(json.dumps(dataclasses.asdict(EVERYTHING[name]) | {"epochs": epochs}))
        command = [sys.executable, "-m", MODULES[engine], "--recipe", str(recipe), *flags]
        began = time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/run"], check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - began
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
        return wall, [json.loads(line) for line in lines]


def keep(field: str, name: str, value: Any) -> None:
    """Put a measurement into the result file."""
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found.setdefault(field, {})[name] = value
    found["machine"] = machine.facts()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    flags = tyro.cli(Flags)
    if flags.whole:
        # with the report, as a user has it
        walls = {engine: train(engine, "residual", 120)[0] for engine in MODULES}
        keep("whole_command_seconds", "residual", walls)
        print("residual, 120 epochs: " + ", ".join(f"{e} {w:.0f} s" for e, w in walls.items()))
        return
    for name in flags.only or EVERYTHING:
        seconds: dict[str, list[float]] = {engine: [] for engine in MODULES}
        for _ in range(flags.rounds):
            for engine in MODULES:
                seconds[engine].append(train(engine, name, 2, "--no-report")[1][1]["seconds"])
        keep("seconds_per_epoch", name, seconds)
        ours, theirs = (statistics.median(seconds[engine]) for engine in ("npmlp", "torch"))
        print(f"{name:27} npmlp {ours:7.2f} s  PyTorch {theirs:7.2f} s  {theirs / ours:5.2f} ×")


if __name__ == "__main__":
    main()
