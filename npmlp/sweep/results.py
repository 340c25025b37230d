"""What a sweep found: its cells in the order of their held-out accuracy, as a table and files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npmlp.files import write_atomically
from npmlp.recipes import Recipe
from npmlp.sweep.space import Value, cell, cells
from npmlp.sweep.spec import Spec, SweepFolder
from npmlp.sweep.study import Record, State


@dataclass(frozen=True)
class Row:
    """One training of the sweep: a line of sweep.csv."""

    values: Mapping[str, Value]
    seed: int
    digest: str
    record: Record


@dataclass(frozen=True)
class Group:
    """The trainings that differ in the seed alone: one place of the ranking."""

    values: Mapping[str, Value]
    rows: tuple[Row, ...]

    @property
    def state(self) -> State:
        """done where all its trainings are, else what the one that is not has come to."""
        return next((r.record.state for r in self.rows if r.record.state != "done"), "done")

    def mean(self, field: str) -> float:
        """The mean of a field of the results."""
        return math.fsum(_result(row)[field] for row in self.rows) / len(self.rows)

    @property
    def accuracy(self) -> float:
        """The mean accuracy on the held-out images."""
        return self.mean("validation_accuracy")


def _result(row: Row) -> dict[str, Any]:
    return row.record.result or {}


def rows_of(spec: Spec, records: Mapping[str, Record]) -> list[Row]:
    """Every training of a grid, in its order; of another sampler those begun so far."""
    if spec.sampler == "grid":
        return [
            Row(c.values, c.recipe.seed, c.digest, records.get(c.digest, Record(c.values)))
            for c in cells(spec.base, spec.grid, spec.seeds)
        ]
    return [Row(r.values, spec.seeds[0], digest, r) for digest, r in records.items()]


def ranking(rows: Sequence[Row]) -> list[Group]:
    """The groups, best first, then those that are not done in their own order.

    The order is that of the accuracy on held-out training images, and among equals that of the loss
    on them. Test images have no say in it.
    """
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.values.values()), []).append(row)
    found = [Group(same[0].values, tuple(same)) for same in groups.values()]
    done = [group for group in found if group.state == "done"]
    done.sort(key=lambda group: (-group.accuracy, group.mean("validation_loss")))
    return done + [group for group in found if group.state != "done"]


def recipe_of(spec: Spec, group: Group) -> Recipe:
    """The recipe of a group, with its first seed: what `--recipe best.json` trains."""
    recipe = cell(spec.base, group.values, group.rows[0].seed).recipe
    return dataclasses.replace(recipe, name=f"{spec.base.name}-best")


# ------------------------------------------------------------------------------------------ files

# the columns of results, and what each is called in a training's result
_RESULTS = {
    "validation_accuracy": "validation_accuracy",
    "validation_loss": "validation_loss",
    "best_epoch": "best_epoch",
    "epochs_trained": "epochs",  # the recipe's epochs may be a column of their own
    "train_loss": "train_loss",
    "seconds": "seconds",
}


def write_table(spec: Spec, folder: SweepFolder, groups: Sequence[Group]) -> None:
    """sweep.csv, in the order of the ranking, and best.json."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    results = _RESULTS
    if any(len(group.rows) > 1 for group in groups):
        results = {"mean_validation_accuracy": "mean_validation_accuracy"} | results
    table.writerow(
        ["rank", *spec.fields, "seed", "state", *results, "attempts", "started", "digest", "error"]
    )
    for rank, group in enumerate(groups, 1):
        done = group.state == "done"
        for row in group.rows:
            found = _result(row) | ({"mean_validation_accuracy": group.accuracy} if done else {})
            record = row.record
            table.writerow(
                [
                    rank if done else "",
                    *("none" if row.values[f] is None else row.values[f] for f in spec.fields),
                    row.seed,
                    record.state,
                    *(found.get(field, "") for field in results.values()),
                    record.attempts, record.started, row.digest, record.error.split("\n")[0],
                ]
            )  # fmt: skip
    write_atomically(folder.table, text.getvalue())
    if groups and groups[0].state == "done":
        recipe = dataclasses.asdict(recipe_of(spec, groups[0]))
        write_atomically(folder.best, json.dumps(recipe, indent=2) + "\n")


def result_of(spec: Spec, groups: Sequence[Group]) -> dict[str, Any]:
    """result.json of a sweep that is done: counts, and the best cell with its test accuracy.

    The one place that looks at test images, after they can change nothing.
    """
    rows = [row for group in groups for row in group.rows]
    states = [row.record.state for row in rows]
    content: dict[str, Any] = {
        "sweep": spec.name,
        "cells": len(rows),
        **{state: states.count(state) for state in ("done", "pruned", "failed")},
        "training_seconds": math.fsum(_result(row).get("seconds", 0.0) for row in rows),
        "validation_count": spec.base.validation_size,
        "best": None,
    }
    if groups and groups[0].state == "done":
        best = groups[0]
        content["best"] = {
            "values": dict(best.values),
            "seeds": [row.seed for row in best.rows],
            "digests": [row.digest for row in best.rows],
            "validation_accuracy": best.accuracy,
            "standard_error": standard_error(spec, best),
            "as_good_within_it": len(as_good(spec, groups)),
            "test_accuracy": best.mean("test_accuracy"),
            "test_count": _result(best.rows[0])["test_count"],
        }
    return content


def standard_error(spec: Spec, group: Group) -> float:
    """Of an accuracy p on n held-out images: sqrt(p (1 - p) / n)."""
    p = group.accuracy
    return math.sqrt(p * (1 - p) / (spec.base.validation_size * len(group.rows)))


def as_good(spec: Spec, groups: Sequence[Group]) -> list[Group]:
    """The cells after the best whose accuracy is within one standard error of its."""
    least = groups[0].accuracy - standard_error(spec, groups[0])
    return [group for group in groups[1:] if group.state == "done" and group.accuracy >= least]
