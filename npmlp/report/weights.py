"""The first layer's weights as pictures: what each of its units looks for in an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp import nn
from npmlp.report.style import DPI, POINT, headline, house_style, new_figure

MOST = 256
"""units in a picture; of a larger layer the first ones are shown"""

Filters = np.ndarray[Any, np.dtype[Any]]


def first_layer(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The first linear or convolutional layer, and its name in the module.

    Raises: ValueError where there is none.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            return name, layer
    raise ValueError("weights_figure: the module has no Linear and no Conv2d layer to draw")


def filters_of(layer: nn.Linear | nn.Conv2d, shape: tuple[int, int, int]) -> Filters:
    """A layer's weights as one picture a unit, in the order of the units.

    A row of a linear layer has the form of the image where it has as many values, of a square patch
    where it has as many as one, and is a line of values otherwise. Channels stand side by side.
    Parameters: `layer`; `shape` of an image: (channels, height, width).
    Returns: shape (units, height, width).
    """
    weight = layer.weight.detach().numpy()
    if weight.ndim == 2:
        units, inputs = weight.shape
        channels, height, width = shape
        if inputs != channels * height * width:
            height = width = math.isqrt(inputs // channels)
        if inputs != channels * height * width:
            channels, height, width = 1, 1, inputs
        weight = weight.reshape(units, channels, height, width)
    units, channels, height, width = weight.shape
    return weight.transpose(0, 2, 1, 3).reshape(units, height, channels * width)


@house_style()
def weights_figure(
    module: nn.Module, title: str, *, shape: tuple[int, int, int] = (1, 28, 28)
) -> Any:
    """The first layer's weights: a picture a unit, in the order of the units, on one scale.

    Parameters: `module`, in which the first Linear or Conv2d is taken; `title`; `shape` of an
    image: (channels, height, width). Returns: a matplotlib Figure.
    Raises: ValueError where the module has no such layer.
    """
    name, layer = first_layer(module)
    filters = filters_of(layer, shape)
    units = len(filters)
    shown = filters[:MOST]
    rows, columns = _grid(*shown.shape)
    limit, clipped = _limit(filters)
    mosaic, step_y, step_x = _mosaic(shown, rows, columns)

    # whole pixels of the file for each weight, which makes for even squares and a smaller file
    pixel = 1 / (DPI * POINT)
    scale = min(90 / max(shown.shape[1:]), 640 / max(mosaic.shape))
    scale = pixel * max(1, round(scale / pixel))
    height, width = (side * scale for side in mosaic.shape)
    whole_width, whole_height = max(width + 150, 420), max(height + 90, 200)
    figure = new_figure(whole_width * POINT, whole_height * POINT, layout=None)
    left, bottom = 50 + (whole_width - width - 150) / 2, 36 + (whole_height - height - 90) / 2
    bar_height = max(0.8 * height, 80)

    def place(x: float, y: float, width: float, height: float) -> Any:
        parts = x / whole_width, y / whole_height, width / whole_width, height / whole_height
        return figure.add_axes(parts)

    axes = place(left, bottom, width, height)
    image = axes.imshow(
        mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto"
    )
    axes.set_facecolor("lightgrey")
    bar = figure.colorbar(
        image,
        cax=place(left + width + 18, bottom + (height - bar_height) / 2, 12, bar_height),
        extend="both" if clipped else "neither",
    )
    bar.ax.tick_params(labelsize=8)
    bar.set_label("weight, a few beyond the ends" if clipped else "weight", fontsize=9)

    # a tick at every so many units, so that the unit of a picture can be told
    every_y, every_x = math.ceil(14 / (step_y * scale)), math.ceil(24 / (step_x * scale))
    ys, xs = np.arange(0, rows, every_y), np.arange(0, columns, every_x)
    middle_y, middle_x = (shown.shape[1] - 1) / 2, (shown.shape[2] - 1) / 2
    axes.set_yticks(ys * step_y + middle_y, [str(i * columns) for i in ys], fontsize=8)
    axes.set_xticks(xs * step_x + middle_x, [f"+{i}" for i in xs], fontsize=8)
    axes.set_ylabel("unit")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    kind = "filters" if isinstance(layer, nn.Conv2d) else "rows"
    count = f"all {units}" if units <= MOST else f"the first {MOST} of {units:,}"
    text = f"{count} {kind} of its weight, {shown.shape[1]}×{shown.shape[2]}"
    headline(figure, title, f"{name or type(layer).__name__}: {text}")
    return figure


def _grid(units: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns that make about a square, without a ragged end if one near it has none."""
    square = math.sqrt(units * height / width)
    near = range(max(1, math.ceil(square * 0.75)), max(1, math.ceil(square * 1.5)) + 1)
    even = [c for c in near if units % c == 0]
    if even:
        columns = max(even, key=lambda c: (-round(abs(math.log(c / square)), 6), c))
    else:
        columns = max(1, math.ceil(square))
    return -(-units // columns), columns


def _limit(filters: Filters) -> tuple[float, bool]:
    """Where the scale of colours ends, and whether there are weights beyond.

    A few large weights must not make all others pale: where the largest is more than 1.5 times as
    large as 99.5 % of them are, the scale ends there.
    """
    sizes = np.abs(filters[np.isfinite(filters)])
    if not sizes.size or not sizes.max():
        return 1.0, False
    largest, most = float(sizes.max()), float(np.quantile(sizes, 0.995))
    return (most, True) if largest > 1.5 * most > 0 else (largest, False)


def _mosaic(filters: Filters, rows: int, columns: int) -> tuple[Filters, int, int]:
    """All pictures in one, with gaps of NaN between them; and the steps from one to the next."""
    height, width = filters.shape[1:]
    gap = 1 if max(height, width) < 12 else 2
    step_y, step_x = height + gap, width + gap
    whole = np.full((rows * step_y, columns * step_x), np.nan)
    for unit, picture in enumerate(filters):
        row, column = divmod(unit, columns)
        whole[row * step_y :, column * step_x :][:height, :width] = picture
    return whole[:-gap, :-gap], step_y, step_x
