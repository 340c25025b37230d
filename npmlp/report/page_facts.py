"""A run's facts as words: its recipe's fields, its network, time, data, program and machine."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from npmlp.recipes import Recipe
from npmlp.report.page_run import RunFacts, differences


def parameters_of(network: Any) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in network.parameters())


def seconds(value: float) -> str:
    """A time as people say it: 0.61 s, 12.3 s, 4 min 10 s."""
    if value < 60:
        return f"{value:.2f}\u00a0s" if value < 10 else f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


# ---------------------------------------------------------------------------------- the recipe


def recipe_fields(recipe: Recipe) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The fields that differ from the defaults, and the others."""
    import docstring_parser

    helps = {p.arg_name: p.description for p in docstring_parser.parse_from_object(Recipe).params}
    changed, default = differences(recipe, Recipe()), Recipe()
    if recipe.seed != default.seed:
        changed.append("seed")
    fields = {
        field.name: {
            "name": field.name,
            "help": helps.get(field.name) or "",
            "value": value_text(getattr(recipe, field.name)),
            "default": value_text(getattr(default, field.name)),
        }
        for field in dataclasses.fields(Recipe)
        if field.name != "name"
    }
    return (
        [fields[name] for name in fields if name in changed],
        [fields[name] for name in fields if name not in changed],
    )


def value_text(value: Any) -> str:
    """A recipe's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------- network, time, machine


def network_table(run: RunFacts, network: Any) -> dict[str, Any]:
    """The network's layers in the order in which they run, with their work on one image."""
    from npmlp.summary import summarize

    found = summarize(network, (1, *run.data.shape))
    rows = [
        {
            "depth": row.depth,
            "name": row.name,
            "kind": row.kind,
            "shape": "×".join(map(str, row.output_shape[1:])),
            "parameters": _parameters_text(row),
            "work": f"{row.mult_adds:,}" if row.mult_adds else "",
        }
        for row in found.rows
    ]
    facts = [
        ("Network", run.recipe.arch),
        ("Parameters", f"{found.parameters:,}, {found.parameter_bytes / 1e6:.2f} MB"),
        ("Multiply-adds for an image", f"{found.mult_adds_of_rows:,}"),
    ]
    return {"rows": rows, "facts": facts}


def _parameters_text(row: Any) -> str:
    if not row.parameters:
        return ""
    return "as above" if row.repeated else f"{row.parameters:,}"


def time_facts(run: RunFacts) -> list[tuple[str, str]]:
    if not run.history:
        return [("Epochs", f"0 of {run.recipe.epochs}")]
    times = [row["seconds"] for row in run.history]
    rates = [row["samples_per_second"] for row in run.history]
    return [
        ("Epochs", f"{len(times)} of {run.recipe.epochs}"),
        ("All epochs together", seconds(sum(times))),
        ("An epoch, with its evaluation", f"{seconds(float(np.median(times)))} (median), "
         f"{seconds(min(times))} to {seconds(max(times))}"),
        ("Training images per second", f"{np.median(rates):,.0f} (median)"),
    ]  # fmt: skip


def data_facts(run: RunFacts) -> list[tuple[str, str]]:
    data, recipe = run.data, run.recipe
    _, height, width = data.shape
    held = {
        "none": "none held out",
        "train": f"{recipe.validation_size:,} of the training images",
        "test": f"{recipe.validation_size:,} of the test images, which are not reported on",
        "reported": f"{recipe.validation_size:,} of the very test images that are reported",
    }
    used = "all used" if recipe.limit is None else f"the first {recipe.limit:,} used"
    return [
        ("Data set", data.name),
        ("Found in", data.source or "not kept"),
        ("Training images", f"{data.train_count:,}, {used}"),
        ("Test images", f"{data.test_count:,}"),
        ("Size", f"{height} × {width}"),
        ("Validation images", held[recipe.validation]),
        ("Classes", f"{len(data.classes)}: {', '.join(data.classes)}"),
        ("Training pixels, from 0 to 1", f"mean {data.mean:g}, deviation {data.deviation:g}"),
    ]  # fmt: skip


def machine_facts(run: RunFacts) -> list[tuple[str, str]]:
    config = run.config
    facts = [
        ("Engine", run.engine),
        ("Kernels", config.get("kernels")),
        ("Device", config.get("device")),
        ("Threads", config.get("threads")),
        ("Seed", run.recipe.seed),
        ("Versions", ", ".join(f"{k} {v}" for k, v in config.get("versions", {}).items())),
        *((name.capitalize(), value) for name, value in config.get("machine", {}).items()),
        ("Folder", run.name),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]
