"""Copies of arrays that lie in another order, such as transposes: out = x, entry by entry.

What costs time in a transpose is that of each cache line one entry is wanted and the others are
wanted later. So it goes by squares, a vector wide and high, which registers turn around (tile.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit, prange
from npmlp.kernels.calls import call
from npmlp.kernels.tile import transpose_tile
from npmlp.kernels.vectors import VECTOR_BYTES

Array = np.ndarray[Any, np.dtype[Any]]

_DIMENSIONS = 6  # of the loops: planes in four, rows, columns
_THREADS_FROM = 1 << 18  # entries


def clone_forward(inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any) -> None:
    """out = x."""
    copy(inputs[0], outs[0])


def copy(x: Array, out: Array) -> None:
    """out = x, for arrays of one shape and dtype; the elements of out lie in order."""
    shape = merged(x)
    if len(shape) > _DIMENSIONS or x.size == 0:
        call(np.copyto, out, x)
        return
    view = x.reshape((1,) * (_DIMENSIONS - len(shape)) + shape)
    planes = math.prod(view.shape[:4])
    arguments = (view, out.reshape(-1))
    if planes > 1:
        threads.call_on_threads(
            _planes, _planes_on_threads, arguments, planes, 1, x.size, _THREADS_FROM
        )
    else:
        threads.call_on_threads(
            _rows, _rows_on_threads, arguments, view.shape[4], 16, x.size, _THREADS_FROM
        )


def merged(x: Array) -> tuple[int, ...]:
    """The shape of x with neighbouring dimensions as one where one stride covers both: x can be
    reshaped to it without a copy.
    """
    shape: list[int] = []
    strides: list[int] = []
    for size, stride in zip(x.shape, x.strides, strict=True):
        if size == 1:
            continue
        if shape and strides[-1] == size * stride:
            shape[-1] *= size
            strides[-1] = stride
        else:
            shape.append(size)
            strides.append(stride)
    return tuple(shape)


@njit(cache=True)
def _plainly(x: Array, out: Array, first: int, last: int, column: int = 0) -> None:
    """Of a plane x (R, W) rows first … last, from a column on, into out (R · W)."""
    W = x.shape[1]
    for r in range(first, last):
        for w in range(column, W):
            out[r * W + w] = x[r, w]


@njit(cache=True)
def _in_squares(x: Array, out: Array, first: int, last: int) -> None:
    """The same for all columns; where those of x lie in order, square after square."""
    W = x.shape[1]
    itemsize = out.itemsize
    lanes = VECTOR_BYTES // itemsize
    if x.strides[0] != itemsize or last - first < lanes or lanes > W:
        _plainly(x, out, first, last)
        return
    down, squares = x.strides[1] // itemsize, (last - first) // lanes
    for w in range(0, W - lanes + 1, lanes):
        for s in range(squares):
            r = first + s * lanes
            transpose_tile(x, w * down + r, down, lanes - 1, out, r * W + w, W)  # type: ignore[call-arg]
    _plainly(x, out, first, last, W // lanes * lanes)
    _plainly(x, out, first + squares * lanes, last)


_copy_plane = _in_squares if VECTOR_BYTES else _plainly


@njit(cache=True)
def _planes(x: Array, out: Array, first: int, last: int) -> None:
    """Planes first … last of the first four dimensions."""
    _, B, C, D, R, W = x.shape
    for p in range(first, last):
        plane = x[p // (B * C * D), p // (C * D) % B, p // D % C, p % D]
        _copy_plane(plane, out[p * R * W : (p + 1) * R * W], 0, R)


@njit(cache=True)
def _rows(x: Array, out: Array, first: int, last: int) -> None:
    """Rows first … last of the only plane."""
    _copy_plane(x[0, 0, 0, 0], out, first, last)


@njit(cache=True, parallel=True)
def _planes_on_threads(x: Array, out: Array, chunk: int, chunks: int) -> None:
    planes = x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3]
    for t in prange(chunks):
        _planes(x, out, t * chunk, min(planes, (t + 1) * chunk))


@njit(cache=True, parallel=True)
def _rows_on_threads(x: Array, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        _rows(x, out, t * chunk, min(x.shape[4], (t + 1) * chunk))
