"""Sheets of test images with what the network takes them for: a sample, and the worst mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp.report.style import (
    BLUE,
    GREY,
    ORANGE,
    POINT,
    RUST,
    drawable,
    house_style,
    new_figure,
    shortened,
    width_of,
)

if TYPE_CHECKING:
    from npmlp.predictions import Predictions

Positions = np.ndarray[Any, np.dtype[np.int64]]

# in points; 84 are 140 pixels of the file, 5 for each of an image of 28
COLUMNS, IMAGE, CELL_WIDTH, TEXT_HEIGHT, MARGIN, HEADER = 8, 84, 116, 50, 14, 52
SIZE = 8.5  # of the text


def sample_positions(predictions: Predictions) -> Positions:
    """The first test images of each class, class by class: 40 in all, or one of each if more.

    They are chosen without a look at the predictions, so mistakes are as frequent as elsewhere.
    Returns: positions in `predictions`, int64 shape (M,).
    """
    each = _each(predictions)
    return np.concatenate(
        [np.flatnonzero(predictions.labels == c)[:each] for c in range(len(predictions.classes))]
    )


def _each(predictions: Predictions) -> int:
    return max(1, 40 // len(predictions.classes))


def mistake_positions(predictions: Predictions, most: int = 40) -> Positions:
    """The mistakes that the network is surest of, the surest first.

    Returns: positions in `predictions`, int64 shape (M,), M up to `most`.
    """
    wrong = np.flatnonzero(~predictions.right)
    confidence = predictions.probabilities[wrong, predictions.predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")[:most]]


@house_style()
def samples_figure(predictions: Predictions, title: str) -> Any:
    """Test images of every class, each with its class, the predicted one and its probability.

    Returns: a matplotlib Figure.
    """
    positions = sample_positions(predictions)
    right = int(predictions.right[positions].sum())
    text = (
        f"{100 * predictions.accuracy:.2f} % of {len(predictions.labels):,} test images right; "
        f"here the first {_each(predictions)} of each class, {right} of {len(positions)} right"
    )
    return _sheet(predictions, positions, title, text)


@house_style()
def mistakes_figure(predictions: Predictions, title: str) -> Any:
    """The most confident mistakes first, each with its class, the predicted one and probabilities.

    Returns: a matplotlib Figure.
    """
    positions = mistake_positions(predictions)
    count, total = int((~predictions.right).sum()), len(predictions.labels)
    text = f"{count:,} of {total:,} test images taken for another class"
    if count:
        text += f"; here {'the' if count > len(positions) else 'all'} {len(positions)}"
        text += " most confident, in order" if count > len(positions) else ", most confident first"
    return _sheet(predictions, positions, title, text)


def _sheet(predictions: Predictions, positions: Positions, title: str, text: str) -> Any:
    """A grid of images under two lines of title. All lengths are in points, y downwards."""
    rows = -(-len(positions) // COLUMNS)
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    image_height = IMAGE * predictions.images.shape[1] / max(predictions.images.shape[1:])
    cell_height = image_height + TEXT_HEIGHT
    height = HEADER + rows * cell_height
    figure = new_figure(width * POINT, height * POINT, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))  # one for all images: forty would be slow
    axes.axis("off")
    axes.text(
        width / 2, MARGIN, shortened(title, width - 2 * MARGIN, 12),
        ha="center", va="top", fontsize=12, parse_math=False,
    )  # fmt: skip
    axes.text(width / 2, MARGIN + 18, text, ha="center", va="top", fontsize=10)
    names = drawable(predictions.classes)
    for n, position in enumerate(positions):
        row, column = divmod(n, COLUMNS)
        x, bottom = MARGIN + (column + 0.5) * CELL_WIDTH, HEADER + row * cell_height + image_height
        _image(axes, predictions, int(position), names, x, bottom)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _image(
    axes: Any, predictions: Predictions, position: int, names: list[str], x: float, bottom: float
) -> None:
    """One image, with its text below; `x` is its middle, `bottom` its lower edge.

    Right and wrong differ in the mark, the frame's dashes and thickness, and the colour.
    """
    from matplotlib.patches import Rectangle

    image = predictions.images[position]
    height, width = (side * IMAGE / max(image.shape) for side in image.shape)
    left = x - width / 2
    axes.imshow(
        image, cmap="gray", vmin=0, vmax=255, interpolation="nearest",
        extent=(left, left + width, bottom, bottom - height),
    )  # fmt: skip
    right = bool(predictions.right[position])
    label, predicted = int(predictions.labels[position]), int(predictions.predicted[position])
    axes.add_patch(
        Rectangle(
            (left - 2, bottom - height - 2),
            width + 4,
            height + 4,
            fill=False,
            edgecolor=BLUE if right else ORANGE,
            linewidth=1 if right else 2.5,
            linestyle="-" if right else (0, (3, 1)),
        )
    )
    taken = _named("✓" if right else "✗", names[predicted], _percent(predictions, position))
    true = _named("true:", names[label], "" if right else _percent(predictions, position, label))
    lines = (
        (taken, SIZE, BLUE if right else RUST),
        (true, SIZE, "black"),
        (f"test image {predictions.indices[position]}", 7, GREY),
    )
    for i, (line, size, ink) in enumerate(lines):
        axes.text(
            x, bottom + 6 + 11.5 * i, line,
            ha="center", va="top", fontsize=size, color=ink, parse_math=False,
        )  # fmt: skip


def _percent(predictions: Predictions, position: int, label: int | None = None) -> str:
    """The probability of a class, by default the predicted one."""
    probabilities = predictions.probabilities[position]
    return f"{100 * float(probabilities.max() if label is None else probabilities[label]):.1f} %"


def _named(before: str, name: str, after: str) -> str:
    """The three words in one line; the name is cut where they do not fit side by side."""
    room = CELL_WIDTH - 8
    whole = f"{before} {name} {after}".rstrip()
    if shortened(whole, room, SIZE) == whole:
        return whole
    name = shortened(name, room - width_of(f"{before}  {after}".rstrip(), SIZE), SIZE)
    return f"{before} {name} {after}".rstrip()
