"""All benchmarks beside the peers: `make bench`, and in under three minutes `make bench-quick`.

Each is a script of its own with a result file of its own. What a file has already of these sources
and versions on such a machine is not measured again, so this can be stopped and started at will.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import compare
import machine
import tyro

from npmlp.files import write_atomically

HERE = Path(__file__).parent
SCRIPTS = {
    "step": "bench_step.py",
    "matmul-peers": "bench_matmul_peers.py",
    "epoch": "bench_epoch.py",
    "sklearn": "bench_sklearn.py",
    "start": "bench_start.py",
    "memory": "bench_memory.py",
    "scaling": "bench_scaling.py",
}
IN_QUICK = {
    "step": ["--pairs", "9", "--rounds", "3", "--burst", "0.1"],
    "matmul-peers": [],
    "start": [],
}
QUICK_FOLDER = HERE.parent / "runs" / "bench-quick"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Run the benchmarks beside PyTorch, JAX and scikit-learn."""

    only: tuple[str, ...] = ()
    """these alone: step, matmul-peers, epoch, sklearn, start, memory, scaling"""
    again: bool = False
    """measure anew what has a result already"""
    quick: bool = False
    """some rows of step, matmul-peers and start, into runs/bench-quick.json, which is not kept"""


def run(name: str, more: list[str]) -> bool:
    """Run one; whether it came to its end."""
    print(f"--- {name}", flush=True)
    began = time.perf_counter()
    command = [sys.executable, str(HERE / SCRIPTS[name]), *more]
    # warnings of the sides' libraries would fill the screen
    done = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    print(f"--- {name}: {time.perf_counter() - began:.0f} s", flush=True)
    return done.returncode == 0


def quick() -> list[str]:
    """Run the quick ones anew, all into one file. Returns the names of those that failed."""
    shutil.rmtree(QUICK_FOLDER, ignore_errors=True)
    failed = [
        name
        for name, more in IN_QUICK.items()
        if not run(name, ["--quick", "--results", str(QUICK_FOLDER), *more])
    ]
    found = {path.stem: json.loads(path.read_text()) for path in QUICK_FOLDER.glob("*.json")}
    file = QUICK_FOLDER.with_suffix(".json")
    write_atomically(file, json.dumps(found, indent=1) + "\n")
    shutil.rmtree(QUICK_FOLDER, ignore_errors=True)
    print(f"wrote {file.relative_to(HERE.parent)}")
    return failed


def main() -> None:
    flags = tyro.cli(Flags)
    unknown = set(flags.only) - SCRIPTS.keys()
    if unknown:
        raise SystemExit(
            f"--only: there is no {', '.join(unknown)}; there are {', '.join(SCRIPTS)}"
        )
    load = machine.load()
    if load is not None:
        os.environ[machine.LOAD] = str(load)
        if load > 0.5:
            print(f"other processes keep {load:.1f} cores busy: the figures will not be worth much")
    if flags.quick:
        failed = quick()
    else:
        names = flags.only or tuple(SCRIPTS)
        if flags.again:
            for name in names:
                (compare.RESULTS / f"{name}.json").unlink(missing_ok=True)
        failed = [name for name in names if not run(name, [])]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
