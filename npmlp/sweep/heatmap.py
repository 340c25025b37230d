"""The picture of a sweep: held-out accuracy over the swept fields.

One field gives a line, two a heatmap, more a heatmap for each combination of the others; what a
sampler chose from ranges gives points, in a panel for each field.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npmlp.report.style import (
    BLUE,
    GREY,
    ORANGE,
    drawable,
    headline,
    house_style,
    ink,
    new_figure,
    shortened,
    write_png,
)
from npmlp.sweep.results import Group
from npmlp.sweep.space import KINDS, Value, show, show_all
from npmlp.sweep.spec import Spec

MOST_PANELS = 24
_NOT_DONE = {"failed": "failed", "pruned": "pruned", "missing": "open"}


def draw_sweep(spec: Spec, groups: Sequence[Group], path: Path) -> None:
    """Draw the ranking into a PNG file."""
    write_png(sweep_figure(spec, groups), path)


@house_style()
def sweep_figure(spec: Spec, groups: Sequence[Group]) -> Any:
    """The picture of these groups, best first. Returns: a matplotlib Figure."""
    varied = [f for f in spec.fields if len({g.values[f] for g in groups}) > 1]
    if spec.sampler == "tpe":
        return _points(spec, groups)
    if len(varied) < 2:
        return _line(spec, groups, (varied or spec.fields)[0])
    # stable: of equally many values, the field that was given first goes across
    varied.sort(key=lambda f: -len({g.values[f] for g in groups}))
    return _maps(spec, groups, varied[0], varied[1], varied[2:])


def _headline(spec: Spec, groups: Sequence[Group], figure: Any, varied: Sequence[str]) -> None:
    done = [group for group in groups if group.state == "done"]
    recipe, epochs = spec.base.name, spec.base.epochs
    title = f"{recipe}, {epochs} epochs: accuracy on {spec.base.validation_size:,} held-out images"
    if "epochs" in spec.fields:
        title = f"{recipe}: accuracy on {spec.base.validation_size:,} held-out images"
    seeds = f", mean of {len(spec.seeds)} seeds" if len(spec.seeds) > 1 else ""
    text = f"{len(done)} of {len(groups)} cells done{seeds}"
    if done:
        best = {f: v for f, v in done[0].values.items() if f in varied} or done[0].values
        text = f"best: {100 * done[0].accuracy:.2f} % at {show_all(best)}; {text}"
    width = figure.get_figwidth() * 72 - 28
    headline(figure, title, shortened(text, width, 12))


def _sorted(field: str, groups: Sequence[Group]) -> list[Value]:
    """The field's values: numbers in their order, none before them, words as they were given."""
    values = list(dict.fromkeys(group.values[field] for group in groups))
    if KINDS[field].choices:
        return [choice for choice in KINDS[field].choices if choice in values]
    return sorted(values, key=lambda v: -math.inf if v is None else float(v))


# ------------------------------------------------------------------------------- two and more


def _maps(spec: Spec, groups: Sequence[Group], x: str, y: str, others: list[str]) -> Any:
    """A heatmap over x and y for each combination of the others."""
    from matplotlib.colors import Normalize

    columns, rows = _sorted(x, groups), _sorted(y, groups)
    panels = _panels(groups, others)
    across = min(len(panels), max(1, round(14 / (0.7 * len(columns) + 1))))
    down = -(-len(panels) // across)
    cell_width = min(0.72, max(0.3, 15 / (len(columns) * across)))
    figure = new_figure(
        max(6.5, across * (cell_width * len(columns) + 0.5) + 1.9),
        max(2.6, down * (0.5 * len(rows) + 0.75) + 0.9),
    )
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    # the logarithm of the error tells 88 % from 89 % as clearly as 20 % from 27 %
    shades = [_shade(g.accuracy) for g in groups if g.state == "done"] or [0.0]
    norm = Normalize(min(shades), max(max(shades), min(shades) + 1e-3))
    best = groups[0] if groups[0].state == "done" else None
    image: Any = None
    for axes, panel in itertools.zip_longest(grid.flat, panels):
        if panel is None:
            axes.set_visible(False)
            continue
        fixed = dict(zip(others, panel, strict=True))
        shown = [g for g in groups if all(g.values[f] == v for f, v in fixed.items())]
        image = _map(axes, shown, x, y, columns, rows, norm, best, with_text=cell_width >= 0.45)
        if others:
            axes.set_title(show_all(fixed), fontsize=10, parse_math=False)
    for axes in grid[:, 0]:
        axes.set_ylabel(y)
    for axes in grid[-1]:
        axes.set_xlabel(x)
    bar = figure.colorbar(image, ax=grid, shrink=0.9, pad=0.02)
    _accuracies(bar, norm)
    _headline(spec, groups, figure, [x, y, *others])
    return figure


def _panels(groups: Sequence[Group], fields: list[str]) -> list[tuple[Value, ...]]:
    """The combinations of these fields' values, in order, at most MOST_PANELS of the best."""
    ranked = list(dict.fromkeys(tuple(g.values[f] for f in fields) for g in groups))
    chosen = ranked[:MOST_PANELS]
    return [p for p in itertools.product(*(_sorted(f, groups) for f in fields)) if p in chosen]


def _shade(accuracy: float) -> float:
    return -math.log10(max(1 - accuracy, 1e-4))


def _accuracies(bar: Any, norm: Any) -> None:
    """Label the colours with accuracies."""
    from matplotlib.ticker import MaxNLocator

    low, high = (100 * (1 - 10**-v) for v in (norm.vmin, norm.vmax))
    if high - low > 20:
        ticks = [
            float(p)
            for p in (10, 30, 50, 60, 70, 75, 80, 85, 88, 90, 93, 96, 98, 99)
            if low <= p <= high
        ]
    else:
        ticks = [p for p in MaxNLocator(5).tick_values(low, high) if low <= p <= high]
    bar.set_ticks([_shade(p / 100) for p in ticks], labels=[f"{p:.6g} %" for p in ticks])
    bar.minorticks_off()


def _map(
    axes: Any,
    groups: Sequence[Group],
    x: str,
    y: str,
    columns: list[Value],
    rows: list[Value],
    norm: Any,
    best: Group | None,
    with_text: bool,
) -> Any:
    """One heatmap, with the value in each cell, a frame around the best, and words for no value."""
    from matplotlib.patches import Rectangle

    shades = np.full((len(rows), len(columns)), np.nan)
    for group in groups:
        i, j = rows.index(group.values[y]), columns.index(group.values[x])
        if group.state == "done":
            shades[i, j] = _shade(group.accuracy)
    image = axes.imshow(shades, cmap="viridis", norm=norm, aspect="auto", origin="lower")
    for group in groups:
        i, j = rows.index(group.values[y]), columns.index(group.values[x])
        text, color, size = f"{100 * group.accuracy:.2f}" if group.state == "done" else "", GREY, 9
        if group.state == "done":
            color = ink(image.cmap(norm(shades[i, j])))
        else:
            text, size = _NOT_DONE[group.state], 8
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#F2F2F2", edgecolor="#C8C8C8",
                          hatch="////", linewidth=0)
            )  # fmt: skip
        weight = "bold" if group is best else "normal"
        if with_text:
            box = None if group.state == "done" else {"facecolor": "#F2F2F2", "pad": 1, "lw": 0}
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size,
                      fontweight=weight, bbox=box)  # fmt: skip
        if group is best:
            for line, edge in ((5, "white"), (2.5, ORANGE)):
                axes.add_patch(
                    Rectangle((j - 0.46, i - 0.45), 0.92, 0.9, fill=False, edgecolor=edge,
                              linewidth=line, zorder=3)
                )  # fmt: skip
    turn = 45 if max(len(show(v)) for v in columns) > 6 else 0
    axes.set_xticks(range(len(columns)), [show(v) for v in columns], rotation=turn)
    axes.set_yticks(range(len(rows)), [show(v) for v in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


# -------------------------------------------------------------------------------- one, and points


def _scale(axes: Any, field: str, values: Sequence[Value]) -> list[float]:
    """Set up an x axis for the field. Returns where the values are on it."""
    numbers = [float(v) for v in values if v is not None and KINDS[field].type in (int, float)]
    if len(numbers) < len(values) or KINDS[field].type is bool:
        order = list(dict.fromkeys(values))
        axes.set_xticks(range(len(order)), drawable([show(v) for v in order]))
        axes.set_xlim(-0.5, len(order) - 0.5)
        return [float(order.index(v)) for v in values]
    low, high = min(numbers), max(numbers)
    if low > 0 and high / low >= 20:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
    else:
        pad = 0.06 * (high - low) or abs(low) or 1.0
        axes.set_xlim(low - pad, high + pad)
    return numbers


def _line(spec: Spec, groups: Sequence[Group], field: str) -> Any:
    """The accuracy over one field, with its standard error."""
    from npmlp.sweep.results import standard_error

    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    order = _sorted(field, groups)
    sorted_groups = sorted(groups, key=lambda g: order.index(g.values[field]))
    places = dict(zip(order, _scale(axes, field, order), strict=True))
    done = [g for g in sorted_groups if g.state == "done"]
    xs = [places[g.values[field]] for g in done]
    ys = [100 * g.accuracy for g in done]
    errors = [100 * standard_error(spec, g) for g in done]
    axes.errorbar(xs, ys, errors, color=BLUE, marker="o", markersize=6, capsize=3)
    for group in sorted_groups:
        if group.state != "done":
            x = places[group.values[field]]
            axes.axvline(x, color=GREY, linestyle=":", linewidth=1)
            axes.text(x, 0.02, _NOT_DONE[group.state], color=GREY, rotation=90, ha="right",
                      transform=axes.get_xaxis_transform(), fontsize=9)  # fmt: skip
    if done:
        _circle(axes, places[groups[0].values[field]], groups[0].accuracy)
        axes.legend(loc="best")
    axes.set_xlabel(field)
    axes.set_ylabel("accuracy in %, ± standard error")
    axes.grid(alpha=0.3)
    _headline(spec, groups, figure, [field])
    return figure


def _circle(axes: Any, x: float, accuracy: float) -> None:
    """Mark the best cell."""
    axes.plot(x, 100 * accuracy, marker="o", markersize=13, fillstyle="none",
              markeredgewidth=2.5, color=ORANGE, linestyle="none", label="best")  # fmt: skip


def _points(spec: Spec, groups: Sequence[Group]) -> Any:
    """The accuracy over each field, a point for each trial."""
    fields = spec.fields
    across = min(len(fields), 3)
    down = -(-len(fields) // across)
    figure = new_figure(max(7, 4 * across), 3.6 * down + 0.6)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    done = [g for g in groups if g.state == "done"]
    for axes, field in itertools.zip_longest(grid.flat, fields):
        if field is None:
            axes.set_visible(False)
            continue
        xs = _scale(axes, field, [g.values[field] for g in done]) if done else []
        axes.plot(xs, [100 * g.accuracy for g in done], marker="o", color=BLUE, alpha=0.6,
                  linestyle="none", label="a cell")  # fmt: skip
        if done:
            _circle(axes, xs[0], done[0].accuracy)
        axes.set_xlabel(field)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy in %")
    if done:
        grid[0, 0].legend(loc="best")
    _headline(spec, groups, figure, fields)
    return figure
