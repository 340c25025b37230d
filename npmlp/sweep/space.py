"""What a sweep tries: the values or ranges of some fields of a recipe, and the cells they make."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from npmlp import recipes
from npmlp.errors import RecipeError
from npmlp.recipe_fields import flag, kind
from npmlp.recipes import Recipe

Value = bool | int | float | str | None
Grid = dict[str, tuple[Value, ...]]

KINDS = {field: kind(field, hint) for field, hint in get_type_hints(Recipe).items()}
MOST_CELLS = 10_000

# what a sweep decides itself
_NOT_SWEPT = {
    "name": "a name changes no number",
    "validation": "a sweep ranks its cells on training images that it holds out",
    "validation_size": "all cells of a sweep are ranked on the same images",
    "seed": "the best of several seeds is the luckiest; write --seeds 0,1,2, and every cell is "
    "trained with each of them and ranked by the mean",
}


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")


@dataclass(frozen=True)
class Cell:
    """One training of a sweep: the values of the grid's fields, and the whole recipe."""

    values: Mapping[str, Value]
    recipe: Recipe
    digest: str


def show(value: Value) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_all(values: Mapping[str, Value]) -> str:
    """Fields with their values, in one line."""
    return " ".join(f"{field}={show(value)}" for field, value in values.items())


# ------------------------------------------------------------------------------- the command line


def read_grid(texts: Iterable[str]) -> Grid:
    """The fields and values of `--grid batch_size=10,20 --grid lr=.01,.001`.

    Raises RecipeError for a field that a recipe lacks, a value of a wrong type or range, none at
    all, and what is there twice.
    """
    grid: Grid = {}
    for text in texts:
        origin = f"--grid {text}"
        field, values = _split(text, "--grid", "batch_size=10,20,50")
        _add(grid, field, values.split(",") if values.strip() else [], origin)
    return grid


def read_ranges(texts: Iterable[str]) -> dict[str, Range]:
    """The fields and bounds of `--range lr=1e-5..1e-1:log`. Raises RecipeError as read_grid."""
    ranges: dict[str, Range] = {}
    for text in texts:
        origin = f"--range {text}"
        field, bounds = _split(text, "--range", "lr=1e-5..1e-1:log")
        check_sweepable(field, origin)
        if field in ranges:
            raise RecipeError(f"{origin}: {field} has a range already; give it once")
        bounds, _, scale = bounds.partition(":")
        low_text, dots, high_text = bounds.partition("..")
        if not dots or scale not in ("", "log"):
            raise RecipeError(f"{origin}: expected bounds such as lr=1e-5..1e-1, and :log at most")
        if KINDS[field].type not in (int, float):
            raise RecipeError(f"{origin}: {field} is no number; give its values with --grid")
        low, high = (_value(field, bound, origin) for bound in (low_text, high_text))
        if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
            raise RecipeError(f"{origin}: the first bound must be a number below the second")
        if scale and low <= 0:
            raise RecipeError(f"{origin}: with :log both bounds must be above 0")
        ranges[field] = Range(low, high, bool(scale))
    return ranges


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `--seeds 0,1,2`. Raises RecipeError."""
    found = _values("seed", text.split(",") if text.strip() else [], f"--seeds {text}")
    return tuple(int(str(seed)) for seed in found)


def _split(text: str, name: str, example: str) -> tuple[str, str]:
    field, equals, values = text.partition("=")
    if not equals:
        raise RecipeError(f"{name} {text}: expected a field and its values, such as {example}")
    return recipes.field_name(field, name), values


def _add(grid: Grid, field: str, values: Sequence[Any], origin: str) -> None:
    """Put a field and its values, read from text, into the grid."""
    check_sweepable(field, origin)
    if field in grid:
        raise RecipeError(f"{origin}: {field} is in the grid already; give all its values at once")
    grid[field] = _values(field, values, origin)


def _values(field: str, values: Sequence[Any], origin: str) -> tuple[Value, ...]:
    if not values:
        raise RecipeError(f"{origin}: {field} has no values; write such as batch_size=10,20,50")
    read = tuple(_value(field, str(value), origin) for value in values)
    for value in read:
        if read.count(value) > 1:
            raise RecipeError(f"{origin}: {show(value)} is there twice")
        if KINDS[field].type is int and value is not None and abs(int(value)) > 2**53:
            raise RecipeError(f"{origin}: a study keeps whole numbers up to 2^53 alone")
    return read


def check_sweepable(field: str, origin: str) -> None:
    """Raise RecipeError where no sweep can try values of this field."""
    if field in _NOT_SWEPT:
        raise RecipeError(f"{origin}: {field} cannot be swept: {_NOT_SWEPT[field]}")


def _value(field: str, text: str, origin: str) -> Value:
    try:
        value: Value = recipes.parse_value(field, text)
    except RecipeError as error:
        raise RecipeError(f"{origin}: {str(error).removeprefix(flag(field) + ': ')}") from None
    return value


# ------------------------------------------------------------------------------------- grid files


def shipped() -> dict[str, Any]:
    """The grid files that come with npmlp, by name."""
    folder = files("npmlp.sweep") / "grids"
    return {f.name.removesuffix(".json"): f for f in folder.iterdir() if f.name.endswith(".json")}


@dataclass(frozen=True)
class GridFile:
    """The content of a grid file: the recipe with the file's changes, and the grid."""

    recipe: Recipe | None
    fields: dict[str, Any]
    grid: Grid


def read_grid_file(name: str) -> GridFile:
    """A grid file by its name, of those that npmlp ships, or by its path.

    It is a JSON object with "grid", an object of lists, and where wanted "recipe", the name of one,
    and fields of a recipe such as "epochs". Raises RecipeError for anything else.
    """
    origin, known = f"--grid-file {name}", shipped()
    try:
        content = json.loads(known.get(name, Path(name)).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{origin}: cannot be read ({error.strerror or error}); npmlp ships "
            f"{' and '.join(sorted(known))}, others go by their path"
        ) from None
    except ValueError as error:
        raise RecipeError(f"{origin}: is not JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("grid"), dict):
        raise RecipeError(
            f'{origin}: expected an object such as {{"recipe": "lenet", "grid": {{"lr": [0.1]}}}}'
        )
    grid: Grid = {}
    for field, values in content.pop("grid").items():
        field = recipes.field_name(field, origin)
        scalars = isinstance(values, list) and all(
            value is None or isinstance(value, bool | int | float | str) for value in values
        )
        if not scalars:
            raise RecipeError(f"{origin}: {field} in the grid is no list of plain values")
        _add(grid, field, values, origin)
    if not grid:
        raise RecipeError(f"{origin}: the grid has no field")
    recipe = content.pop("recipe", None)
    base = None if recipe is None else recipes.find(str(recipe), origin)
    fields = dataclasses.asdict(recipes.from_dict(content, origin, base))
    return GridFile(base, {field: fields[field] for field in content}, grid)


# ------------------------------------------------------------------------------------------ cells


def cells(base: Recipe, grid: Grid, seeds: tuple[int, ...]) -> list[Cell]:
    """Every cell of the grid, for every seed. Raises RecipeError for values that do not fit."""
    count = math.prod(map(len, grid.values())) * len(seeds)
    if count > MOST_CELLS:
        raise RecipeError(
            f"--grid: makes {count:,} cells, and a sweep takes {MOST_CELLS:,} at most"
        )
    return [
        cell(base, dict(zip(grid, values, strict=True)), seed)
        for values in itertools.product(*grid.values())
        for seed in seeds
    ]


def cell(base: Recipe, values: Mapping[str, Value], seed: int) -> Cell:
    """The cell of these values. Raises RecipeError where they do not go together."""
    try:
        recipe = recipes.replace(base, **values, seed=seed)
    except RecipeError as error:
        raise RecipeError(f"the cell {show_all(values)}: {error}") from None
    return Cell(values, recipe, recipes.digest(recipe))
