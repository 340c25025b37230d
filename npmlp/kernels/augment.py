"""Training images: taken from the data set, mirrored, moved, scaled and normalised in one pass.

N images of a batch, H × W pixels. `full`, `mean` and `std` are of the dtype of `out`, and a pixel p
becomes (p / full − mean) / std. Oracle: npmlp.vision.transforms, one step after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit

Array = np.ndarray[Any, np.dtype[Any]]

# error_model="numpy": a division by zero is infinity and not an exception, so that loops with
# divisions become vectors


@njit(cache=True, error_model="numpy")
def take_normalised(
    images: Array, index: Array, full: Any, mean: Any, std: Any, out: Array
) -> None:
    """out[n] = images[index[n]], normalised; an image's pixels in one dimension."""
    for n in range(index.size):
        image = images[index[n]]
        for i in range(image.size):
            out[n, i] = (out.dtype.type(image[i]) / full - mean) / std


@njit(cache=True, error_model="numpy")
def take_augmented(
    images: Array,
    index: Array,
    flips: Array,
    maps: Array,
    fill: Any,
    full: Any,
    mean: Any,
    std: Any,
    out: Array,
) -> None:
    """out[n, y, x] = image[row, column], normalised, and `fill` where that is outside the image.

    image is images[index[n]], mirrored where flips[n]. maps[n] has four numbers: the column of
    x = 0 and how far it moves from x to x + 1, then the same of the row and y. They are float64
    sums, one step after another, as in Pillow; the pixel is the one that they fall into.
    """
    N, H, W = out.shape
    columns = np.empty(W, np.uint32)  # unsigned, so that no index is looked at for being negative
    line = np.empty(W + 1, out.dtype)
    line[W] = (out.dtype.type(fill) / full - mean) / std  # where columns outside are sent
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
            if 0 <= row < H:
                source = image[int(row)]
                for x in range(W):
                    line[x] = (out.dtype.type(source[x]) / full - mean) / std
                for x in range(W):
                    out[n, y, x] = line[columns[x]]
            else:
                out[n, y, :] = line[W]
            row += maps[n, 3]
