"""How long until something happens: imports, and the command line to the first training step.

Fresh processes throughout. "Warm" is a machine that has trained before; "first ever" one on which
no kernel was compiled yet: the caches of Numba and of npmlp are empty folders. PyTorch beside it is
reference_torch, the same command with PyTorch's engine.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import compare
import tyro
from first_step import MARK

PARTS = ("bench_start.py", "first_step.py")
HERE = Path(__file__).parent
MODULES = {"npmlp": "npmlp.train", "torch": "reference_torch.train"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time imports and first steps of npmlp beside PyTorch."""

    recipe: str = "vanilla"
    """the recipe whose first step is waited for"""
    pairs: int = 9
    """fresh processes of each side"""
    first_runs: int = 3
    """runs with nothing compiled"""
    quick: bool = False
    """fewer pairs, one first run"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def import_seconds(package: str) -> Callable[[], float]:
    """What measures `import package` in a new process, without the start of Python."""
    code = f"import time; t = time.perf_counter(); import {package}; print(time.perf_counter() - t)"

    def measure() -> float:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"import {package}: {done.stderr}")
        return float(done.stdout)

    return measure


def first_step_seconds(
    engine: str, recipe: str, env: Mapping[str, str] | None = None
) -> Callable[[], float]:
    """What measures from the command line to the end of the first step."""

    def measure() -> float:
        with tempfile.TemporaryDirectory() as folder:
            flags = ["--recipe", recipe, "--no-report", "--out", f"{folder}/run"]
            command = [sys.executable, str(HERE / "first_step.py"), MODULES[engine], *flags]
            began = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
            )
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == MARK:
                    seconds = time.perf_counter() - began
                    process.wait()
                    return seconds
            raise SystemExit(
                f"{MODULES[engine]}: ended with {process.wait()} before its first step"
            )

    return measure


def first_ever_seconds(recipe: str) -> float:
    """The same where nothing was compiled before. The data is there; its fetching is not timed."""
    from npmlp.vision.images import load_image_data

    source = os.path.expanduser(load_image_data().source)
    with tempfile.TemporaryDirectory() as empty:
        caches = {"NUMBA_CACHE_DIR": f"{empty}/numba", "XDG_CACHE_HOME": f"{empty}/cache"}
        seconds = first_step_seconds("npmlp", recipe, {**caches, "NPMLP_DATA": source})()
        if not any(Path(empty).rglob("*.nbc")):
            raise SystemExit("no kernel was compiled into the empty caches: they are elsewhere")
        return seconds


def compared(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Both in turns, after one turn that fills the disk's cache."""
    ours(), theirs()
    mine, others = compare.in_turns([ours, theirs], pairs)
    return {
        "npmlp_seconds": statistics.median(mine),
        "torch_seconds": statistics.median(others),
        # ours as a share of theirs: less is better, as the goals are written
        "share": compare.ratio(mine, others),
    }


def main() -> None:
    flags = tyro.cli(Flags)
    pairs, first_runs = (3, 1) if flags.quick else (flags.pairs, flags.first_runs)
    header = {"recipe": flags.recipe, "pairs": pairs, "first_runs": first_runs}
    result = compare.Result("start", PARTS, header, flags.results)
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "import": lambda: compared(import_seconds("npmlp"), import_seconds("torch"), pairs),
        "warm": lambda: compared(
            first_step_seconds("npmlp", flags.recipe),
            first_step_seconds("torch", flags.recipe),
            pairs,
        ),
        "first ever": lambda: {
            "npmlp_seconds": statistics.median(
                first_ever_seconds(flags.recipe) for _ in range(first_runs)
            )
        },
    }
    for what, measure in measures.items():
        row = result.row(what=what)
        if row is None:
            row = {"what": what, **measure()}
            result.add(row)
        print(line(row), flush=True)
    result.finish()


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    text = f"{row['what']:11} npmlp {compare.duration(row['npmlp_seconds']):>9}"
    if "share" in row:
        s = row["share"]
        text += (
            f"  PyTorch {compare.duration(row['torch_seconds']):>9}  {s['median']:.2f} of it "
            f"({s['quarter']:.2f} … {s['three_quarters']:.2f})"
        )
    return text


if __name__ == "__main__":
    main()
