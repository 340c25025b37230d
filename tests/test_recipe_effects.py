"""Fields that change nothing in a recipe: they really do not, and giving one is an error."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from small_run import same_bits, weights

from npmlp import commands, recipes, train, train_command
from npmlp.recipe_effects import DECIDING, never_with_effect, without_effect
from npmlp.recipes import RECIPES, Recipe

FIELDS = [f.name for f in dataclasses.fields(Recipe)]
# another value for every field that can be without effect
OTHERS: dict[str, Any] = {
    "patch": 7, "decay": "weights", "factor": 0.5, "patience": 1, "step_size": 2, "min_lr": 0.01,
    "translate": 0.3, "scale": 0.3, "validation_size": 7,
}  # fmt: skip


def trained(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The weights after three short epochs."""
    train.fit(
        dataclasses.replace(recipe, limit=96, epochs=3, batch_size=32),
        train.Run(out=str(folder), report=False, lint=False),
    )
    return weights(folder)


@pytest.mark.parametrize("scheduler", ["none", "plateau", "cosine", "step"])
def test_a_field_without_effect_changes_no_bit_and_one_with_effect_does(
    scheduler: Any, tmp_path: Path
) -> None:
    # from zeros at so low a rate that the loss stays where it is, so that plateau acts at once
    recipe = Recipe(scheduler=scheduler, init="zeros", lr=0.001, patience=0, step_size=1)
    before = trained(recipe, tmp_path / "before")
    for field, value in OTHERS.items():
        after = trained(dataclasses.replace(recipe, **{field: value}), tmp_path / f"with-{field}")
        assert same_bits(before, after) == (without_effect(recipe, field) is not None), field


def test_every_field_of_mixer_with_everything_switched_on_has_an_effect() -> None:
    recipe = recipes.replace(
        RECIPES["mixer"], optimizer="sgd", weight_decay=0.1, augment="flip_affine",
        validation="train", scheduler="plateau",
    )  # fmt: skip
    assert [f for f in FIELDS if without_effect(recipe, f)] == ["step_size"]


def test_the_answer_depends_on_the_deciding_fields_alone() -> None:
    others = {"init": "zeros", "lr": 0.5, "epochs": 3, "momentum": 0.5, "dropout": 0.5, "patch": 2}
    for recipe in RECIPES.values():
        for field, value in others.items():
            if field == "momentum" and recipe.optimizer != "sgd":
                continue
            if field == "dropout" and recipe.arch == "lenet":
                continue
            assert field not in DECIDING
            changed = dataclasses.replace(recipe, **{field: value})
            assert [without_effect(recipe, f) for f in FIELDS] == [
                without_effect(changed, f) for f in FIELDS
            ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--patch 7", "--patch: has no effect, for vanilla cuts no patches; mixer does; leave it"),
        ("--patch=7", "--patch: has no effect"),
        ("--recipe residual --patch 4", "--patch: has no effect, for residual cuts no patches"),
        ("--arch lenet --factor 0.5", "--factor: has no effect, for --scheduler none has none; "
                                      "plateau and step have; leave it out"),
        ("--arch residual --patience 3", "--patience: has no effect, for --scheduler cosine has "
                                         "none; plateau has; leave it out"),
        ("--step-size 3", "--step-size: has no effect, for --scheduler plateau has none"),
        ("--step_size 3", "--step-size: has no effect"),
        ("--translate 0.1", "--translate: has no effect, for --augment none moves no image"),
        ("--augment flip --scale 0.2", "--scale: has no effect, for --augment flip scales no"),
        ("--decay weights", "--decay: has no effect, for there is no --weight-decay"),
        ("--validation-size 100", "--validation-size: has no effect, for --validation none"),
    ],
)  # fmt: skip
def test_a_flag_without_effect_is_refused_in_a_sentence(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(train.main, flags.split()) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [
        "--arch mixer --patch 7",
        "--scheduler step --step-size 3 --factor 0.5",
        "--augment flip_affine --translate 0.1 --scale 0.1",
        "--weight-decay 0.1 --decay weights",
        "--validation train --validation-size 100",
    ],
)
def test_a_flag_with_effect_is_taken(flags: str) -> None:
    train_command.parse(flags.split(), "train", train.Run)


def test_a_recipe_of_a_file_may_hold_fields_without_effect(tmp_path: Path) -> None:
    # as a sweep's best.json and a run's config.json do: they hold every field
    path = tmp_path / "recipe.json"
    path.write_text('{"arch": "vanilla", "patch": 7}')
    recipe = train_command.parse(["--recipe", str(path)], "train", train.Run)[0]
    assert (recipe.arch, recipe.patch) == ("vanilla", 7)


def test_a_field_that_has_an_effect_for_one_of_several_choices_has_one() -> None:
    vanilla = RECIPES["vanilla"]
    assert never_with_effect(vanilla, "patch", {}) == "vanilla cuts no patches; mixer does"
    assert never_with_effect(vanilla, "patch", {"lr": (0.1, 0.2), "arch": ("lenet", "vanilla")})
    assert never_with_effect(vanilla, "patch", {"arch": ("lenet", "mixer")}) is None
    assert never_with_effect(vanilla, "arch", {"arch": ("lenet", "mixer")}) is None
