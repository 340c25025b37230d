"""A page that compares several runs: their figures, their curves, their classes side by side."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from npmlp import lint
from npmlp.errors import NpmlpError
from npmlp.files import home_as_tilde
from npmlp.report.compare_groups import (
    Compared,
    Group,
    differing,
    fields_text,
    groups_of,
    names_of,
    spread,
    without_seed,
)  # fmt: skip
from npmlp.report.page import finding_parts, render
from npmlp.report.page_charts import Chart, Line, draw_chart, number, percent
from npmlp.report.page_facts import parameters_of, seconds, value_text
from npmlp.report.page_read import read_results
from npmlp.report.page_run import RunFacts, base_of, differences

DASHES = ("", "7 4", "2 4")  # where there are more recipes than colours
COLOURS = 8


@dataclass(frozen=True)
class LeftOut:
    """A run that cannot be compared, because its folder or its data cannot be read."""

    path: Path
    error: NpmlpError | OSError

    @property
    def why(self) -> str:
        """The error on one line, without the run's path where it begins with that."""
        error = self.error
        if isinstance(error, OSError):
            return f"{error.filename or 'a file'}: {error.strerror or error}"
        return " ".join(str(error).split()).removeprefix(f"{self.path}: ")


def compare(paths: Sequence[Path], data: str | None = None) -> tuple[list[Compared], list[LeftOut]]:
    """Read each run's folder and predict with its network, one after the other.

    Returns: the runs, and those that were left out because they cannot be read.
    """
    compared, left_out = [], []
    for path in paths:
        try:
            run, results = read_results(path, data)
            network = run.untrained_network() if results is None else results.network
        except (NpmlpError, OSError) as error:
            left_out.append(LeftOut(path, error))
            continue
        metrics = None if results is None else results.metrics
        compared.append(Compared(run, metrics, parameters_of(network)))
    return compared, left_out


def render_comparison(runs: Sequence[Compared], out: Path, left_out: Sequence[LeftOut] = ()) -> str:
    """The page as one HTML document. `out` is where it will be, for the links to the runs' own."""
    groups = groups_of(runs)
    of_all = f" of {len(runs) + len(left_out)}" if left_out else ""
    return render(
        "compare.html",
        title=f"{len(runs)}{of_all} runs compared",
        notes=[*_left_out_notes(left_out), *notes_on(runs)],
        findings_found=[finding_parts(finding) for finding in _choice(runs)],
        table=_table(runs, groups, out),
        means=_means(groups),
        recipe_table=_recipe_table(groups),
        legend_lines=[_look(i) | {"label": group.label} for i, group in enumerate(groups)],
        charts=_charts(groups),
        class_tables=_class_tables(groups),
    )


# ---------------------------------------------------------------------------------------- notes


def notes_on(runs: Sequence[Compared]) -> list[str]:
    """What a reader has to know before comparing the figures."""
    notes = []
    facts = [run.facts for run in runs]
    names = names_of(facts)
    data = sorted({run.data.name for run in facts})
    if len(data) > 1:
        notes.append(
            f"The runs are of {len(data)} data sets ({', '.join(data)}): an accuracy on one says "
            "nothing beside an accuracy on another."
        )
    elif len({run.data.classes for run in facts}) > 1:
        notes.append("The runs tell different classes apart, so their accuracies are not alike.")
    elif len({_tested_on(run) for run in facts}) > 1:
        notes.append(
            "The runs do not report on the same test images: some hold a part of them out for "
            "validation, which part depends on the seed."
        )
    for run, name in zip(facts, names, strict=True):
        if run.state != "finished":
            notes.append(f"{name} {run.progress()}. {run.reported_when()}".strip())
        notes += [f"{name}: {note}" for note in run.notes]
    return notes


def _left_out_notes(left_out: Sequence[LeftOut]) -> list[str]:
    paths = [(str(one.path), home_as_tilde(one.path)) for one in left_out]
    return [
        f"Left out {short}: {one.why.replace(path, short)}"
        for one, (path, short) in zip(left_out, paths, strict=True)
    ]


def _tested_on(run: RunFacts) -> tuple[Any, ...]:
    recipe = run.recipe
    return (recipe.validation_size, recipe.seed) if recipe.validation == "test" else ()


def _choice(runs: Sequence[Compared]) -> list[lint.Finding]:
    """The linter's word on taking the best of several recipes, for each data set.

    Seeds and engines of a recipe are repetitions, of which nobody chooses: they count as one, with
    their mean accuracy.
    """
    by_data: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for facts in (run.facts for run in runs):
        if facts.summary is not None:
            of_recipe = by_data.setdefault(facts.data.name, {})
            of_recipe.setdefault(without_seed(facts.recipe), []).append(facts.summary)
    found = [
        lint.best_of_several(
            [statistics.fmean(s["test_accuracy"] for s in those) for those in of_recipe.values()],
            min(s["test_count"] for those in of_recipe.values() for s in those),
        )
        for of_recipe in by_data.values()
    ]
    return [finding for finding in found if finding is not None]


# --------------------------------------------------------------------------------------- tables


def _recipe_table(groups: Sequence[Group]) -> dict[str, Any]:
    """The fields that are not the same in all recipes, a column for each group."""
    several = [group.runs[0].facts.recipe for group in groups]
    return {
        "groups": _heads(groups),
        "rows": [
            {"name": field, "values": [value_text(getattr(recipe, field)) for recipe in several]}
            for field in differing(several)
        ],
    }


def _heads(groups: Sequence[Group]) -> list[dict[str, Any]]:
    return [{"label": group.label, "look": _look(i)} for i, group in enumerate(groups)]


def _cell(text: str, value: float | str | None = None) -> dict[str, Any]:
    """What a cell shows, and what the table sorts by where that is another thing."""
    return {"text": text, "value": text if value is None else value}


def _figure(row: dict[str, Any] | None, field: str, text: Any) -> dict[str, Any]:
    return _cell("", "") if row is None or field not in row else _cell(text(row[field]), row[field])


def _table(runs: Sequence[Compared], groups: Sequence[Group], out: Path) -> dict[str, Any]:
    """A row per run. Columns that would be the same or empty for all are left out."""
    facts = [run.facts for run in runs]
    colour = {id(run): _look(i) for i, group in enumerate(groups) for run in group.runs}
    rows: list[dict[str, Any]] = []
    for run, name in zip(runs, names_of(facts), strict=True):
        f, row = run.facts, run.facts.reported
        changed = differences(f.recipe, base_of(f.recipe))
        rows.append(
            {
                "name": name,
                "look": colour[id(run)],
                "link": _link(f, out),
                "cells": {
                    "recipe": _cell(f.recipe.name),
                    "changed": _cell(fields_text(f.recipe, changed)),
                    "seed": _cell(str(f.recipe.seed), f.recipe.seed),
                    "engine": _cell(f.engine),
                    "data": _cell(f.data.name),
                    "test accuracy": _figure(row, "test_accuracy", _share),
                    "validation accuracy": _figure(row, "val_accuracy", _share),
                    "training loss": _figure(row, "train_loss", number),
                    "macro F1": _figure(
                        run.metrics and run.metrics["macro"], "f1", "{:.4f}".format
                    ),
                    "epochs": _cell(f"{len(f.history)} of {f.recipe.epochs}", len(f.history)),
                    "an epoch": _cell("", "")
                    if f.seconds_per_epoch is None
                    else _cell(seconds(f.seconds_per_epoch), f.seconds_per_epoch),
                    "parameters": _cell(f"{run.parameters:,}", run.parameters),
                    "warnings": _cell(", ".join(finding.rule for finding in f.findings)),
                },
            }
        )
    always = {"recipe", "seed", "engine", "test accuracy", "training loss", "epochs", "parameters"}
    columns = [name for name in rows[0]["cells"] if name in always or _varies(name, rows)]
    words = {"recipe", "changed", "engine", "data", "warnings"}
    return {"columns": columns, "rows": rows, "words": words}


def _varies(column: str, rows: Sequence[dict[str, Any]]) -> bool:
    texts = {row["cells"][column]["text"] for row in rows}
    return len(texts) > 1 if column == "data" else texts != {""}


def _share(value: float) -> str:
    return percent(100 * value)


def _link(run: RunFacts, out: Path) -> str:
    """The way from the comparison to the run's own page, "" where it has none."""
    page = run.folder.path / "report.html"
    if not page.exists():
        return ""
    try:
        way = os.path.relpath(page.resolve(), out.resolve().parent)
    except ValueError:  # on another drive of Windows
        return ""
    return quote(Path(way).as_posix())


def _means(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Mean ± standard deviation of the recipes that ran with several seeds."""
    return [
        {
            "label": group.label,
            "look": _look(i),
            "seeds": ", ".join(str(run.facts.recipe.seed) for run in group.runs),
            "figures": [
                plus_minus(group.mean("test_accuracy"), 100, "{:.2f}", "\u00a0%"),
                plus_minus(group.mean("val_accuracy"), 100, "{:.2f}", "\u00a0%"),
                plus_minus(group.mean("train_loss"), 1, "{:.4f}"),
                plus_minus(
                    spread([run.facts.seconds_per_epoch or 0 for run in group.runs]),
                    1,
                    "{:.2f}",
                    "\u00a0s",
                ),
            ],
        }
        for i, group in enumerate(groups)
        if len(group.runs) > 1
    ]


def plus_minus(
    found: tuple[float, float | None] | None, factor: float, form: str, unit: str = ""
) -> str:
    """A mean and its spread as text."""
    if found is None:
        return ""
    mean, deviation = found
    plus = "" if deviation is None else f" ± {form.format(factor * deviation)}"
    return form.format(factor * mean) + plus + unit


def _class_tables(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """F1 by class, a column per group (its mean), a table for each list of classes."""
    tables: dict[tuple[str, ...], list[tuple[int, Group]]] = {}
    for i, group in enumerate(groups):
        if group.runs[0].metrics is not None:
            tables.setdefault(group.runs[0].facts.data.classes, []).append((i, group))
    found = []
    for those in tables.values():
        names = list(those[0][1].runs[0].metrics["classes"])  # type: ignore[index]
        rows = []
        for name in [*names, "macro mean"]:
            values = [_f1(group, name) for _, group in those]
            rows.append(
                {
                    "name": name,
                    "values": values,
                    "best": max(values) if len(values) > 1 and max(values) > min(values) else None,
                }
            )
        found.append(
            {
                "groups": [{"label": group.label, "look": _look(i)} for i, group in those],
                "rows": rows[:-1],
                "mean": rows[-1],
            }
        )
    return found


def _f1(group: Group, name: str) -> float:
    metrics = [run.metrics for run in group.runs if run.metrics is not None]
    return statistics.fmean(
        m["macro"]["f1"] if name == "macro mean" else m["classes"][name]["f1"] for m in metrics
    )


# --------------------------------------------------------------------------------------- curves


def _look(index: int) -> dict[str, Any]:
    """Colour, mark and dashes of a group."""
    marks = ("circle", "square", "triangle", "diamond")
    return {
        "colour": index % COLOURS,
        "mark": marks[index % len(marks)],
        "dash": DASHES[index // COLOURS % len(DASHES)],
    }


def _charts(groups: Sequence[Group]) -> list[Chart]:
    """The runs' curves over each other; the runs of a group in one colour."""

    def chart(title: str, field: str, factor: float, text: Any) -> Chart | None:
        lines = []
        for i, group in enumerate(groups):
            for run in group.runs:
                values = [
                    None if row.get(field) is None else factor * row[field]
                    for row in run.facts.history
                ]
                seed = f", seed {run.facts.recipe.seed}" if len(group.runs) > 1 else ""
                label = f"{group.label}{seed}"
                lines.append(Line(label, values, _look(i)["colour"], _look(i)["dash"]))
        return draw_chart(title, lines, text=text)

    charts = [
        chart("Test accuracy in %", "test_accuracy", 100, percent),
        chart("Validation accuracy in %", "val_accuracy", 100, percent),
        chart("Training loss", "train_loss", 1, number),
        chart("Training accuracy in %", "train_accuracy", 100, percent),
    ]
    return [c for c in charts if c is not None]
