"""Line charts as inline SVG: where each line goes, and what is read at each epoch.

The drawing is complete without JavaScript; page.js adds the read-out, from the texts given here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# the drawing's own units, near CSS pixels: on a phone and on a desk a chart is about so wide
WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 30
MARKS = ("circle", "square", "triangle", "diamond")
COLOURS = 8  # --c0 … --c7 of style.css
FEW = 24  # points that each get their mark

Values = Sequence[float | None]
Axis = tuple[list[tuple[float, str]], float, float]  # ticks and their texts, lowest, highest


@dataclass(frozen=True)
class Line:
    """One quantity by epoch; None where there is no value. `colour` is a number of style.css."""

    label: str
    values: Values
    colour: int
    dash: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, ready for the template."""

    title: str
    epochs: list[int]
    lines: list[dict[str, Any]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    data: dict[str, Any]  # what page.js reads
    summary: str  # in words, for those who do not see it
    readout: str  # the values at the chosen epoch, or else at the last
    chosen_x: float | None  # where the chosen epoch is marked
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def number(value: float) -> str:
    """A loss or a rate with four significant digits, as people write it."""
    return f"{value:.4g}"


def percent(value: float) -> str:
    """A share in percent, for values from 0 to 100."""
    return f"{value:.2f}\u00a0%"


def draw_chart(
    title: str,
    lines: Sequence[Line],
    scale: Literal["linear", "from zero", "log"] = "linear",
    text: Callable[[float], str] = number,
    chosen: int | None = None,
) -> Chart | None:
    """Lay a chart out. Returns None where there is nothing to draw.

    Parameters: `lines`, each with a value or None for every epoch from 1; `text`, how a value is
    written in the read-out; `chosen`, the epoch to mark, and to read out
    while nobody points at another.
    """
    lines = [line for line in lines if any(_drawn(v, scale) for v in line.values)]
    if not lines:
        return None
    count = max(len(line.values) for line in lines)
    known = [v for line in lines for v in line.values if v is not None and _drawn(v, scale)]
    y_ticks, low, high = (
        _log_axis(known) if scale == "log" else _linear_axis(known, scale == "from zero")
    )
    to_y = math.log10 if scale == "log" else float

    def x_of(epoch: float) -> float:
        if count == 1:
            return (LEFT + WIDTH - RIGHT) / 2
        return LEFT + 6 + (epoch - 1) / (count - 1) * (WIDTH - LEFT - RIGHT - 12)

    def y_of(value: float) -> float:
        share = (to_y(value) - to_y(low)) / (to_y(high) - to_y(low))
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    drawn = [_line(line, scale, x_of, y_of) for line in lines]
    return Chart(
        title=title,
        epochs=list(range(1, count + 1)),
        lines=drawn,
        x_ticks=[(round(x_of(e), 1), str(e)) for e in _epoch_ticks(count)],
        y_ticks=[(round(y_of(v), 1), t) for v, t in y_ticks],
        data={
            "x": [round(x_of(e), 1) for e in range(1, count + 1)],
            "lines": [
                {
                    "label": line.label,
                    "text": [text(v) if v is not None else "" for v in line.values],
                    "y": one["y"],
                }
                for line, one in zip(lines, drawn, strict=True)
            ],
        },
        summary=_in_words(title, lines, text),
        readout=_at_rest(lines, count, text, chosen),
        chosen_x=None if chosen is None else round(x_of(chosen), 1),
    )


def _drawn(value: float | None, scale: str) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or scale != "log")


def _line(line: Line, scale: str, x_of: Any, y_of: Any) -> dict[str, Any]:
    ys = [round(y_of(v), 1) if v is not None and _drawn(v, scale) else None for v in line.values]
    pieces: list[list[str]] = [[]]  # a line is broken where a value is missing
    for epoch, y in enumerate(ys, 1):
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x_of(epoch):.1f},{y}")
    every = math.ceil(len(ys) / FEW)
    last = max(i for i, y in enumerate(ys) if y is not None)
    return {
        "label": line.label,
        "colour": line.colour % COLOURS,
        "dash": line.dash,
        "mark": MARKS[line.colour % len(MARKS)],
        "pieces": [" ".join(piece) for piece in pieces if len(piece) > 1],
        "marks": [
            (round(x_of(i + 1), 1), y)
            for i, y in enumerate(ys)
            if y is not None and (i % every == 0 or i == last)
        ],
        "y": ys,
    }


def _linear_axis(
    values: list[float], from_zero: bool
) -> tuple[list[tuple[float, str]], float, float]:
    from matplotlib.ticker import MaxNLocator

    low, high = 0.0 if from_zero else min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1e-9):  # all the same: a band around it
        low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
    ticks = [float(t) for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    # a tick beyond the values stays where it is near them: lines end within the frame
    return [(t, f"{t:.6g}".replace("-", "−")) for t in ticks], ticks[0], ticks[-1]


def _log_axis(values: list[float]) -> Axis:
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)
    step = math.ceil((high - low) / 5)
    return (
        [(10.0**e, f"{10.0**e:g}".replace("-0", "−")) for e in range(low, high + 1, step)],
        10.0**low,
        10.0**high,
    )


def _epoch_ticks(count: int) -> list[int]:
    from matplotlib.ticker import MaxNLocator

    if count == 1:
        return [1]
    ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(1, count)
    inner = [int(t) for t in ticks if 1 < t <= count]
    # epoch 1 has its place unless the next tick's label would stand on it
    return [1, *[t for t in inner if t - 1 > 0.06 * count]]


def _at_rest(
    lines: Sequence[Line], count: int, text: Callable[[float], str], chosen: int | None
) -> str:
    """Each line's value at the chosen epoch, or else its last; they may end at different epochs."""
    if chosen is not None:
        there = [(line.label, line.values[chosen - 1]) for line in lines]
        return f"epoch {chosen}: {' · '.join(f'{n} {text(v)}' for n, v in there if v is not None)}"
    known = [[v for v in line.values if v is not None] for line in lines]
    words = [f"{line.label} {text(v[-1])}" for line, v in zip(lines, known, strict=True)]
    together = {len(line.values) for line in lines} == {count}
    return f"{f'epoch {count}' if together else 'at the end'}: {' · '.join(words)}"


def _in_words(title: str, lines: Sequence[Line], text: Callable[[float], str]) -> str:
    parts = []
    for line in lines[:6]:
        known = [v for v in line.values if v is not None]
        parts.append(f"{line.label} from {text(known[0])} to {text(known[-1])}")
    more = f", and {len(lines) - 6} more" if len(lines) > 6 else ""
    count = max(len(line.values) for line in lines)
    return f"{title} over {count} {'epoch' if count == 1 else 'epochs'}: {'; '.join(parts)}{more}."
