"""What the tests of sweeps share: a small data set of real images, the command, and how to wait.

`python tests/sweeping.py MARK ARGS` is the command, and halts after a line that starts with MARK.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest

from npmlp import commands, sweep
from npmlp.vision.idx import write_idx
from npmlp.vision.images import load_image_data

T = TypeVar("T")

# seconds; nothing is slow enough to need them, so only a test that fails waits so long
DEADLINE = 600

# a second of work for a handful of cells, and accuracies far from chance; at a constant rate the
# best epoch is not always the last
FLAGS = (
    "--recipe", "vanilla", "--epochs", "3", "--validation-size", "500", "--scheduler", "none",
)  # fmt: skip
QUICK = (*FLAGS, "--kernels", "numpy")  # where the numbers are compared with no others
GRID = ("--grid", "lr=.1,.01,.3", "--grid", "batch_size=32,100")
ENDLESS = 1_000_000  # epochs: days, even of a few images

# what differs between two sweeps of the same numbers
CIRCUMSTANCES = ("seconds", "attempts", "started")


def small_data(folder: Path, roll_test_labels: int = 0) -> Path:
    """1,500 training and 400 test images of Fashion-MNIST."""
    data = load_image_data()
    folder.mkdir()
    arrays = {
        "train-images-idx3-ubyte": data.train_images[:1500],
        "train-labels-idx1-ubyte": data.train_labels[:1500].astype(np.uint8),
        "t10k-images-idx3-ubyte": data.test_images[:400],
        "t10k-labels-idx1-ubyte": np.roll(data.test_labels[:400], roll_test_labels).astype(
            np.uint8
        ),
    }
    for name, values in arrays.items():
        with open(folder / name, "wb") as file:
            write_idx(file, values)
    return folder


# ------------------------------------------------------------------------- fixtures, to be imported


@pytest.fixture(scope="session", name="data")
def small_data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _small_data_set(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", name="finished")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that two processes did, undisturbed; do not change what is in it."""
    return _finished_sweep(tmp_path_factory.getbasetemp())


# a module that imports a fixture has one of its own: these are made once for all of them
@functools.cache
def _small_data_set(base: Path) -> Path:
    return small_data(base / "small-data")


@functools.cache
def _finished_sweep(base: Path) -> Path:
    out = base / "finished-sweep" / "finished"
    process = begin(*FLAGS, *GRID, "--data", _small_data_set(base), "--out", out, "--jobs", 2)
    printed, errors = ended(process)
    assert process.returncode == 0, errors
    (out.parent / "printed.txt").write_text(printed)
    return out


# -------------------------------------------------------------------------------- the command


def run_here(*args: object) -> int:
    return commands.run(sweep.main, [str(arg) for arg in args])


def begin(*args: object, halt_at: str | None = None) -> subprocess.Popen[str]:
    """The command as a process. It halts after a line that starts with `halt_at`; see let_on."""
    command = ["-m", "npmlp.sweep"] if halt_at is None else [__file__, halt_at]
    return subprocess.Popen(
        [sys.executable, *command, *map(str, args)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def let_on(process: subprocess.Popen[str]) -> None:
    """End the halt."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def read_until(process: subprocess.Popen[str], found: Callable[[str], bool]) -> list[str]:
    """The lines that a sweep prints, up to one that is looked for."""
    lines: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if found(line):
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError("\n".join([*lines, process.stderr.read()]))


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a sweep prints up to its end, and its errors."""
    return process.communicate(timeout=DEADLINE)


class Halting:
    """A standard output that takes no more after a certain line, until there is a line of input.

    The sweep is stuck there as on a terminal after Ctrl-S, so that the test knows how far it is.
    """

    def __init__(self, mark: str) -> None:
        self.mark, self.out, self.found = mark, sys.stdout, False

    def write(self, text: str) -> None:
        self.out.write(text)
        self.found = self.found or text.lstrip().startswith(self.mark)

    def flush(self) -> None:
        self.out.flush()
        if self.found:
            self.found = False
            sys.stdin.readline()


# ------------------------------------------------------------------------------ what is to be seen


def wait_for(fact: Callable[[], T], process: subprocess.Popen[Any] | None = None) -> T:
    """What `fact` returns, as soon as that is anything; `process` must not end before."""
    give_up = time.monotonic() + DEADLINE
    while not (found := fact()):
        assert process is None or process.poll() is None, f"{process.args} has ended"
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)
    return found


def under_way(folder: Path, epochs: int) -> list[Path]:
    """The trainings of so many epochs, in flight below a folder, that have done one or more."""
    found = []
    for run in folder.glob("cell-*/run"):
        with contextlib.suppress(OSError, ValueError):  # it is being written, or removed
            config = json.loads((run / "config.json").read_text())
            if config["recipe"]["epochs"] == epochs and (run / "metrics.jsonl").read_text():
                found.append(run)
    return found


def have_ended(processes: list[psutil.Process]) -> bool:
    """Whether none of these is left."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # where nobody collects orphans, what has ended stays as a zombie
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "sweep.csv") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> list[dict[str, str]]:
    """sweep.csv without what differs between two sweeps of the same numbers."""
    return [{k: v for k, v in row.items() if k not in CIRCUMSTANCES} for row in table(folder)]


if __name__ == "__main__":
    sys.stdout = Halting(sys.argv[1])  # type: ignore[assignment]
    sys.exit(commands.run(sweep.main, sys.argv[2:]))
