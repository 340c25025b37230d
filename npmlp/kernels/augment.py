"""Training images: taken from the data set, mirrored, moved, scaled and normalised in one pass.

N images of a batch, H × W pixels. A pixel is one of 256 numbers, so what normalisation makes of it
is looked up: `table` has (p / full − mean) / std for each p, in the dtype of `out`. Oracle:
npmlp.vision.transforms, one step after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit

Array = np.ndarray[Any, np.dtype[Any]]


@njit(cache=True)
def take_normalised(images: Array, index: Array, table: Array, out: Array) -> None:
    """out[n] = table[images[index[n]]]; an image's pixels in one dimension."""
    for n in range(index.size):
        image, to = images[index[n]], out[n]
        for i in range(to.size):
            to[i] = table[image[i]]


@njit(cache=True)
def take_augmented(
    images: Array, index: Array, flips: Array, maps: Array, fill: Any, table: Array, out: Array
) -> None:
    """out[n, y, x] = table[image[row, column]], and table[fill] where that is outside the image.

    image is images[index[n]], mirrored where flips[n]. maps[n] has four numbers: the column of
    x = 0 and how far it moves from x to x + 1, then the same of the row and y. They are float64
    sums, one step after another, as in Pillow; the pixel is the one that they fall into.
    """
    N, H, W = out.shape
    columns = np.empty(W, np.uint32)  # unsigned, so that no index is looked at for being negative
    line = np.empty(W + 1, np.uint8)
    line[W] = fill  # where columns outside are sent
    for n in range(N):
        image = images[index[n]]
        column, row = maps[n, 0], maps[n, 2]
        for x in range(W):
            if 0 <= column < W:
                columns[x] = W - 1 - int(column) if flips[n] else int(column)
            else:
                columns[x] = W
            column += maps[n, 1]
        for y in range(H):
            to = out[n, y]
            if 0 <= row < H:
                source = image[int(row)]
                for x in range(W):
                    line[x] = source[x]
                for x in range(W):
                    to[x] = table[line[columns[x]]]
            else:
                to[:] = table[fill]
            row += maps[n, 3]
