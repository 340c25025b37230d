"""The curves of a run: loss, accuracies and learning rate by epoch, in one picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from npmlp.report.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    headline,
    house_style,
    new_figure,
)

Row = Mapping[str, Any]
"""an object of metrics.jsonl"""

# each line differs from the others in colour, mark and dashes
_LOOKS: dict[str, dict[str, Any]] = {
    "training": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "validation": {"color": GREEN, "marker": "s", "linestyle": "--"},
    "test": {"color": ORANGE, "marker": "^", "linestyle": "-."},
}
_FIELDS = {"training": "train", "validation": "val", "test": "test"}


@house_style()
def curves_figure(history: Sequence[Row], title: str, *, chosen: int | None = None) -> Any:
    """Loss, accuracies and learning rate by epoch.

    Parameters: `history`, the rows so far, maybe none; `title`; `chosen`, the epoch whose
    checkpoint is reported: by default the first with the best validation accuracy, as a training
    chooses it, and the last without validation. Where there is validation, a line marks it.
    Returns: a matplotlib Figure.
    """
    figure = new_figure(12, 4.8)
    headline(figure, title)
    loss, accuracy, rate = figure.subplots(1, 3)
    loss.set_title("mean loss")
    accuracy.set_title("accuracy in %")
    rate.set_title("learning rate")
    for axes in (loss, accuracy, rate):
        _epoch_axis(axes, [row["epoch"] for row in history])
    if not history:
        return figure

    best = _best_epoch(history)
    told = chosen or best or history[-1]["epoch"]  # the legends have its figures
    for name, short in _FIELDS.items():
        _line(loss, history, name, f"{short}_loss", told, "{:.4f}", 1)
        _line(accuracy, history, name, f"{short}_accuracy", told, "{:.2f} %", 100)
    for axes in (loss, accuracy):
        if best is not None:
            axes.axvline(
                told, color=BLACK, linestyle=":", linewidth=1.5, zorder=1, label="reported epoch"
            )
        _legend(axes, f"at epoch {told}")
    _rates(rate, [row["epoch"] for row in history], [row["lr"] for row in history])
    return figure


def _best_epoch(history: Sequence[Row]) -> int | None:
    validated = [row for row in history if "val_accuracy" in row]
    if not validated:
        return None
    return int(max(validated, key=lambda row: row["val_accuracy"])["epoch"])  # max is the first


def _line(
    axes: Any, history: Sequence[Row], name: str, field: str, told: int, form: str, scale: float
) -> None:
    """Draw a field of the rows that have it, with its value at epoch `told` in the legend."""
    values = {row["epoch"]: scale * row[field] for row in history if field in row}
    if values:
        every = max(1, len(values) // 18)  # in turn, so that no mark hides another
        axes.plot(
            list(values),
            list(values.values()),
            label=f"{name} {form.format(values[told])}" if told in values else name,
            markersize=5,
            markevery=(list(_LOOKS).index(name) * every // 3, every),
            **_LOOKS[name],
        )


def _rates(axes: Any, epochs: Sequence[int], rates: Sequence[float]) -> None:
    """The learning rates, drawn as the steps that they go in."""
    first, last = f"{rates[0]:.3g}", f"{rates[-1]:.3g}"
    axes.plot(
        epochs,
        rates,
        color=BLUE,
        drawstyle="steps-mid",
        marker="o",
        markersize=5,
        markevery=max(1, len(rates) // 20),
        label=first if min(rates) == max(rates) else f"from {first} to {last}",
    )
    if changes_by_factors(rates):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0, top=1.1 * max(rates) or 1)  # a rate of 0 can be drawn, too
        axes.yaxis.set_major_formatter("{x:g}")
    _legend(axes)


def _legend(axes: Any, title: str | None = None) -> None:
    """A legend below the axes, where it covers no line."""
    axes.legend(
        title=title, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False,
        fontsize=9, title_fontsize=9, handlelength=3.5,
    )  # fmt: skip


def changes_by_factors(rates: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows these learning rates better.

    It does where they fall by the same factor each time, as by plateau and step (the last step may
    be cut short by min_lr). A cosine that ends at 2e-8 has its own shape on a linear axis only.
    """
    if min(rates) <= 0 or max(rates) < 5 * min(rates):
        return False
    factors = (b / a for a, b in itertools.pairwise(rates))
    return len({round(math.log(factor), 2) for factor in factors} - {0.0}) <= 2


def _epoch_axis(axes: Any, epochs: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    if len(epochs) <= 1:  # a point has no extent, of which Matplotlib would make fractions
        axes.set_xticks(epochs)
        axes.set_xlim(*(epochs[0] + side for side in (-1, 1)) if epochs else (0, 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if not epochs:
        axes.text(0.5, 0.5, "no epoch is finished yet", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
