"""The engine's steps in one go are its steps one after another, and PyTorch's."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

import npmlp
from npmlp import engine as engine_module
from npmlp.engine import AT_ONCE, NpmlpEngine
from npmlp.engine_protocol import NotFiniteError
from npmlp.recipes import RECIPES, Recipe
from reference_torch.engine import TorchEngine


def trained(engine: Any, one_by_one: bool, epochs: int = 2, skip: int = 0) -> Any:
    """Each step's score, and what the training has left."""
    scores: list[Any] = []
    for _ in range(epochs):
        if one_by_one:
            scores += [engine.step(batch) for batch in engine.batches(skip)]
        else:
            scores += itertools.chain.from_iterable(engine.steps(skip))
        engine.end_epoch(1.0)
    weights = {k: v.numpy().tobytes() for k, v in engine.model.state_dict().items()}
    return scores, weights, engine.generator_state().tobytes()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_each_recipe_trains_to_the_same_bits(recipe: Recipe) -> None:
    """Its augmentation and its dropout draw in turn; the last batch is a smaller one."""
    recipe = dataclasses.replace(recipe, batch_size=8, limit=8 * (AT_ONCE + 2) + 5)
    assert trained(NpmlpEngine(recipe), False) == trained(NpmlpEngine(recipe), True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_however_it_computes(kernels: Any, eager: bool, threads: int) -> None:
    npmlp.set_num_threads(threads)
    npmlp.set_kernels(kernels)
    recipe = dataclasses.replace(
        RECIPES["vanilla-xavier-aug-dropout"], limit=140, batch_size=16, validation="train",
        validation_size=300,
    )  # fmt: skip
    expected = trained(NpmlpEngine(recipe), True, skip=2)
    assert trained(NpmlpEngine(recipe, eager=eager), False, skip=2) == expected


def test_the_losses_are_pytorchs() -> None:
    recipe = dataclasses.replace(
        RECIPES["vanilla-xavier-aug-dropout"], limit=200, batch_size=8, dtype="float64"
    )
    ours, theirs = (trained(make(recipe), False)[0] for make in (NpmlpEngine, TorchEngine))
    assert [score.correct for score in ours] == [score.correct for score in theirs]
    # each rounding is 1.1e-16 of its sum, and 50 steps of training amplify what came before
    np.testing.assert_allclose(
        [score.loss for score in ours], [score.loss for score in theirs], rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("lr, after", [(1e30, 1), (3e3, 6), (500.0, 7), (200.0, 8), (60.0, 10)])
def test_a_loss_that_is_not_finite_ends_them_where_it_is(lr: float, after: int) -> None:
    """The scores of the steps before it have been given, and the weights are theirs."""
    recipe = Recipe(limit=64 * 80, lr=lr, scheduler="none")

    def until_it_ends(engine: NpmlpEngine, one_by_one: bool) -> Any:
        scores: list[Any] = []
        with pytest.raises(NotFiniteError, match="the loss is") as error:
            if one_by_one:
                for batch in engine.batches(0):
                    scores.append(engine.step(batch))
            else:
                for together in engine.steps(0):
                    scores += together
        weights = {k: v.numpy().tobytes() for k, v in engine.model.state_dict().items()}
        return scores, weights, error.value.what

    expected = until_it_ends(NpmlpEngine(recipe), True)
    assert len(expected[0]) == after
    assert until_it_ends(NpmlpEngine(recipe), False) == expected


def test_how_many_go_together_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(RECIPES["residual"], batch_size=8, limit=100)
    found = []
    for at_once in (1, 3, 100):
        monkeypatch.setattr(engine_module, "AT_ONCE", at_once)
        found.append(trained(NpmlpEngine(recipe), False))
    assert found[0] == found[1] == found[2]
