"""The page of one run: what its template shows, from the run's files and its predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import npmlp
from npmlp.report.page_charts import Chart, Line, draw_chart, number, percent
from npmlp.report.page_facts import (
    data_facts,
    machine_facts,
    network_table,
    parameters_of,
    recipe_fields,
    seconds,
    time_facts,
)  # fmt: skip
from npmlp.report.page_images import (
    RIGHT_PER_CLASS,
    Sheet,
    Tile,
    filter_sheet,
    make_sheet,
    zoom_for,
)  # fmt: skip
from npmlp.report.page_run import Results, RunFacts, command_line

if TYPE_CHECKING:
    from npmlp.lint import Finding
    from npmlp.predictions import Predictions

TRAINING, TEST, VALIDATION, RATE = 0, 1, 2, 0  # colours of style.css


def render(template: str, **content: Any) -> str:
    """Fill one of the templates in assets/."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("npmlp.report", "assets"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\u00a0%"
    assert environment.loader is not None

    def asset(name: str) -> Markup:  # our own file, not a reader's text
        return Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]

    return environment.get_template(template).render(
        asset=asset, version=npmlp.__version__, **content
    )


def render_page(run: RunFacts, results: Results | None) -> str:
    """The page of one run as one HTML document; `results` is None while there is no checkpoint."""
    network = run.untrained_network() if results is None else results.network
    metrics = None if results is None else results.metrics
    content: dict[str, Any] = {
        "title": f"{run.label()} · report",
        "run": run,
        "notes": list(run.notes),
        "tiles": _tiles(run, metrics, network),
        "findings_found": [finding_parts(finding) for finding in run.findings],
        "command": command_line(run),
        "charts": run_charts(run),
        "chosen_epoch": run.chosen_epoch,
        "epoch_table": _epoch_table(run),
        "layers": network_table(run, network),
        "filters": None if results is None else filter_sheet(network, run.data.shape),
        "time_facts": time_facts(run),
        "data_facts": data_facts(run),
        "machine_facts": machine_facts(run),
        "predictions": None,
        "sheet": None,
    }
    content["changed"], content["unchanged"] = recipe_fields(run.recipe)
    if results is not None:
        content |= _of_predictions(run, results)
        content["notes"] += _disagreement(run, results.predictions)
    content["parts"] = _parts(content)
    return render("page.html", **content)


def _parts(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The links at the top: (id, name) of the sections that there are."""
    warnings = [("warnings", "Warnings")] if content["findings_found"] else []
    results = [
        ("confusion", "Confusion matrix"), ("mistakes", "Mistakes"), ("samples", "Samples"),
    ]  # fmt: skip
    return [
        *warnings, ("recipe", "Recipe"), ("curves", "Curves"), ("classes", "Classes"),
        *(results if content["predictions"] else []), ("network", "Network"), ("run", "The run"),
    ]  # fmt: skip


def _tiles(run: RunFacts, metrics: dict[str, Any] | None, network: Any) -> list[tuple[str, str]]:
    """(figure, what it is), the important ones first."""
    tiles = []
    if run.reported is not None:
        accuracy = run.reported["test_accuracy"]
        tiles.append(
            (percent(100 * accuracy), f"test accuracy{_standard_error(accuracy, metrics)}")
        )
        if "val_accuracy" in run.reported:
            tiles.append((percent(100 * run.reported["val_accuracy"]), "validation accuracy"))
        tiles.append((number(run.reported["train_loss"]), "training loss"))
    if metrics is not None:
        tiles.append((f"{metrics['macro']['f1']:.4f}", "macro F1"))
    if network is not None:
        tiles.append((f"{parameters_of(network):,}", "parameters"))
    if run.seconds_per_epoch is not None:
        tiles.append((seconds(run.seconds_per_epoch), "an epoch, median"))
    return tiles


def finding_parts(finding: Finding) -> dict[str, Any]:
    """A warning for the template, with the docs' paragraph where the docs are at hand."""
    from npmlp.report.page_docs import paragraph

    return {
        "rule": finding.rule,
        "text": finding.text,
        "when": "" if finding.epoch is None else f"(after epoch {finding.epoch})",
        "link": finding.link,
        "docs": paragraph(finding.link),
    }


def _standard_error(accuracy: float, metrics: dict[str, Any] | None) -> str:
    """How far other test images, as many and of the same kind, would give another figure."""
    if metrics is None:
        return ""
    return f", standard error {100 * math.sqrt(accuracy * (1 - accuracy) / metrics['support']):.2f}"


# ---------------------------------------------------------------------------------- the curves


def run_charts(run: RunFacts) -> list[Chart]:
    """Loss, accuracy, learning rate, and dead units where they were counted."""
    from npmlp.report.curves import changes_by_factors

    if not run.history:
        return []

    def column(field: str, factor: float = 1) -> list[float | None]:
        return [None if row.get(field) is None else factor * row[field] for row in run.history]

    rates = [row["lr"] for row in run.history]
    charts = [
        draw_chart(
            "Mean loss",
            [
                Line("training", column("train_loss"), TRAINING),
                Line("validation", column("val_loss"), VALIDATION),
                Line("test", column("test_loss"), TEST),
            ],
            chosen=run.chosen_epoch,
        ),
        draw_chart(
            "Accuracy in %",
            [
                Line("training", column("train_accuracy", 100), TRAINING),
                Line("validation", column("val_accuracy", 100), VALIDATION),
                Line("test", column("test_accuracy", 100), TEST),
            ],
            text=percent,
            chosen=run.chosen_epoch,
        ),
        draw_chart(
            "Learning rate",
            [Line("learning rate", rates, RATE)],
            scale="log" if changes_by_factors(rates) else "from zero",
            chosen=run.chosen_epoch,
        ),
    ]
    if any(row.get("dead_relus") for row in run.history):
        dead = Line("share of all ReLU units", column("dead_relus", 100), TRAINING)
        charts.append(
            draw_chart("Dead ReLU units in %", [dead], text=percent, chosen=run.chosen_epoch)
        )
    return [chart for chart in charts if chart is not None]


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("epoch", "epoch", str),
    ("lr", "learning rate", number),
    ("train_loss", "training loss", number),
    ("train_accuracy", "training accuracy", lambda x: percent(100 * x)),
    ("val_loss", "validation loss", number),
    ("val_accuracy", "validation accuracy", lambda x: percent(100 * x)),
    ("test_loss", "test loss", number),
    ("test_accuracy", "test accuracy", lambda x: percent(100 * x)),
    ("dead_relus", "dead ReLU units", lambda x: percent(100 * x)),
    ("seconds", "time", seconds),
    ("samples_per_second", "images/s", lambda x: f"{x:,.0f}"),
)


def _epoch_table(run: RunFacts) -> dict[str, Any]:
    there = [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in run.history)]
    return {
        "names": [name for _, name, _ in there],
        "rows": [
            [text(row[field]) if row.get(field) is not None else "" for field, _, text in there]
            for row in run.history
        ],
    }


# ------------------------------------------------------------------------------ the test images


def _of_predictions(run: RunFacts, results: Results) -> dict[str, Any]:
    from npmlp.report.confusion import confusion_counts, row_percentages
    from npmlp.report.samples import mistake_positions, sample_positions

    p, metrics = results.predictions, results.metrics
    samples, mistakes = sample_positions(p), mistake_positions(p)
    sheet = make_sheet(p, [*samples, *mistakes])
    counts = confusion_counts(p)
    scores = ("precision", "recall", "f1")

    def row_of(name: str, values: dict[str, Any], support: int) -> dict[str, Any]:
        return {"name": name, "scores": [values[key] for key in scores], "support": support}

    return {
        "predictions": p,
        "sheet": sheet,
        "zoom": zoom_for(sheet.tile_width, sheet.tile_height),
        "samples": [sheet.tiles[int(i)] for i in samples],
        "mistakes": [sheet.tiles[int(i)] for i in mistakes],
        "matrix": _matrix(counts, row_percentages(counts)),
        "checkpoint_when": _when(run, p),
        "class_rows": [
            row_of(name, values, values["support"]) for name, values in metrics["classes"].items()
        ],
        "average_rows": [
            row_of(f"{kind} mean", metrics[kind], len(p.labels)) for kind in ("macro", "weighted")
        ],
        "wrong_kept": _wrong_kept(p, sheet),
        "right_per_class": RIGHT_PER_CLASS,
        "test_images": {"classes": p.classes, "tiles": [_tile_row(t) for t in _in_order(sheet)]},
    }


def _in_order(sheet: Sheet) -> Sequence[Tile]:
    return sorted(sheet.tiles.values(), key=lambda t: (t.y, t.x))


def _tile_row(t: Tile) -> list[float]:
    """A tile for page.js; short, for there are a thousand."""
    probabilities = round(t.probability, 4), round(t.probability_of_actual, 4)
    return [t.x, t.y, t.index, t.actual, t.predicted, *probabilities]


def _matrix(counts: Any, shares: Any) -> list[list[dict[str, Any]]]:
    """The cells: counts, percentages of the row, and how much colour each gets, 0 to 100.

    The ink of mistakes grows with the square root of their share, else the few would not be seen.
    """
    size = len(counts)
    return [
        [
            {
                "count": int(counts[i, j]),
                "percent": _short_percent(float(shares[i, j])),
                "ink": round(
                    float(shares[i, j]) if i == j else 10 * math.sqrt(float(shares[i, j]))
                ),
            }
            for j in range(size)
        ]
        for i in range(size)
    ]


def _short_percent(share: float) -> str:
    if share == 100 or share == 0:
        return f"{share:.0f}"
    return f"{share:.1f}"


def _when(run: RunFacts, p: Predictions) -> str:
    within = p.epoch == 0 or (run.moment is not None and run.moment.batch > 0)
    return f"written within epoch {p.epoch + 1}" if within else f"written after epoch {p.epoch}"


def _wrong_kept(p: Predictions, sheet: Sheet) -> str:
    wrong = int((~p.right).sum())
    if sheet.wrong_left_out:
        return f"the {wrong - sheet.wrong_left_out:,} most confident of {wrong:,} mistakes"
    return f"all {wrong:,} mistakes"


def _disagreement(run: RunFacts, p: Predictions) -> list[str]:
    """A note where the predictions made here are not those that the run counted."""
    if run.summary is None:
        return []
    correct, counted = int(p.right.sum()), run.summary["test_correct"]
    if (correct, len(p.labels)) == (counted, run.summary["test_count"]):
        return []
    why = (
        "PyTorch's rounding is not npmlp's, and an image on the edge falls to the other side"
        if run.engine == "PyTorch"
        else "the test images or the checkpoint are not those of the training"
    )
    return [
        f"The run counted {counted:,} of {run.summary['test_count']:,} test images as right, and "
        f"the predictions made for this page are right for {correct:,} of {len(p.labels):,}: {why}."
    ]
