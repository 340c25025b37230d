"""The linter's rules on what a training shows: dead units, losses at chance, losses that rise."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import npmlp
from npmlp import lint, nn
from npmlp.lint import rules
from npmlp.observe import dead_relus
from npmlp.recipes import RECIPES, Recipe
from npmlp.vision.images import load_image_data
from tests.linting import batch, found, network, train


def test_a_rate_far_too_high_kills_relus_and_an_ordinary_one_does_not() -> None:
    ordinary = Recipe(limit=3000, epochs=1)
    for recipe, expected in [
        (ordinary, None), (dataclasses.replace(ordinary, lr=4.0), "dead-relus")
    ]:  # fmt: skip
        engine, _ = next(train(recipe))
        finding = rules.dead_relus(dead_relus(engine.model, engine.sample("test", 500)[0]))
        assert (finding and finding.rule) == expected


def test_check_finds_dead_relus_of_a_script(library: Any) -> None:
    model = network(library)
    assert found(model, library.nn.CrossEntropyLoss(), batch(library)) == []
    with library.no_grad():
        model[1].bias.fill_(-1e3)
    (finding,) = lint.check(model, library.nn.CrossEntropyLoss(), batch(library))
    assert finding.rule == "dead-relus" and "20 of 20 behind 1;" in finding.text


def test_a_loss_at_chance_after_an_epoch_is_found() -> None:
    labels = load_image_data(None).train_labels[:2000]
    for name, expected in [("vanilla", None), ("vanilla-zeros", "loss-at-chance")]:
        _, losses = next(train(dataclasses.replace(RECIPES[name], limit=2000, epochs=1)))
        finding = rules.loss_at_chance(losses[-1], labels, 1)
        assert (finding and finding.rule) == expected


def test_a_short_epoch_whose_last_steps_were_better_is_not_at_chance() -> None:
    labels = np.arange(1000) % 10
    assert rules.loss_at_chance(2.3019, labels, 1, tested=2.303) is not None
    assert rules.loss_at_chance(2.3019, labels, 1, tested=2.2846) is None  # mixer after 10 steps


def test_chance_is_that_of_the_labels_frequencies() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    chance = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert rules.loss_at_chance(chance, labels) is not None
    assert rules.loss_at_chance(math.log(2), labels) is None


def test_a_rate_too_high_makes_the_loss_rise_and_an_ordinary_one_does_not() -> None:
    ordinary = Recipe(limit=3000, epochs=4, scheduler="none", augment="flip_affine", dropout=0.5)
    for recipe, expected in [
        (ordinary, {None}), (dataclasses.replace(ordinary, lr=2.0), {None, "loss-rises"})
    ]:  # fmt: skip
        said = set()
        for _, losses in train(recipe):
            finding = rules.loss_rises(losses, 10)
            said.add(finding and finding.rule)
        assert said >= expected - {None} and said <= expected


@pytest.mark.parametrize(
    "losses, rises",
    [([0.5, 0.4, 0.35], False), ([0.4, 0.49], False), ([0.4, 0.55], True), ([3.1], False),
     ([17.25], True), ([0.5, 0.3, 0.35, 0.45], True)],
)  # fmt: skip
def test_small_rises_are_noise_and_large_ones_are_not(losses: list[float], rises: bool) -> None:
    assert (rules.loss_rises(losses, 10) is not None) == rises


def test_check_looks_at_the_losses_that_it_is_given() -> None:
    model, loss, data = network(npmlp), nn.CrossEntropyLoss(), batch(npmlp, 1000)
    assert found(model, loss, data, losses=[1.9, 1.2]) == []
    assert found(model, loss, data, losses=[2.3026]) == ["loss-at-chance"]
    assert found(model, loss, data, losses=[0.6, 0.9]) == ["loss-rises"]
