"""How the time of a training step grows with width, depth and batch size: npmlp beside PyTorch.

Multilayer perceptrons with ReLU and plain SGD, one dimension varied at a time. PyTorch runs eagerly
with its fused optimizer, at the same number of threads: compiling each of these networks would take
the day, and bench_step has compiled code beside npmlp's.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compare
import tyro
from bench_step import CHECKED_STEPS, SCRIPTS, THREADS, TOLERANCE
from side import Side, SideError
from step_case import make_case

PARTS = ("bench_scaling.py", "bench_step.py", "step_case.py", "step_npmlp.py", "step_torch.py")
INPUTS, CLASSES = 784, 10
WIDTH, DEPTH, BATCH = 128, 2, 64  # what is not varied
RATE = 0.01  # 0.1 is too much for sixteen layers
LARGEST = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time training steps of growing networks in npmlp and in PyTorch."""

    largest: int = LARGEST
    """the largest width and batch size"""
    pairs: int = 11
    """bursts of each side whose ratios are taken"""
    burst: float = 0.1
    """seconds of a burst"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def points(largest: int = LARGEST) -> Iterator[tuple[str, dict[str, int]]]:
    """What is varied, and the width, depth (hidden layers) and batch size of a network."""
    usual = {"width": WIDTH, "depth": DEPTH, "batch": BATCH}
    for what, first, last in (("width", 32, 4096), ("depth", 1, 16), ("batch", 1, 4096)):
        value = first
        while value <= min(last, largest):
            yield what, usual | {what: value}
            value *= 2


def layers(width: int, depth: int, batch: int) -> tuple[int, ...]:
    """The widths of the perceptron, inputs and classes with them."""
    return (INPUTS, *[width] * depth, CLASSES)


def flops(width: int, depth: int, batch: int) -> int:
    """Multiplications and additions in the products of a step: forward, dweight, and dx but one."""
    pairs = list(itertools.pairwise(layers(width, depth, batch)))
    products = [k * m * (2 if i == 0 else 3) for i, (k, m) in enumerate(pairs)]
    return 2 * batch * sum(products)


def measure(size: dict[str, int], threads: int, sides: dict[str, Side], flags: Flags) -> Any:
    """What came of a network."""
    with tempfile.TemporaryDirectory() as folder:
        shape, file = layers(**size), f"{folder}/case.npz"
        case = make_case("vanilla", size["batch"], file, shape, lr=RATE).as_json()
        losses = {}
        for name, side in sides.items():
            side.ask("build", case=case)
            losses[name] = side.ask("losses", steps=CHECKED_STEPS)
    apart = compare.losses_apart(losses["npmlp"], losses["torch"])
    if not apart <= TOLERANCE:
        raise SideError(f"{size}: the two do not compute the same: losses {apart:.1e} apart")
    clocks = [compare.burst(side, flags.burst) for side in sides.values()]
    ours, theirs = compare.in_turns(clocks, flags.pairs)
    return {
        "losses_apart": apart,
        "flops": flops(**size),
        "seconds": {"npmlp": statistics.median(ours), "torch": statistics.median(theirs)},
        "ratio": compare.ratio(theirs, ours),
    }


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    each = {name: seconds / row["batch"] for name, seconds in row["seconds"].items()}
    return (
        f"{row['varied']:5} {row[row['varied']]:5}  {row['threads']} t  a sample: npmlp "
        f"{compare.duration(each['npmlp']):>9}  PyTorch {compare.duration(each['torch']):>9}  "
        f"{row['ratio']['median']:5.2f}×"
    )


def main() -> None:
    flags = tyro.cli(Flags)
    header = {"pairs": flags.pairs, "burst_seconds": flags.burst}
    result = compare.Result("scaling", PARTS, header, flags.results)
    how = {"npmlp": "plan", "torch": "eager"}
    for threads in THREADS:
        settings = {name: {"how": how[name], "threads": threads} for name in how}
        settings["torch"]["optimizer"] = "fused"
        sides = {name: Side(SCRIPTS[name], settings[name]) for name in how}
        try:
            for varied, size in points(flags.largest):
                row = result.row(varied=varied, threads=threads, **size)
                if row is None:
                    found = measure(size, threads, sides, flags)
                    row = {"varied": varied, **size, "threads": threads, "how": how, **found}
                    result.add(row)
                print(line(row), flush=True)
        finally:
            for side in sides.values():
                side.close()
    ratios = [row["ratio"]["median"] for row in result.content["rows"]]
    if flags.largest < LARGEST:
        return  # not all is there
    result.finish(summary={"least": min(ratios), "most": max(ratios)})


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the sides
    main()
