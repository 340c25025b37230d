"""A batch of a data set in one pass: taken, augmented and normalised, without copies in between.

A compiled kernel does what the transforms do to whole batches one after another, to the same bits.
It knows one order: mirrored, moved and scaled, made a Tensor, normalised, each if it is there. Any
other, and the NumPy kernels, go through `apply_steps`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npmlp import config
from npmlp.dtypes import get_default_dtype
from npmlp.vision.transforms.augment import RandomAffine, RandomHorizontalFlip
from npmlp.vision.transforms.compose import BatchTransform, apply_steps, draw
from npmlp.vision.transforms.convert import Normalize, ToTensor

Array = NDArray[Any]


def gather_batch(
    steps: Sequence[BatchTransform], images: NDArray[np.uint8], index: NDArray[np.int64]
) -> Array:
    """Images of a data set through transforms, drawing from the default generator.

    Parameters
    ----------
    steps: what `batch_steps` found in a transform.
    images: all images, uint8 of shape (M, H, W). index: which of them, int64 of shape (N,).

    Returns
    -------
    apply_steps(steps, images.take(index, axis=0)), bit for bit.

    Raises
    ------
    IndexError: an index beyond the images.
    """
    order = None
    dtype = get_default_dtype().numpy
    if config.get_kernels() == "numba" and images.flags.c_contiguous and index.size:
        order = _kernels_order(steps, dtype)
    if order is None:
        return apply_steps(steps, images.take(index, axis=0))
    from npmlp.kernels.augment import axis_maps, take_augmented, take_normalised

    if index.view(np.uint64).max() >= len(images):  # a negative one is larger than any
        index = np.arange(len(images)).take(index)  # from negative ones, and IndexError
    (height, width), n = images.shape[1:], len(index)
    out = np.empty((n, 1, height, width), dtype)
    if order.flip is None and order.affine is None:
        take_normalised(images, index, order.normalised, out[:, 0])
        return out
    flips, maps, fill = np.zeros(n, bool), np.full((n, 4), (0.5, 1.0, 0.5, 1.0)), np.uint8(0)
    uniforms = draw(n, sum(step.draws for step in (order.flip, order.affine) if step))
    if order.flip:
        flips = order.flip.flips(uniforms[:, 0])
    if order.affine:
        drawn, affine = uniforms[:, order.flip is not None :], order.affine
        ranges = np.array(affine.ranges(height, width), uniforms.dtype)
        shifts, scales = affine.translate is not None, affine.scale is not None
        axis_maps(drawn, ranges, shifts, scales, *affine.middle(height, width), maps)
        fill = affine.pixel_fill[0]
    take_augmented(images, index, flips, maps, fill, order.normalised, out[:, 0])
    return out


@dataclass
class _Order:
    flip: RandomHorizontalFlip | None = None
    affine: RandomAffine | None = None
    normalised: Any = None  # what ToTensor and Normalize make of a pixel


@functools.lru_cache(maxsize=16)
def _normalised(mean: float, std: float, dtype: np.dtype[Any]) -> Any:
    from npmlp.kernels.augment import normalised

    return normalised(mean, std, dtype)


def _number(value: Any) -> float | None:
    """A Normalize's mean or std where it is one number."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        (value,) = value
    return float(value) if isinstance(value, (int, float)) else None


def _kernels_order(steps: Sequence[BatchTransform], dtype: np.dtype[Any]) -> _Order | None:
    """The steps in the one order that the kernel knows; None where they have another."""
    order, rest = _Order(), list(steps)
    if rest and isinstance(rest[0], RandomHorizontalFlip):
        order.flip = rest[0]
        del rest[0]
    if rest and isinstance(rest[0], RandomAffine):
        order.affine = rest[0]
        if not rest[0].is_axis_parallel or rest[0].pixel_fill.size != 1:
            return None
        del rest[0]
    if not rest or not isinstance(rest.pop(0), ToTensor):
        return None
    mean: float | None = 0.0
    std: float | None = 1.0
    if rest and isinstance(rest[0], Normalize):
        mean, std = _number(rest[0].mean), _number(rest[0].std)
        del rest[0]
    if rest or mean is None or std is None or dtype.type(std) == 0:
        return None
    order.normalised = _normalised(mean, std, dtype)
    return order
