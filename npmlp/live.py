"""A live picture of a training in a notebook: one figure that replaces itself, epoch by epoch."""

from __future__ import annotations

import sys
import time
from typing import Any

from npmlp.progress import Progress, for_this_output

# of the time, at most so much goes into drawing: a figure costs as much as a short epoch
SHARE = 0.2


def progress_for(title: str, show: Progress | None) -> Progress:
    """A Live where a notebook runs this, or else `show`, or lines, after a sentence that says so.

    Parameters: `title`, of the figure; `show`, what is to be told as well.
    """
    if in_notebook():
        return Live(title, show)
    show = show or for_this_output()
    show.note(
        "live=True draws in a notebook, and this is none; the run's folder has curves.png in the "
        "end"
    )
    return show


def in_notebook() -> bool:
    """Whether what is displayed appears under a notebook's cell."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class Live:
    """Progress that draws the curves so far under the cell that trains.

    The figure of report.curves is displayed when the training starts, and replaced after epochs: as
    often as drawing takes no more than a fifth of the time, and after the last. Remarks, such as
    warnings of training mistakes, are printed, unless `show` is there to do it.
    """

    def __init__(self, title: str, show: Progress | None = None) -> None:
        self.title = title
        self.show = show
        self.figure: Any = None  # the handle of what is displayed
        self.history: list[dict[str, Any]] = []
        self.drawn = 0  # how many of its epochs are in the figure
        self.pause_until = 0.0

    def note(self, text: str) -> None:
        if self.show is not None:
            self.show.note(text)
        else:
            print(text, flush=True)

    def start(self, epochs: int, history: list[dict[str, Any]], batches: int) -> None:
        self.history = list(history)
        self._draw()
        if self.show is not None:
            self.show.start(epochs, history, batches)

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None:
        if self.show is not None:
            self.show.batch(done, loss, accuracy, lr, rate)

    def epoch(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.show is not None:
            self.show.epoch(row)
        if time.perf_counter() >= self.pause_until:
            self._draw()

    def close(self) -> None:
        if self.drawn < len(self.history):
            self._draw()
        if self.show is not None:
            self.show.close()

    def _draw(self) -> None:
        from IPython.display import Image, display

        from npmlp.report.curves import curves_figure
        from npmlp.report.style import png

        began = time.perf_counter()
        picture = Image(data=png(curves_figure(self.history, self.title)), format="png")
        if self.figure is None:
            self.figure = display(picture, display_id=True)
        else:
            self.figure.update(picture)
        self.drawn = len(self.history)
        if self.history:  # the empty figure is the slow one: it imports Matplotlib
            now = time.perf_counter()
            self.pause_until = now + (now - began) * (1 / SHARE - 1)
