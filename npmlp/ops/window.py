"""Windows over images: what convolution and pooling share.

Letters: x (N, C, H, W); a window has (kh, kw) entries, `dilation` apart; windows are `stride`
apart; OH · OW of them fit. Pairs are (vertical, horizontal).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npmlp.errors import ShapeError
from npmlp.ops.spec import Array

Pair = tuple[int, int]
HW = (2, 3)  # the dimensions that windows move along


def check_window(op: str, shape: Any, **sizes: Any) -> None:
    """x must be a batch of images; kernel_size, stride and dilation positive, padding not below 0.

    Raises: ShapeError.
    """
    if len(shape) != 4:
        raise ShapeError(f"{op}: input has shape {tuple(shape)}, expected (N, C, H, W)")
    for name, value in sizes.items():
        least = 0 if name == "padding" else 1
        if min(value) < least:
            raise ShapeError(f"{op}: {name} is {value}, expected numbers of at least {least}")


def out_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False
) -> int:
    """How many windows fit: ⌊(size + 2 padding - reach) / stride⌋ + 1, or ⌈ ⌉ in `ceil_mode`.

    With ⌈ ⌉ a window may stick out at the end, but none begins outside of image and left padding.
    """
    room = size + 2 * padding - (dilation * (kernel - 1) + 1)
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def out_sizes(
    op: str,
    shape: Any,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> Pair:
    """(OH, OW). Raises ShapeError where no window fits."""
    geometry = zip(shape[2:], kernel_size, stride, padding, dilation, strict=True)
    oh, ow = (out_size(*g, ceil_mode=ceil_mode) for g in geometry)
    if oh < 1 or ow < 1:
        padded = tuple(n + 2 * p for n, p in zip(shape[2:], padding, strict=True))
        raise ShapeError(
            f"{op}: no window of {kernel_size} with dilation {dilation} fits into images of "
            f"{tuple(shape[2:])}, {padded} with their padding; use a smaller kernel or more padding"
        )
    return oh, ow


def reached(
    shape: Any, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, out: Pair
) -> tuple[int, ...]:
    """The shape of x with `padding` around it, and with what windows reach over at the end."""
    geometry = zip(shape[2:], kernel_size, stride, padding, dilation, out, strict=True)
    ends = [max(n + 2 * p, (o - 1) * s + d * (k - 1) + 1) for n, k, s, p, d, o in geometry]
    return (*shape[:2], *ends)


def pad_for(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, out: Pair, value: Any
) -> Array:
    """x, or where windows see more than x, `value` with x in it."""
    shape = reached(x.shape, kernel_size, stride, padding, dilation, out)
    if shape == x.shape:
        return x
    padded = np.full(shape, value, x.dtype)
    inside(padded, x.shape, padding)[...] = x
    return padded


def inside(padded: Array, shape: Any, padding: Pair) -> Array:
    """The view of a padded image that is the image."""
    (ph, pw), (h, w) = padding, shape[2:]
    return padded[:, :, ph : ph + h, pw : pw + w]


def windows(x: Array, kernel_size: Pair, stride: Pair, dilation: Pair) -> Array:
    """The view v[n, c, oh, ow, i, j] = x[n, c, oh·sh + i·dh, ow·sw + j·dw]; nothing is copied."""
    (sh, sw), (dh, dw) = stride, dilation
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel_size, strict=True))
    every = sliding_window_view(x, reach, axis=HW, writeable=True)
    return every[:, :, ::sh, ::sw, ::dh, ::dw]
