"""The curves of a run: loss, accuracies and learning rate by epoch, in one picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from npmlp.files import write_atomically

# Okabe and Ito's colours, which the colour-blind can tell apart
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def draw_curves(history: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the rows of metrics.jsonl into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(1, 3)

    def line(axes: Any, field: str, label: str, color: str, marker: str, scale: float = 1) -> None:
        if field in history[0]:
            values = [scale * row[field] for row in history]
            axes.plot(epochs, values, color=color, marker=marker, markersize=4, label=label)

    line(loss, "train_loss", "training", BLUE, "o")
    line(loss, "val_loss", "validation", GREEN, "s")
    loss.set_title("mean loss")
    line(accuracy, "train_accuracy", "training", BLUE, "o", 100)
    line(accuracy, "val_accuracy", "validation", GREEN, "s", 100)
    line(accuracy, "test_accuracy", "test", ORANGE, "^", 100)
    accuracy.set_title("accuracy in %")
    line(rate, "lr", "learning rate", BLUE, "o")
    rate.set_title("learning rate")
    if min(row["lr"] for row in history) > 0:
        rate.set_yscale("log")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.legend()
    accuracy.legend()
    figure.suptitle(title)

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    write_atomically(path, png.getvalue())
