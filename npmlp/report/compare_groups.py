"""Runs that belong together: of one recipe by one engine on one data set, with several seeds."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npmlp import recipes
from npmlp.files import home_as_tilde
from npmlp.report.page_facts import value_text
from npmlp.report.page_run import RunFacts, differences


@dataclass(frozen=True)
class Compared:
    """A run and the metrics of its predictions, None where it has no checkpoint."""

    facts: RunFacts
    metrics: dict[str, Any] | None
    parameters: int


@dataclass(frozen=True)
class Group:
    """Runs of one recipe by one engine on one data set: they differ in their seeds.

    An unfinished run is a group for itself.
    """

    label: str
    runs: list[Compared]

    def mean(self, field: str) -> tuple[float, float | None] | None:
        """(mean, standard deviation) of a field of the reported rows; None where it has none."""
        rows = [run.facts.reported for run in self.runs]
        return spread([row[field] for row in rows if row is not None and field in row])


def spread(values: Sequence[float]) -> tuple[float, float | None] | None:
    """(mean, standard deviation of a sample); the deviation of one value is None."""
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def groups_of(runs: Sequence[Compared]) -> list[Group]:
    """The runs by engine, recipe without its seed, and data set, in the order of the runs."""
    found: dict[tuple[Any, ...], list[Compared]] = {}
    for run in runs:
        facts = run.facts
        alone = None if facts.state == "finished" else facts.folder.path
        recipe = without_seed(facts.recipe)
        found.setdefault((facts.engine, recipe, facts.data.test_sha256, alone), []).append(run)
    labels = [_group_label(members[0].facts, runs) for members in found.values()]
    return [
        Group(label if labels.count(label) == 1 else f"{label} ({members[0].facts.name})", members)
        for label, members in zip(labels, found.values(), strict=True)
    ]


def without_seed(recipe: recipes.Recipe) -> str:
    """What a recipe has in common with its other seeds, and with itself under another name."""
    return recipes.digest(dataclasses.replace(recipe, seed=0))


def _group_label(facts: RunFacts, runs: Sequence[Compared]) -> str:
    """The recipe's name, and what else tells it from the other runs."""
    words = [facts.recipe.name]
    same_name = [run.facts for run in runs if run.facts.recipe.name == facts.recipe.name]
    fields = differing([other.recipe for other in same_name])
    if fields:
        words.append(fields_text(facts.recipe, fields))
    if facts.engine != "npmlp":
        words.append(facts.engine)
    if len({run.facts.data.name for run in runs}) > 1:
        words.append(facts.data.name)
    if facts.state != "finished":
        words.append("unfinished")
    return ", ".join(words)


def differing(several: Sequence[recipes.Recipe]) -> list[str]:
    """The fields in which some of the recipes differ, in the recipe's order."""
    found = {field for recipe in several for field in differences(recipe, several[0])}
    return [f.name for f in dataclasses.fields(recipes.Recipe) if f.name in found]


def fields_text(recipe: recipes.Recipe, fields: Sequence[str]) -> str:
    return ", ".join(f"{field} {value_text(getattr(recipe, field))}" for field in fields)


def names_of(runs: Sequence[RunFacts]) -> list[str]:
    """The folders' names; their paths where two have the same name."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else home_as_tilde(run.folder.path)
        for name, run in zip(names, runs, strict=True)
    ]
