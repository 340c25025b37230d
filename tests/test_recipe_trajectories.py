"""Each recipe trained for 30 steps in npmlp and in PyTorch, with its own dropout, augmentation,
split and schedule: in float64 the losses are the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from npmlp.engine import NpmlpEngine
from npmlp.recipes import RECIPES, Recipe
from npmlp.utils.data import default_collate
from reference_torch.engine import TorchEngine

EPOCHS, STEPS = 3, 10
BATCH = 8  # small, to be quick; the recipes' own sizes change nothing of the rules


def trajectory(engine: Any) -> tuple[list[float], list[float]]:
    """The loss of each step, and the rate after each epoch."""
    losses, rates = [], []
    for _ in range(EPOCHS):
        steps = [engine.step(batch).loss for batch in engine.batches(0)]
        assert len(steps) == STEPS
        engine.end_epoch(float(np.mean(steps)))
        losses += steps
        rates.append(engine.lr)
    return losses, rates


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_recipes_train_as_in_pytorch(recipe: Recipe) -> None:
    recipe = dataclasses.replace(
        recipe, dtype="float64", epochs=EPOCHS, batch_size=BATCH, limit=STEPS * BATCH
    )
    (losses, rates), (their_losses, their_rates) = (
        trajectory(engine(recipe)) for engine in (NpmlpEngine, TorchEngine)
    )
    # each rounding is 1.1e-16 of its sum, and 30 steps of training amplify what came before
    np.testing.assert_allclose(losses, their_losses, rtol=1e-10, atol=0)
    np.testing.assert_allclose(rates, their_rates, rtol=1e-14, atol=0)  # a cosine and a product


@pytest.mark.parametrize(
    "validation, held_out",
    [
        ("none", {"test": 10_000}),
        ("train", {"test": 10_000, "validation": 3000}),
        ("test", {"test": 7000, "validation": 3000}),
        ("reported", {"test": 10_000, "validation": 10_000}),
    ],
)
def test_the_same_images_are_held_out_and_trained_on(
    validation: Any, held_out: dict[str, int]
) -> None:
    recipe = Recipe(validation=validation, validation_size=3000, limit=100, seed=5)
    ours, theirs = NpmlpEngine(recipe), TorchEngine(recipe)
    assert ours.has_validation == theirs.has_validation == ("validation" in held_out)
    assert set(ours.held_out) == set(theirs.prepared) == set(held_out)
    for split, count in held_out.items():
        x, y = default_collate(ours.held_out[split].__getitems__(range(count)))
        images, labels = theirs.prepared[split]
        assert len(images) == count
        assert x.numpy().tobytes() == images.numpy().tobytes()
        assert np.array_equal(y.numpy(), labels.numpy())
    for mine, torchs in zip(ours.batches(0), theirs.batches(0), strict=True):
        assert mine[0].numpy().tobytes() == torchs[0].numpy().tobytes()
