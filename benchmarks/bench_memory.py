"""The peak memory of a training process: an epoch of npmlp.train and of reference_torch.train.

The largest resident memory of the whole process, with the images in it; once as the command is by
default, with the report that it draws at the end, and once without.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare
import tyro

from npmlp.recipes import RECIPES

PARTS = ("bench_memory.py",)
MODULES = {"npmlp": "npmlp.train", "torch": "reference_torch.train"}
NAMES = ("vanilla", "residual")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Measure the peak memory of training processes of npmlp and PyTorch."""

    pairs: int = 3
    """processes of each side"""
    limit: int | None = None
    """train on the first so many images only; all images are loaded all the same"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def peak_mib(module: str, recipe: str, report: bool, limit: int | None) -> Callable[[], float]:
    """What measures the peak of `python -m module` over one epoch, in MiB."""
    more = [] if limit is None else ["--limit", str(limit)]

    def measure() -> float:
        with tempfile.TemporaryDirectory() as folder:
            # one epoch of the recipe; a plateau or cosine over one epoch computes the same
            file = Path(folder) / "recipe.json"
            fields = dataclasses.asdict(dataclasses.replace(RECIPES[recipe], epochs=1))
            file.write_text(json.dumps(fields))
            flags = ["--recipe", str(file), "--out", f"{folder}/run", *more]
            flags += [] if report else ["--no-report"]
            process = subprocess.Popen(
                [sys.executable, "-m", module, *flags], stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{module} ended with status {process.returncode}")
        # a new process begins with the peak of the one that started it
        if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            raise SystemExit(f"{module}: its peak is below that of this process, so not seen")
        return usage.ru_maxrss / 1024  # Linux counts in KiB

    return measure


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    report = "with its report" if row["report"] else "without a report"
    return (
        f"{row['recipe']:9} {report:16}  npmlp {row['npmlp_mib']:5.0f} MiB  PyTorch "
        f"{row['torch_mib']:5.0f} MiB  {row['share']['median']:.2f} of it"
    )


def main() -> None:
    flags = tyro.cli(Flags)
    header = {"pairs": flags.pairs, "limit": flags.limit}
    result = compare.Result("memory", PARTS, header, flags.results)
    for recipe in NAMES:
        for report in (True, False):
            row = result.row(recipe=recipe, report=report)
            if row is None:
                ours, theirs = compare.in_turns(
                    [peak_mib(m, recipe, report, flags.limit) for m in MODULES.values()],
                    flags.pairs,
                )
                row = {
                    "recipe": recipe,
                    "report": report,
                    "npmlp_mib": statistics.median(ours),
                    "torch_mib": statistics.median(theirs),
                    "share": compare.ratio(ours, theirs),
                }
                result.add(row)
            print(line(row), flush=True)
    if flags.limit is None:
        result.finish()


if __name__ == "__main__":
    main()
