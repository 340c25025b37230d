"""Recipes: which values their fields take, how they are written as text, and their digest."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npmlp import commands, recipes, train, train_command
from npmlp.errors import RecipeError
from npmlp.recipes import RECIPES, Recipe

FIELDS = [f.name for f in dataclasses.fields(Recipe)]


def test_recipes_of_every_name_are_complete() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name


# --------------------------------------------------------------------------------- values as text


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_field_of_every_recipe_is_read_back_from_its_text(recipe: Recipe) -> None:
    for field in FIELDS:
        value = getattr(recipe, field)
        read = recipes.parse_value(field, str(value))
        assert read == value and type(read) is type(value), field


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("lr", ".001", 0.001),
        ("lr", "1", 1.0),
        ("lr", "1e-3", 0.001),
        ("batch_size", " 20 ", 20),
        ("batch-size", "20", 20),
        ("--batch-size", "20", 20),
        ("clip_norm", "none", None),
        ("scheduler", "none", "none"),
        ("nesterov", "True", True),
        ("nesterov", "false", False),
        ("seed", "-1", -1),
    ],
)
def test_text_is_read_as_on_a_command_line(field: str, text: str, value: Any) -> None:
    read = recipes.parse_value(field, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("batchsize", "20", "no field 'batchsize'; did you mean batch_size"),
        ("zzz", "20", "no field 'zzz'; the fields: name, arch"),
        ("batch_size", "ten", "--batch-size: got 'ten', expected a whole number of at least 1"),
        ("batch_size", "10.5", "--batch-size: got '10.5', expected a whole number"),
        ("batch_size", "0", "--batch-size: got 0, expected a whole number of at least 1"),
        ("batch_size", "none", "--batch-size: got 'none'"),
        ("lr", "fast", "--lr: got 'fast', expected a number above 0"),
        ("lr", "0", "--lr: got 0.0, expected a number above 0"),
        ("lr", "inf", "--lr: got inf"),
        ("clip_norm", "-1", "--clip-norm: got -1.0, expected a number above 0 or none"),
        ("dropout", "1", "--dropout: got 1.0, expected a number of at least 0 and below 1"),
        ("optimizer", "sgdd", "--optimizer: got 'sgdd', expected one of sgd, adam, adamw"),
        ("nesterov", "1", "--nesterov: got '1', expected true or false"),
        ("seed", str(2**64), "expected a whole number from -2^63"),
        ("name", "a/b", "--name: got 'a/b', expected a name without"),
        ("name", "", "--name: got ''"),
    ],
)
def test_text_that_makes_no_sense_is_one_sentence(field: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipes.parse_value(field, text)
    assert message in str(error.value)


# ----------------------------------------------------------------------------------- from a dict


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_survives_its_json(recipe: Recipe) -> None:
    text = json.dumps(dataclasses.asdict(recipe))
    assert recipes.from_dict(json.loads(text), "text") == recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 1}, "text: a recipe has no field 'learning_rate'"),
        ({"batch-size": 1}, "text: a recipe has no field 'batch-size'; did you mean batch_size?"),
        ({"epochs": "20"}, "text: epochs: got '20', expected a whole number of at least 1"),
        ({"epochs": 20.0}, "text: epochs: got 20.0, expected a whole number"),
        ({"epochs": True}, "text: epochs: got True, expected a whole number"),
        ({"epochs": None}, "text: epochs: got None, expected a whole number"),
        ({"lr": True}, "text: lr: got True, expected a number"),
        ({"lr": "0.1"}, "text: lr: got '0.1', expected a number"),
        ({"lr": 10**400}, "text: lr: got 1000"),
        ({"lr": math.nan}, "text: lr: got nan"),
        ({"nesterov": 1}, "text: nesterov: got 1, expected true or false"),
        ({"arch": ["vanilla"]}, "text: arch: got ['vanilla'], expected one of vanilla, lenet"),
        ({"name": 3}, "text: name: got 3"),
        ({"optimizer": "adam", "momentum": 0.9}, "text: --momentum: adam has none"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipes.from_dict(fields, "text")
    assert str(error.value).startswith(message)


def test_numbers_are_kept_in_the_type_of_their_field() -> None:
    recipe = Recipe(lr=1, batch_size=np.int64(20), dropout=np.float32(0.5))  # type: ignore[arg-type]
    assert [type(v) for v in (recipe.lr, recipe.batch_size, recipe.dropout)] == [float, int, float]
    assert json.dumps(dataclasses.asdict(recipe))


def test_replace_checks_as_a_recipe_does() -> None:
    assert recipes.replace(RECIPES["lenet"], lr=1, epochs=3).epochs == 3
    with pytest.raises(RecipeError, match="--lr: got -1, expected"):
        recipes.replace(RECIPES["lenet"], lr=-1)
    with pytest.raises(RecipeError, match="no field 'epoch'; did you mean epochs"):
        recipes.replace(RECIPES["lenet"], epoch=3)
    with pytest.raises(RecipeError, match="--dropout: lenet has none"):
        recipes.replace(RECIPES["lenet"], dropout=0.5)


# --------------------------------------------------------------------- by name, and from a file


def parsed(*flags: str) -> Recipe:
    """The recipe that the train command makes of its flags."""
    return train_command.parse(flags, "train", train.Run)[0]


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_arch_and_recipe_take_the_recipe_and_flags_override_it() -> None:
    assert parsed() == RECIPES["vanilla"]
    assert parsed("--arch", "lenet") == parsed("--recipe", "lenet") == RECIPES["lenet"]
    assert parsed("--recipe=vanilla-zeros") == RECIPES["vanilla-zeros"]
    mine = parsed("--recipe", "residual", "--epochs", "3", "--validation", "none")
    assert mine == recipes.replace(RECIPES["residual"], epochs=3, validation="none")
    assert mine.name == "residual"
    both = parsed("--recipe", "residual", "--arch", "mixer")
    assert both == recipes.replace(RECIPES["residual"], arch="mixer")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_file_with_a_whole_recipe_is_that_recipe(recipe: Recipe, tmp_path: Path) -> None:
    mine = recipes.replace(recipe, lr=0.012, name="mine")
    file = written(tmp_path / "mine.json", dataclasses.asdict(mine))
    assert parsed("--recipe", file) == mine
    assert parsed("--recipe", file, "--epochs", "3") == recipes.replace(mine, epochs=3)


def test_fields_that_a_file_leaves_out_are_those_of_its_name_or_else_its_arch(
    tmp_path: Path,
) -> None:
    file = tmp_path / "part.json"
    for fields, base in [
        ({"name": "residual", "epochs": 3}, "residual"),
        ({"arch": "lenet", "epochs": 3}, "lenet"),
        ({"name": "mine", "arch": "mixer", "epochs": 3}, "mixer"),
        ({"epochs": 3}, "vanilla"),
    ]:
        assert recipes.from_file(written(file, fields)) == recipes.replace(RECIPES[base], **fields)
    # a run's config.json was written whole: what it lacks is younger than the run
    config = {"engine": "npmlp", "recipe": {"name": "residual", "arch": "residual"}}
    assert recipes.from_file(written(file, config)) == Recipe(name="residual", arch="residual")


def test_fit_takes_a_name_and_a_file_too(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.json", {"arch": "residual", "limit": 64, "epochs": 1})
    run = train.Run(out=str(tmp_path / "run"), report=False)
    _, folder = train.fit(file, run)
    assert folder.recipe() == recipes.replace(RECIPES["residual"], limit=64, epochs=1)
    with pytest.raises(RecipeError, match="fit: there is no 'resdual'; did you mean residual"):
        train.fit("resdual", run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON (Expecting property name"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([1], 'holds no JSON object; expected one such as {"arch"'),
        ({"batchsize": 3}, "a recipe has no field 'batchsize'; did you mean batch_size"),
        ({"lr": "0.1"}, "lr: got '0.1', expected a number above 0"),
        ({"arch": "lenet", "lr": -1}, "lr: got -1, expected a number above 0"),
        ({"arch": "lenett"}, "arch: got 'lenett', expected one of vanilla, lenet"),
        ({"arch": "lenet", "dropout": 0.5}, "--dropout: lenet has none"),
        ('{"lr": NaN}', "lr: got nan"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_sentence_with_file_and_field(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "bad.json", content)
    assert commands.run(train.main, ["--recipe", file]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: --recipe {file}: {message}") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe", "no/such.json"], "--recipe no/such.json: cannot be read (No such file"),
        (["--recipe", "such.json"], "--recipe such.json: cannot be read (No such file"),
        (["--recipe", "./tests"], "--recipe ./tests: cannot be read ("),
        (["--recipe", "resdual"], "--recipe: there is no 'resdual'; did you mean residual?"),
        (["--recipe", "zzz"], "--recipe: there is no 'zzz'; the names: vanilla, vanilla-zeros"),
        (["--arch", "vanila"], "--arch: there is no 'vanila'; did you mean vanilla?"),
        (["--arch", "vanilla-zeros"],
         "--arch: vanilla-zeros is a recipe, not a network; use --recipe vanilla-zeros"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_not_there_is_one_sentence(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(train.main, flags) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}") and errors.count("\n") == 1


# -------------------------------------------------------------------------------------- digest


def test_the_digest_is_of_all_fields_that_have_an_effect() -> None:
    # recipes in which every field has one
    mixer = dataclasses.replace(
        Recipe(), arch="mixer", momentum=0.9, weight_decay=0.1, augment="flip_affine",
        validation="train",
    )  # fmt: skip
    step = dataclasses.replace(mixer, scheduler="step")
    others: dict[str, Any] = {
        "arch": "vanilla", "init": "zeros", "dropout": 0.5, "patch": 7, "output": "softmax",
        "epochs": 3, "batch_size": 3, "optimizer": "adam", "lr": 0.3, "momentum": 0.3,
        "nesterov": True, "weight_decay": 0.3, "decay": "weights", "label_smoothing": 0.3,
        "clip_norm": 0.3, "scheduler": "none", "factor": 0.3, "patience": 3, "step_size": 3,
        "min_lr": 0.3, "augment": "flip", "translate": 0.3, "scale": 0.3, "normalize": "scale",
        "validation": "test", "validation_size": 3, "early_stopping": 3, "limit": 3, "seed": 3,
        "dtype": "float64",
    }  # fmt: skip
    assert ["name", *others] == FIELDS  # a new field belongs into this test
    changed = [
        dataclasses.replace(
            step if field == "step_size" else mixer,
            **{field: value} | ({"momentum": 0} if value == "adam" else {}),
        )
        for field, value in others.items()
    ]
    assert len({recipes.digest(recipe) for recipe in [mixer, step, *changed]}) == 2 + len(others)
    assert recipes.digest(dataclasses.replace(mixer, name="other")) == recipes.digest(mixer)


def test_recipes_that_train_alike_have_one_digest() -> None:
    vanilla, none = Recipe(), Recipe(scheduler="none")
    assert recipes.digest(dataclasses.replace(vanilla, patch=7)) == recipes.digest(vanilla)
    assert recipes.digest(dataclasses.replace(none, factor=0.5)) == recipes.digest(none)
    assert recipes.digest(dataclasses.replace(vanilla, factor=0.5)) != recipes.digest(vanilla)


def test_the_digest_is_the_same_for_equal_numbers_and_in_every_process() -> None:
    assert recipes.digest(Recipe(lr=1)) == recipes.digest(Recipe(lr=1.0))
    digest = recipes.digest(RECIPES["lenet"])
    assert len(digest) == 16 and int(digest, 16) >= 0
    assert digest == recipes.digest(recipes.from_dict(dataclasses.asdict(RECIPES["lenet"]), ""))
