"""Test a trained network: `python -m npmlp.evaluate --run runs/vanilla-…`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from npmlp import checkpoint, commands
from npmlp.errors import CheckpointError, NpmlpError, RunError
from npmlp.preserved import preserved_settings
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
    from npmlp import autograd, nn
    from npmlp.engine import EVALUATION_BATCH
    from npmlp.utils.data import default_collate
    from npmlp.vision.datasets import FashionMNIST

    folder = RunFolder(run)
    loss_sum, predicted, actual = 0.0, [], []
    with preserved_settings(), autograd.no_grad():
        model, images = _model_and_images(folder, data, checkpoint)
        loss = nn.CrossEntropyLoss(label_smoothing=folder.recipe().label_smoothing)
        for start in range(0, len(images), EVALUATION_BATCH):
            stop = min(start + EVALUATION_BATCH, len(images))
            x, y = default_collate(images.__getitems__(range(start, stop)))
            logits = model(x)
            loss_sum += loss(logits, y).item() * len(y)
            predicted.append(logits.numpy().argmax(axis=1))
            actual.append(y.numpy())
    labels = np.concatenate(actual)
    right = np.concatenate(predicted) == labels
    per_class = [
        (name, int(right[labels == i].sum()), int((labels == i).sum()))
        for i, name in enumerate(FashionMNIST.classes)
    ]
    return Evaluation(loss_sum / len(right), int(right.sum()), len(right), per_class)


def _model_and_images(folder: RunFolder, data: str | None, which: Which | None) -> tuple[Any, Any]:
    """The network of a run, and the test images that the run reports on."""
    from npmlp import dtypes, models, random
    from npmlp.engine import test_transform
    from npmlp.utils.data import random_split
    from npmlp.vision.datasets import FashionMNIST
    from npmlp.vision.locate import places_for

    recipe = folder.recipe()
    dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
    random.manual_seed(recipe.seed)
    model = models.build(recipe)  # its draws come before those of the split, as in training
    images: Any = FashionMNIST(
        train=False,
        transform=test_transform(recipe),
        download=data is None,
        places=places_for(data, "--data"),
    )
    if recipe.validation == "test":
        left = len(images) - recipe.validation_size
        images, _ = random_split(images, [left, recipe.validation_size])
    load_weights(model, folder, which)
    model.eval()
    return model, images


def load_weights(model: Any, folder: RunFolder, which: Which | None) -> Path:
    """Put the weights of a run's checkpoint into a network; returns the checkpoint's path.

    Raises: RunError where there is none yet, CheckpointError where it is of another recipe.
    """
    recipe = dataclasses.asdict(folder.recipe())
    if which is None:
        which = "last" if recipe["validation"] == "none" else "best"
    path = folder.best if which == "best" else folder.last
    if not path.exists():
        raise RunError(f"{folder.path}: has no checkpoint {path.name} yet; train it first")
    found = checkpoint.read(path)
    if found["recipe"] != recipe:
        raise CheckpointError(
            f"{path}: belongs to another recipe than config.json beside it "
            f"(architecture {found['recipe'].get('arch')}, expected {recipe['arch']})"
        )
    try:
        model.load_state_dict(found["state"]["model"])
    except (KeyError, NpmlpError, RuntimeError) as error:
        why = " ".join(str(error).split())  # on one line
        raise CheckpointError(
            f"{path}: does not fit the architecture {recipe['arch']} ({why})"
        ) from None
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
