"""A recipe trained to its end in both, and what came of it compared: the class of every test image.

`python -m reference_torch.parity.whole --recipe vanilla --dtype float64`
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from npmlp import commands, recipes
from npmlp.engine import NpmlpEngine
from npmlp.files import write_atomically
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from reference_torch.engine import TorchEngine
from reference_torch.parity.record import of_npmlp, of_torch


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Train a recipe to its end in npmlp and in PyTorch, and compare what came of it."""

    recipe: str = "vanilla"
    """a recipe's name, or a JSON file with one"""
    dtype: Literal["float32", "float64"] = "float64"
    """the precision of both"""
    seed: int = 0
    """as in torch.manual_seed"""
    epochs: int | None = None
    """how many epochs, the recipe's own if not given"""
    limit: int | None = None
    """train on the first so many training images only"""
    data: str | None = None
    """a folder with images, as for npmlp.train"""
    out: Path | None = None
    """a JSON file for the result"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


@dataclass
class Outcome:
    """Two finished trainings side by side."""

    recipe: str
    dtype: str
    seed: int
    epochs: int
    steps: int
    loss_apart: float
    """the largest difference of a step's losses, as a share of the loss"""
    loss_ulps: float
    """the same in units in the last place of the loss"""
    weights_apart: float
    """the largest difference of a weight, as a share of the largest weight of its array; without
    parameters whose gradient is 0 but for rounding"""
    test_images: int
    predictions_apart: int
    """test images that the two give different classes"""
    accuracy: float
    accuracy_torch: float


def compare_whole(recipe: Recipe, data: str | None = None) -> Outcome:
    """Train in both. Each draws from its own generator, so they need not take turns."""
    before = torch.get_default_dtype(), torch.get_rng_state()
    try:
        with preserved_settings():
            ours, theirs = NpmlpEngine(recipe, data), TorchEngine(recipe, data)
            losses = [_train(engine, recipe.epochs) for engine in (ours, theirs)]
            return _outcome(recipe, ours, theirs, *losses)
    finally:
        torch.set_default_dtype(before[0])
        torch.set_rng_state(before[1])


def _train(engine: Any, epochs: int) -> np.ndarray[Any, Any]:
    losses: list[float] = []
    for _ in range(epochs):
        scores = [engine.step(batch) for batch in engine.batches(0)]
        total = sum(score.loss * score.count for score in scores)
        engine.end_epoch(total / sum(score.count for score in scores))
        losses += [score.loss for score in scores]
    return np.array(losses)


def _outcome(
    recipe: Recipe, ours: NpmlpEngine, theirs: TorchEngine, losses: Any, their_losses: Any
) -> Outcome:
    mine = np.concatenate([of_npmlp(logits).argmax(1) for logits, _ in ours.predictions("test")])
    images, labels = theirs.prepared["test"]
    with torch.no_grad():
        torchs = of_torch(theirs.model.eval()(images).argmax(1))
    own = dict(ours.model.named_parameters())
    gradients = {name: of_torch(p.grad) for name, p in theirs.model.named_parameters()}
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    apart = 0.0
    for name, parameter in theirs.model.named_parameters():
        weights = of_torch(parameter)
        if np.abs(gradients[name]).max() > 100 * np.finfo(weights.dtype).eps * largest:
            distance = np.abs(of_npmlp(own[name]) - weights).max()
            apart = max(apart, float(distance / np.abs(weights).max()))
    classes = of_torch(labels)
    off = np.abs(losses - their_losses)
    spacing = np.spacing(np.abs(their_losses).astype(recipe.dtype)).astype(np.float64)
    return Outcome(
        recipe=recipe.name,
        dtype=recipe.dtype,
        seed=recipe.seed,
        epochs=recipe.epochs,
        steps=len(losses),
        loss_apart=float(np.max(off / np.abs(their_losses))),
        loss_ulps=float(np.max(off / spacing)),
        weights_apart=apart,
        test_images=len(classes),
        predictions_apart=int((mine != torchs).sum()),
        accuracy=float((mine == classes).mean()),
        accuracy_torch=float((torchs == classes).mean()),
    )


def main(argv: Sequence[str]) -> int:
    flags = commands.parse(Flags, argv, "python -m reference_torch.parity.whole")
    recipe = dataclasses.replace(
        recipes.find(flags.recipe), dtype=flags.dtype, seed=flags.seed, limit=flags.limit
    )
    if flags.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=flags.epochs)
    found = compare_whole(recipe, flags.data)
    print(
        f"{found.recipe}, seed {found.seed}, {found.dtype}, {found.epochs} epochs, {found.steps:,} "
        f"steps\nlosses   apart by {found.loss_apart:.1e} of the loss at most, "
        f"{found.loss_ulps:.0f} units in the last place\n"
        f"weights  apart by {found.weights_apart:.1e} of the largest of their array\n"
        f"classes  {found.predictions_apart} of {found.test_images:,} test images get another one; "
        f"test accuracy {found.accuracy:.4f}, PyTorch {found.accuracy_torch:.4f}"
    )
    if flags.out is not None:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(flags.out, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
