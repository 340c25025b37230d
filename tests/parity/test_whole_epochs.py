"""A whole epoch of every recipe in npmlp and in PyTorch, each on its own from the same seed."""

from __future__ import annotations

import dataclasses

import pytest

from npmlp.recipes import RECIPES, Recipe
from reference_torch.parity.whole import Outcome, compare_whole

# training images of an epoch; all 60,000 where that takes some seconds only
IMAGES = {"lenet": 10_000, "mixer": 1_280, "residual": 25_600}
# a step of vanilla is a dozen sums deep and amplifies little: 1e-14. The bound of the others is the
# issue's; a deeper network, and Adam where a gradient is near 0, amplify early roundings
LOSS = {"vanilla": 1e-14}


def trained(recipe: Recipe, **fields: object) -> Outcome:
    return compare_whole(dataclasses.replace(recipe, epochs=1, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RECIPES)
def test_an_epoch_in_float64_is_pytorchs(name: str) -> None:
    found = trained(RECIPES[name], dtype="float64", limit=IMAGES.get(name))
    assert found.steps == -(-IMAGES.get(name, 60_000) // RECIPES[name].batch_size)
    assert found.loss_apart <= LOSS.get(name, 1e-11)
    assert found.weights_apart <= 1e-9
    assert found.predictions_apart == 0
    if name != "vanilla-zeros":  # and the others did learn, in ten steps of mixer a little
        assert found.accuracy > (0.2 if name == "mixer" else 0.5)


# By how many units in the last place the losses of the first 100 steps part in float32. As long as
# no ReLU turns it is a few: 4 of the vanilla recipes, 38 of residual. Once one that was nearly 0
# does, the gradient of an image goes another way, and it is hundreds: 500 of lenet, and 124 of
# vanilla-double-softmax with PyTorch on one thread, where on two none turned. mixer's learning rate
# is high: 7,500 in 30 steps, where PyTorch with rounding noise parted from itself by 3,700
# (reference_torch.parity). Eight times what was seen, for other processors round otherwise.
# lenet's Adam makes as large a step of a gradient near 0 as of any other, and what a turn leaves
# grows: with AVX2 a pooling's winner turned in step 2 of seed 1, seen in conv1.weight's gradient
# alone. In 40 steps the losses of three seeds parted by 4 units at most, in 100 by up to 900,000.
ULPS = {"mixer": 60_000}
STEPS = {"mixer": 30, "lenet": 40}


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_losses_in_float32_are_within_some_units_in_the_last_place(name: str) -> None:
    steps = STEPS.get(name, 100)
    found = trained(RECIPES[name], limit=steps * RECIPES[name].batch_size)
    assert found.steps == steps
    assert 0 < found.loss_ulps <= ULPS.get(name, 4000)
