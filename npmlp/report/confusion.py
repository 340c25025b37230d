"""The confusion matrix of a run: which classes its network takes for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp.report.style import (
    drawable,
    headline,
    house_style,
    ink,
    new_figure,
    shortened,
)

if TYPE_CHECKING:
    from npmlp.predictions import Predictions

# up to so many classes a cell has room for count and percentage, for the count, for two digits
BOTH, COUNTS, DIGITS = 12, 30, 50
_NAME_WIDTH = 90  # points
_FAINT = "#6e6e6e"  # grey, with a contrast above 4.5 on the colour of 0


def confusion_counts(predictions: Predictions) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many images of class i (row) were taken for class j (column); shape (C, C), int64."""
    classes = len(predictions.classes)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    return counts


def row_percentages(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each count as a percentage of its row's images; 0 in the row of a class without images."""
    return 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


@house_style()
def confusion_figure(predictions: Predictions, title: str) -> Any:
    """The confusion matrix: true classes down, predicted ones across, a row coloured by its shares.

    Up to 12 classes each cell has its count and the percentage of its row; up to 30 the count
    alone, up to 50 the whole percentage, where that is not 0; beyond, the colours speak.
    Returns: a matplotlib Figure.
    """
    from matplotlib.colors import PowerNorm

    counts = confusion_counts(predictions)
    shares = row_percentages(counts)
    classes = len(counts)
    side = 1.8 + (0.72 * classes if classes <= BOTH else max(9, 0.25 * classes))
    figure = new_figure(max(side + 1.2, 6.5), max(side, 4.5))
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    axes = figure.subplots()
    # the square root shows the mistakes, which are a few percent, without hiding the diagonal
    norm = PowerNorm(0.5, 0, 100)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    bar = figure.colorbar(image, ax=axes, ticks=(0, 1, 5, 10, 25, 50, 75, 100), shrink=0.8)
    bar.set_label("percentage of the true class")
    for i, j in np.ndindex(classes, classes):
        text = cell_text(int(counts[i, j]), float(shares[i, j]), classes)
        if text:
            color = ink(image.cmap(norm(shares[i, j]))) if counts[i, j] else _FAINT
            size = 8.5 if classes <= BOTH else 7 if classes <= COUNTS else 6
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)

    size = 10 if classes <= BOTH else 8 if classes <= COUNTS else 7
    names = [shortened(name, _NAME_WIDTH, size) for name in drawable(predictions.classes)]
    ticks = range(0, classes, 1 if classes <= 64 else 4)
    label = {"labels": [names[i] for i in ticks], "fontsize": size, "parse_math": False}
    axes.set_yticks(ticks, **label)
    if classes <= BOTH:
        axes.set_xticks(ticks, rotation=40, ha="right", rotation_mode="anchor", **label)
    else:
        axes.set_xticks(ticks, rotation=90, **label)
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="lightgrey", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)

    shown = (
        "count and percentage of the row" if classes <= BOTH
        else "counts" if classes <= COUNTS
        else "percentages of the row" if classes <= DIGITS
        else "colours"
    )  # fmt: skip
    headline(
        figure,
        title,
        f"{100 * predictions.accuracy:.2f} % of {len(predictions.labels):,} test images right; "
        f"{shown}",
    )
    return figure


def cell_text(count: int, share: float, classes: int) -> str:
    """What a cell says, with so many classes around it."""
    if classes <= BOTH:
        return f"{count:,}\n{share:.1f} %"
    if classes <= COUNTS:
        return f"{count:,}" if count else ""
    if classes <= DIGITS:
        return f"{share:.0f}" if share >= 0.5 else ""
    return ""
