"""Training images: taken from the data set, mirrored, moved, scaled and normalised in one pass.

N images of a batch, H × W pixels. A pixel p is one of 256 numbers, and so is what normalisation
makes of it, (p / 255 − mean) / std, each operation rounded: `table` has them, in the dtype of
`out`. To look 784 of them up takes four times as long as to compute them in vectors, with divisions
that are made of multiply-adds (`Normalised`). Images lie anywhere in 47 MB; each is asked for while
others before it are worked on, or two thirds of the time would go by in waiting for memory.

Oracle: npmlp.vision.transforms, one step after another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.vectors import LINE, VECTOR_BYTES, fma, prefetch, wide

Array = np.ndarray[Any, np.dtype[Any]]

_FULL = 255  # a white pixel


class Normalised(NamedTuple):
    """What becomes of a pixel: of each by `table`; or, the same to the bit, computed of `numbers`.

    numbers: 255, mean, std, and the reciprocals of the first and the last; none where the table it
    must be.
    """

    table: Array
    numbers: Array


def normalised(mean: float, std: float, dtype: np.dtype[Any]) -> Normalised:
    """What ToTensor and Normalize make of a pixel.

    x / d is computed as q + r (x − q d), with r = 1 / d and q = x r rounded: that is the rounded
    quotient but for rare numbers (P. Markstein, IBM J. Res. Dev. 34, 1990), and of 256 pixels all
    are compared here.
    """
    pixels = np.arange(256, dtype=np.uint8)
    full, mean, std = dtype.type(_FULL), dtype.type(mean), dtype.type(std)
    with np.errstate(all="ignore"):
        table = (pixels.astype(dtype) / full - mean) / std
        numbers = np.array((full, mean, std, 1 / full, 1 / std), dtype)
    if VECTOR_BYTES:  # a processor with vectors has multiply-adds
        computed = np.empty_like(table)
        _normalise(pixels, table, numbers, computed)
        if computed.tobytes() == table.tobytes():
            return Normalised(table, numbers)
    return Normalised(table, numbers[:0])


# Work is counted in pixels that are only taken: a tenth of a nanosecond each.
_AUGMENTED = 6
_THREADS_FROM = 1 << 18


def take_normalised(images: Array, index: Array, to: Normalised, out: Array) -> None:
    """out[n] = images[index[n]], normalised; images (M, H, W) uint8, index (N,), out (N, H, W)."""
    threads.call_on_threads(
        _take, _take_parts, (images, index, *to, out), len(out), 1, out.size, _THREADS_FROM
    )


def take_augmented(
    images: Array, index: Array, flips: Array, maps: Array, fill: np.uint8, to: Normalised,
    out: Array,
) -> None:  # fmt: skip
    """out[n, y, x] = image[row, column], normalised, or fill where that is outside the image.

    image is images[index[n]], mirrored where flips[n]. maps[n] has four numbers: the column of
    x = 0 and how far it moves from x to x + 1, then the same of the row and y. They are float64
    sums, one step after another, as in Pillow; the pixel is the one that they fall into.
    """
    arguments = (images, index, flips, maps, fill, *to, out)
    work = _AUGMENTED * out.size
    threads.call_on_threads(_move, _move_parts, arguments, len(out), 1, work, _THREADS_FROM)


@njit()
def check_places(index: Array, size: int) -> None:
    """Raises IndexError where an entry of index is not from 0 to size - 1."""
    for n in range(len(index)):
        if not 0 <= index[n] < size:
            raise IndexError("an index is beyond the data set's images")


@njit()
def take_labels(labels: Array, index: Array, out: Array) -> None:
    """out[n] = labels[index[n]]."""
    for n in range(len(index)):
        out[n] = labels[index[n]]


@njit()
def flips_of(uniforms: Array, p: Any, flips: Array) -> None:
    """flips[n] = uniforms[n] < p: which images are mirrored."""
    for n in range(len(flips)):
        flips[n] = uniforms[n] < p


@njit()
def axis_maps(
    uniforms: Array, ranges: Array, shifts: bool, scales: bool, x: float, y: float, maps: Array
) -> None:
    """The maps (N, 4) that RandomAffine draws for N images; its own `axis_maps` is the oracle.

    uniforms: (N, draws), of [0, 1). ranges: from where to where each is, of shape (draws, 2): the
    angle, which is 0, shifts along x and y if there are `shifts`, and the scale if it is drawn.
    x, y: what stays in place.
    """
    for n in range(len(maps)):
        tx, ty, step = 0.0, 0.0, 1.0
        if shifts:
            tx = np.rint(float(_between(uniforms[n, 1], ranges[1])))
            ty = np.rint(float(_between(uniforms[n, 2], ranges[2])))
        if scales:
            at = 3 if shifts else 1
            step = 1.0 / float(_between(uniforms[n, at], ranges[at]))
        maps[n, 0] = (step * (-x - tx) + x) + step * 0.5
        maps[n, 2] = (step * (-y - ty) + y) + step * 0.5
        maps[n, 1] = maps[n, 3] = step


@njit()
def _between(uniform: Any, limits: Array) -> Any:
    """A number of [0, 1) as one of [low, high), as Generator.uniform makes it."""
    low, high = limits
    value: Any = fma(uniform, high - low, low)  # type: ignore[call-arg]
    return low if value == high else value


@njit()
def _normalise(pixels: Array, table: Array, numbers: Array, out: Array) -> None:
    """out[i] = (pixels[i] / 255 − mean) / std."""
    wide()  # type: ignore[call-arg]
    if numbers.size:
        full, mean, std, of_full, of_std = numbers
        for i in range(out.size):
            x = out.dtype.type(pixels[i])
            q = x * of_full
            x = fma(fma(-q, full, x), of_full, q) - mean
            q = x * of_std
            out[i] = fma(fma(-q, std, x), of_std, q)
    else:
        for i in range(out.size):
            out[i] = table[pixels[i]]


_AHEAD = 4  # images, between asking for one and taking it


@njit()
def _ask_for(images: Array, index: Array, n: int, last: int) -> None:
    """Have an image fetched that is soon taken."""
    if n < last:
        size = images[0].size
        for at in range(0, size + LINE - 1, LINE):
            prefetch(images, index[n] * size + at)  # type: ignore[call-arg]


@njit()
def _take(
    images: Array, index: Array, table: Array, numbers: Array, out: Array, first: int, last: int
) -> None:
    for n in range(first, last):
        _ask_for(images, index, n + _AHEAD, last)
        _normalise(images[index[n]].reshape(-1), table, numbers, out[n].reshape(-1))


@njit(parallel=True)
def _take_parts(
    images: Array, index: Array, table: Array, numbers: Array, out: Array, chunk: int, chunks: int
) -> None:
    for i in prange(chunks):
        _take(images, index, table, numbers, out, i * chunk, min((i + 1) * chunk, len(out)))


@njit()
def _move(
    images: Array, index: Array, flips: Array, maps: Array, fill: Any, table: Array, numbers: Array,
    out: Array, first: int, last: int,
) -> None:  # fmt: skip
    _, H, W = out.shape
    columns = np.empty(W, np.int64)
    line = np.empty(W + 1, np.uint8)
    line[W] = fill  # where columns outside are sent
    moved = np.empty(H * W, np.uint8)
    for n in range(first, last):
        _ask_for(images, index, n + _AHEAD, last)
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
                    line[x] = source[x]
                for x in range(W):
                    moved[y * W + x] = line[columns[x]]
            else:
                moved[y * W : (y + 1) * W] = fill
            row += maps[n, 3]
        _normalise(moved, table, numbers, out[n].reshape(-1))


@njit(parallel=True)
def _move_parts(
    images: Array, index: Array, flips: Array, maps: Array, fill: Any, table: Array, numbers: Array,
    out: Array, chunk: int, chunks: int,
) -> None:  # fmt: skip
    for i in prange(chunks):
        _move(
            images, index, flips, maps, fill, table, numbers, out, i * chunk,
            min((i + 1) * chunk, len(out)),
        )  # fmt: skip
