"""What the tests of sweeps share: a small data set of real images, and the command."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from npmlp.vision.idx import write_idx
from npmlp.vision.images import load_image_data

# a second of work for a handful of cells, and accuracies far from chance; at a constant rate the
# best epoch is not always the last
FLAGS = (
    "--recipe", "vanilla", "--epochs", "3", "--validation-size", "500", "--scheduler", "none",
)  # fmt: skip
QUICK = (*FLAGS, "--kernels", "numpy")  # where the numbers are compared with no others
GRID = ("--grid", "lr=.1,.01,.3", "--grid", "batch_size=32,100")

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


def begin(*args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "npmlp.sweep", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], found: Callable[[str], bool]) -> list[str]:
    """The lines that a sweep prints, up to one that is looked for."""
    lines: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if found(line):
            return lines
    raise AssertionError("\n".join([*lines, process.stderr.read()]))


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "sweep.csv") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> list[dict[str, str]]:
    """sweep.csv without what differs between two sweeps of the same numbers."""
    return [{k: v for k, v in row.items() if k not in CIRCUMSTANCES} for row in table(folder)]
