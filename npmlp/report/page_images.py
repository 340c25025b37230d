"""The test images that a page shows: which, and all of them in one PNG that is part of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.predictions import Predictions

Array = np.ndarray[Any, np.dtype[Any]]

RIGHT_PER_CLASS = 24  # of the images that were named rightly
COLUMNS = 40
MOST_BYTES = 1_500_000  # of the PNG; base64 adds a third
SIDE, WIDEST = 56, 104  # CSS pixels: of an image's shorter side, and at most of its longer one


@dataclass(frozen=True)
class Tile:
    """An image on the sheet and what was said of it; numbers point into the lists of classes."""

    x: int
    y: int
    index: int  # in the test file
    actual: int
    predicted: int
    probability: float  # of the predicted class
    probability_of_actual: float


@dataclass(frozen=True)
class Sheet:
    """Images in rows of COLUMNS, as one PNG."""

    png: bytes
    tiles: dict[int, Tile]  # by position in the predictions
    tile_width: int
    tile_height: int
    columns: int
    wrong_left_out: int  # wrongly named images that found no place

    @property
    def uri(self) -> str:
        """The PNG as a data: address."""
        return data_uri(self.png)


def data_uri(png: bytes) -> str:
    """The content of a PNG file as an address that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def zoom_for(width: int, height: int) -> float:
    """How much larger images of this size are shown: a whole number for small ones."""
    zoom = min(SIDE / min(width, height), WIDEST / max(width, height))
    return int(zoom) if zoom >= 1 else zoom


def make_sheet(p: Predictions, always: Iterable[int], most_bytes: int = MOST_BYTES) -> Sheet:
    """All wrongly named images and some rightly named ones on one sheet.

    Where that were too much for a page, each pair of true and predicted class gets as many places
    as fit, for its most confident mistakes. `always`: positions that are there in any case.
    """
    wrong_per_pair = len(p.labels)
    always = [int(i) for i in always]
    while True:
        positions = _chosen(p, always, wrong_per_pair)
        sheet = _sheet(p, positions)
        if len(sheet.png) <= most_bytes or wrong_per_pair <= 1:
            return sheet
        pairs = p.labels[~p.right] * len(p.classes) + p.predicted[~p.right]
        most = int(np.bincount(pairs).max()) if len(pairs) else 1
        share = 0.95 * most_bytes / len(sheet.png)
        wrong_per_pair = max(1, int(min(most, wrong_per_pair) * share))


def _chosen(p: Predictions, always: Iterable[int], wrong_per_pair: int) -> list[int]:
    """Positions, by true class, then predicted class, then in the order in which they are shown."""
    predicted, right = p.predicted, p.right
    chosen = set(always)
    sure = p.probabilities.max(axis=1)
    for actual in range(len(p.classes)):
        of_class = np.flatnonzero((p.labels == actual) & right)
        chosen |= {int(i) for i in of_class[np.argsort(p.indices[of_class])][:RIGHT_PER_CLASS]}
        for other in range(len(p.classes)):
            wrong = np.flatnonzero((p.labels == actual) & (predicted == other) & ~right)
            chosen |= {int(i) for i in wrong[np.argsort(-sure[wrong])][:wrong_per_pair]}
    return sorted(
        chosen,
        key=lambda i: (p.labels[i], predicted[i], p.indices[i] if right[i] else -float(sure[i])),
    )


def _sheet(p: Predictions, positions: list[int]) -> Sheet:
    from PIL import Image

    canvas, columns = _side_by_side(p.images[positions])
    png = io.BytesIO()
    Image.fromarray(canvas).save(png, format="png")
    height, width = p.images.shape[1:]
    predicted = p.predicted
    tiles = {
        i: Tile(
            x=n % columns,
            y=n // columns,
            index=int(p.indices[i]),
            actual=int(p.labels[i]),
            predicted=int(predicted[i]),
            probability=float(p.probabilities[i, predicted[i]]),
            probability_of_actual=float(p.probabilities[i, p.labels[i]]),
        )
        for n, i in enumerate(positions)
    }
    left_out = int((~p.right).sum()) - sum(t.actual != t.predicted for t in tiles.values())
    return Sheet(png.getvalue(), tiles, width, height, columns, left_out)


def _side_by_side(images: Array) -> tuple[Array, int]:
    """Images of shape (N, H, W) in rows of at most COLUMNS, and the length of a row."""
    count, height, width = images.shape
    columns = min(COLUMNS, count) or 1
    rows = -(-count // columns) or 1
    canvas = np.zeros((rows * columns, height, width), images.dtype)
    canvas[:count] = images
    canvas = canvas.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return canvas.reshape(rows * height, columns * width), columns


def filter_sheet(network: Any, shape: tuple[int, int, int]) -> dict[str, Any] | None:
    """The first layer's weights, a picture a unit, all on one coloured sheet.

    Returns: what the template shows of it; None where there is nothing that can be drawn.
    """
    from matplotlib import colormaps
    from PIL import Image

    from npmlp.report.weights import MOST, filters_of, first_layer

    name, layer = first_layer(network)
    weights = filters_of(layer, shape)
    sizes = np.abs(weights)
    if not np.isfinite(sizes).all():
        return None
    # a few large weights must not make all others pale
    limit = float(np.quantile(sizes, 0.995)) or 1.0
    shown = weights[:MOST]
    canvas, columns = _side_by_side(
        np.round(np.clip(shown / limit, -1, 1) * 127 + 127).astype(np.uint8)
    )
    image = Image.fromarray(canvas)
    image.putpalette(
        (colormaps["RdBu_r"](np.linspace(0, 1, 255))[:, :3] * 255)
        .round()
        .astype(np.uint8)
        .tobytes()
    )
    png = io.BytesIO()
    image.save(png, format="png")
    count, height, width = shown.shape
    every = (
        f"all {count:,}" if count == len(weights) else f"the first {count:,} of {len(weights):,}"
    )
    return {
        "name": f"{name} ({type(layer).__name__}, {height} × {width})",
        "count_text": every,
        "limit": f"{limit:.2g}",
        "uri": data_uri(png.getvalue()),
        "width": width,
        "height": height,
        "columns": columns,
        "zoom": zoom_for(width, height),
        "tiles": [(i % columns, i // columns) for i in range(count)],
    }
