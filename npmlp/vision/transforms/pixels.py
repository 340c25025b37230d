"""Affine maps of images by the nearest pixel: which source pixel each pixel of the result takes.

Pillow and PyTorch answer that with different roundings, and torchvision uses Pillow's for a PIL
image and PyTorch's for a Tensor. Both are here for whole batches, and both are exact to the pixel.
N images, C channels, H × W pixels; a matrix (m0 … m5) maps a pixel (x, y) of the result to
(m0·x + m1·y + m2, m3·x + m4·y + m5) in the source.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npmlp.errors import OutsideSubsetError

Array = NDArray[Any]
OUTSIDE = -1  # the index of what is not in the source


def inverse_matrices(
    center: tuple[float, float],
    angle: Array,
    translate: tuple[Array, Array],
    scale: Array,
    shear: tuple[Array, Array],
) -> Array:
    """From N maps (angles in degrees, clockwise) to their inverses, float64 of shape (N, 6).

    M⁻¹ = C · (R(angle) S(scale) Shear)⁻¹ · C⁻¹ · T⁻¹, C moving the center to the origin.
    All is float64 and in torchvision's order of operations, which decides the last bits.
    Source: torchvision 0.28, transforms.functional._get_inverse_affine_matrix.
    """
    cx, cy = center
    tx, ty = translate
    a, b, c, d = _turn_and_shear(angle, *shear)
    matrices = np.empty((len(scale), 6))
    m0, m1, m2, m3, m4, m5 = matrices.T
    m0[:], m1[:], m3[:], m4[:] = d / scale, -b / scale, -c / scale, a / scale
    left, up = -cx - tx, -cy - ty
    m2[:] = (m0 * left + m1 * up) + cx
    m5[:] = (m3 * left + m4 * up) + cy
    return matrices


def _turn_and_shear(angle: Array, shear_x: Array, shear_y: Array) -> tuple[Any, Any, Any, Any]:
    """The four entries of rotation times shear: four arrays, or four numbers where there is none.

    With the C library's functions, through `math`: NumPy's own differ from them in the last bit.
    """
    if not (angle.any() or shear_x.any() or shear_y.any()):
        return 1.0, 0.0, 0.0, 1.0
    entries = []
    for degrees in zip(angle.tolist(), shear_x.tolist(), shear_y.tolist(), strict=True):
        rot, sx, sy = map(math.radians, degrees)
        a = math.cos(rot - sy) / math.cos(sy)
        b = -math.cos(rot - sy) * math.tan(sx) / math.cos(sy) - math.sin(rot)
        c = math.sin(rot - sy) / math.cos(sy)
        d = -math.sin(rot - sy) * math.tan(sx) / math.cos(sy) + math.cos(rot)
        entries.append((a, b, c, d))
    return tuple(np.array(entries).T)


# ---- Pillow's rule ---------------------------------------------------------------------------


def pillow_sources(matrices: Array, height: int, width: int) -> tuple[Array, Array]:
    """Source rows and columns by Pillow's rule, integers that broadcast to (N, H, W).

    An axis-parallel map adds up m0 from pixel to pixel in float64; any other runs in fixed point,
    16 bits after the point.
    Source: Pillow, src/libImaging/Geometry.c, ImagingScaleAffine and affine_fixed.
    """
    m0, m1, m2, m3, m4, m5 = matrices.T
    rows = _along_axis(m5 + m4 * 0.5, m4, height)[:, :, None]
    columns = _along_axis(m2 + m0 * 0.5, m0, width)[:, None, :]
    turned = (m1 != 0) | (m3 != 0)
    if not turned.any():
        return rows, columns

    shape = (len(matrices), height, width)
    rows, columns = (np.broadcast_to(index, shape).copy() for index in (rows, columns))
    a0, a1, a3, a4 = (_fixed(m)[turned, None, None] for m in (m0, m1, m3, m4))
    a2 = _fixed(m2 + m0 * 0.5 + m1 * 0.5)[turned, None, None]
    a5 = _fixed(m5 + m3 * 0.5 + m4 * 0.5)[turned, None, None]
    y, x = np.arange(height)[:, None], np.arange(width)
    rows[turned] = np.right_shift(a5 + a4 * y + a3 * x, 16)
    columns[turned] = np.right_shift(a2 + a1 * y + a0 * x, 16)
    return rows, columns


def _along_axis(start: Array, step: Array, n: int) -> Array:
    """The pixels that start, start + step, … fall into, shape (N, n)."""
    positions = np.empty((len(start), n))
    positions[:, 0] = start
    positions[:, 1:] = step[:, None]
    np.add.accumulate(positions, axis=1, out=positions)  # one by one: n·step would round elsewhere
    return np.where(positions < 0, OUTSIDE, positions.astype(np.int64))


def _fixed(values: Array) -> Array:
    return np.floor(values * 65536.0 + 0.5).astype(np.int64)


# ---- PyTorch's rule --------------------------------------------------------------------------


def torch_sources(
    matrices: Array, height: int, width: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Source rows and columns by PyTorch's rule, integers that broadcast to (N, H, W).

    Along an axis of n pixels: x = i − (n−1)/2, g = x·(m/(n/2)) + t/(n/2), and the source is
    rint((g + 1)·(n/2) − ½), half to even, each step rounded to the dtype.
    Source: torchvision's _gen_affine_grid; PyTorch's grid_sample with align_corners=False.

    Raises
    ------
    OutsideSubsetError: rotation or shear, which PyTorch sends through a matrix product whose last
        bits depend on the machine.
    """
    m0, m1, m2, m3, m4, m5 = matrices.T
    if m1.any() or m3.any():
        raise OutsideSubsetError(
            "RandomAffine: rotation and shear of a Tensor are outside the subset; put it before "
            "ToTensor, where it gets the image and not a Tensor"
        )
    return (
        _grid_axis(m4, m5, height, dtype)[:, :, None],
        _grid_axis(m0, m2, width, dtype)[:, None, :],
    )


def _grid_axis(scale: Array, shift: Array, n: int, dtype: np.dtype[Any]) -> Array:
    half = dtype.type(n * 0.5)
    x = (np.arange(n) - (n - 1) / 2).astype(dtype)
    g = x * (scale.astype(dtype) / half)[:, None] + (shift.astype(dtype) / half)[:, None]
    return np.rint((g + dtype.type(1)) * half - dtype.type(0.5)).astype(np.int64)


# ---- taking the pixels -----------------------------------------------------------------------


def take_pixels(images: Array, rows: Array, columns: Array, fill: ArrayLike) -> Array:
    """The pixels at the sources, images (N, C, H, W) to the same shape; `fill` from outside.

    One gather for the whole batch: each image gets a margin of one row and one column that holds
    the fill, and what lies outside is sent there.
    """
    n, channels, height, width = images.shape
    framed = np.empty((n, channels, height + 1, width + 1), images.dtype)
    framed[...] = np.reshape(np.asarray(fill).astype(images.dtype), (-1, 1, 1))
    framed[:, :, :height, :width] = images
    # Taken as unsigned, a negative index is a very large one, and the minimum sends it outside too.
    rows = np.minimum(rows.view(np.uint64), np.uint64(height)).view(np.int64) * (width + 1)
    columns = np.minimum(columns.view(np.uint64), np.uint64(width)).view(np.int64)
    planes = np.arange(n * channels).reshape(n, channels, 1, 1) * ((height + 1) * (width + 1))
    return framed.reshape(-1).take((planes + rows[:, None]) + columns[:, None])
