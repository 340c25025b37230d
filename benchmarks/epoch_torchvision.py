"""An epoch as PyTorch's tutorials have it: torchvision's transforms, image by image, a DataLoader.

reference_torch's engine with its data swapped, so that weights, order and augmentation are those of
npmlp from the same seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Any

import torch
from side import serve, setting
from torch.utils.data import DataLoader, Subset

from npmlp.recipes import Recipe
from reference_torch.engine import TorchEngine
from reference_torch.one_by_one import OneByOne


class Epochs:
    """Trains and evaluates; the loaders' workers live from one epoch to the next."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        if recipe.validation == "train":
            raise NotImplementedError("Epochs: all training images are trained on")
        self.engine = engine = TorchEngine(recipe)
        data = engine.data
        plain = dataclasses.replace(recipe, augment="none")
        facts = (data.mean, data.deviation)
        train: Any = OneByOne(data.train_images, data.train_labels, recipe, *facts)
        if recipe.limit is not None:
            train = Subset(train, range(recipe.limit))
        test = OneByOne(data.test_images, data.test_labels, plain, *facts)
        more: Any = {"num_workers": workers, "persistent_workers": workers > 0}
        engine.loader = DataLoader(train, recipe.batch_size, shuffle=True, **more)
        self.test: Any = DataLoader(test, 1000, **more)

    def losses(self, steps: int) -> dict[str, Any]:
        """Of the first steps of an epoch."""
        batches = itertools.islice(self.engine.batches(0), steps)
        return {"first": 0, "losses": [self.engine.step(batch).loss for batch in batches]}

    def epoch(self, evaluate: bool = True) -> dict[str, Any]:
        """Train an epoch, and evaluate on the test images."""
        began = time.perf_counter()
        loss, count = 0.0, 0
        for batch in self.engine.batches(0):
            score = self.engine.step(batch)
            loss += score.loss * score.count
            count += score.count
        correct, held_out = self._evaluate() if evaluate else (0, 0)
        return {
            "seconds": time.perf_counter() - began, "images": count, "loss": loss / count,
            "evaluated": held_out, "correct": correct,
        }  # fmt: skip

    @torch.no_grad()
    def _evaluate(self) -> tuple[int, int]:
        model = self.engine.model
        model.eval()
        correct = count = 0
        for x, y in self.test:
            logits = model(x)
            self.engine.loss(logits, y).item()
            correct += int((logits.argmax(1) == y).sum().item())
            count += len(y)
        model.train()
        return correct, count


def main() -> None:
    how = setting()
    torch.set_num_threads(how["threads"])
    found: list[Epochs] = []

    def build(recipe: dict[str, Any]) -> None:
        found[:] = [Epochs(Recipe(**recipe), how["workers"])]

    serve(
        {
            "build": build,
            "losses": lambda steps: found[0].losses(steps),
            "epoch": lambda evaluate=True: found[0].epoch(evaluate),
        }
    )


if __name__ == "__main__":
    main()
