"""Test a trained network: `python -m npmlp.evaluate --run runs/vanilla-…`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from npmlp import commands
from npmlp.predictions import Which, predictions_of
from npmlp.runs import RunFolder


@dataclass(frozen=True)
class Evaluation:
    """What a network made of the test images."""

    loss: float
    correct: int
    count: int
    per_class: list[tuple[str, int, int]]  # name, correct, count

    @property
    def accuracy(self) -> float:
        """The share that was classified rightly, 0 to 1."""
        return self.correct / self.count


def evaluate(
    run: str | Path, data: str | None = None, checkpoint: Which | None = None
) -> Evaluation:
    """Classify the test images with a run's network.

    Parameters: `run`, the run's folder; `data`, as in training; `checkpoint`, "best", "last" or the
    number of an epoch, by default the one that the run reports: best where there is a validation
    set, else last.
    Returns: an Evaluation. Raises: NpmlpError where the run or the data cannot be read.
    """
    found = predictions_of(RunFolder(run), data, checkpoint)
    per_class = [
        (name, int(found.right[found.labels == i].sum()), int((found.labels == i).sum()))
        for i, name in enumerate(found.classes)
    ]
    return Evaluation(found.loss, int(found.right.sum()), len(found.right), per_class)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Classify the test images with a trained network."""

    run: str
    """the run's folder"""
    data: str | None = None
    """a folder with the data; by default where the run found it, or the usual places"""
    checkpoint: Which | None = None
    """best, last or, where epochs' checkpoints were kept, an epoch's number; by default the one
    whose figures the run reports"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.evaluate`"""
    flags = commands.parse(Flags, argv, "python -m npmlp.evaluate")
    result = evaluate(flags.run, flags.data, flags.checkpoint)
    print(
        f"test accuracy  {result.accuracy:.4f}  ({result.correct:,} of {result.count:,} images), "
        f"mean loss {result.loss:.4f}"
    )
    for name, correct, count in result.per_class:
        share = f"{correct / count:.4f}" if count else "     -"
        print(f"  {name:12}  {share}  ({correct:,} of {count:,})")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
