"""Test a trained network: `python -m npmlp.evaluate --run runs/vanilla-…`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from npmlp import checkpoint, commands
from npmlp.errors import CheckpointError, NpmlpError, RunError
from npmlp.runs import RunFolder

Which = Literal["best", "last"]


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

    Parameters: `run`, the run's folder; `data`, as in training; `checkpoint`, "best" or "last",
    by default the one that the run reports: best where there is a validation set, else last.
    Returns: an Evaluation. Raises: NpmlpError where the run or the data cannot be read.
    """
    from npmlp.engine import NpmlpEngine
    from npmlp.vision.datasets import FashionMNIST

    folder = RunFolder(run)
    recipe = folder.recipe()
    engine = NpmlpEngine(recipe, data)
    load_weights(engine.model, folder, checkpoint)
    predicted, actual = [], []
    for logits, y in engine.predictions("test"):
        predicted.append(logits.numpy().argmax(axis=1))
        actual.append(y.numpy())
    right = np.concatenate(predicted) == np.concatenate(actual)
    labels = np.concatenate(actual)
    per_class = [
        (name, int(right[labels == i].sum()), int((labels == i).sum()))
        for i, name in enumerate(FashionMNIST.classes)
    ]
    loss = engine.evaluate("test").loss
    return Evaluation(loss, int(right.sum()), len(right), per_class)


def load_weights(model: Any, folder: RunFolder, which: Which | None) -> Path:
    """Put the weights of a run's checkpoint into a network; returns the checkpoint's path."""
    if which is None:
        which = "last" if folder.recipe().validation == "none" else "best"
    path = folder.best if which == "best" else folder.last
    if not path.exists():
        raise RunError(f"{folder.path}: has no checkpoint {path.name} yet; train it first")
    found = checkpoint.read(path)
    try:
        model.load_state_dict(found["state"]["model"])
    except (KeyError, NpmlpError, RuntimeError) as error:
        arch = found["recipe"].get("arch")
        raise CheckpointError(f"{path}: does not fit, it is of {arch} ({error})") from None
    return path


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Classify the test images with a trained network."""

    run: str
    """the run's folder"""
    data: str | None = None
    """a folder with Fashion-MNIST; without it the usual places are searched"""
    checkpoint: Which | None = None
    """by default the one whose figures the run reports"""
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
        print(f"  {name:12}  {correct / count:.4f}  ({correct:,} of {count:,})")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
