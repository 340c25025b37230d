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

from npmlp import config, random, recording
from npmlp.dtypes import get_default_dtype
from npmlp.kernels.calls import call
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
    dtype = get_default_dtype().numpy
    order = _order_for(steps, images, index, dtype)
    if order is None:
        return apply_steps(steps, images.take(index, axis=0))
    if index.view(np.uint64).max() >= len(images):  # a negative one is larger than any
        index = np.arange(len(images)).take(index)  # from negative ones, and IndexError
    out = np.empty((len(index), 1, *images.shape[1:]), dtype)
    uniforms = draw(len(index), order.draws) if order.draws else None
    _take(order, images, index, uniforms, out[:, 0])
    return out


def take_batch(
    steps: Sequence[BatchTransform], images: NDArray[np.uint8], labels: NDArray[np.int64],
    index: NDArray[np.int64],
) -> tuple[Array, NDArray[np.int64]]:  # fmt: skip
    """`gather_batch` and the labels, as a part of a step that a plan replays.

    Parameters and Raises: as gather_batch's; index (N,) is read anew at every replay, the steps are
    those of the recording. In a replay no index may be negative.

    Returns
    -------
    The images (N, 1, H, W) in the default dtype, and labels[index].
    """
    x = np.empty((len(index), 1, *images.shape[1:]), get_default_dtype().numpy)
    y = np.empty(len(index), labels.dtype)
    draws = any(step.draws for step in steps)
    recording.do(
        "take images", _TAKE_AND_DRAW if draws else _TAKE, list(steps), images, labels, index, x, y,
        makes=(x, y),
    )  # fmt: skip
    return x, y


def _take_now(steps: Any, images: Array, labels: Array, index: Array, x: Array, y: Array) -> None:
    x[...] = gather_batch(steps, images, index)
    labels.take(index, out=y)


def _will_draw(*_: Any) -> None:
    random.default_generator.will_draw()


def _take_later(steps: Any, images: Array, labels: Array, index: Array, x: Array, y: Array) -> bool:
    order = _order_for(steps, images, index, x.dtype)
    if order is None:
        return False
    from npmlp.kernels.augment import check_places, take_labels

    call(check_places, index, len(images))
    uniforms = np.empty((len(index), order.draws), x.dtype) if order.draws else None
    if uniforms is not None and not random.default_generator.keep_uniform(uniforms):
        return False
    call(take_labels, labels, index, y)
    _take(order, images, index, uniforms, x[:, 0])
    return True


_TAKE = recording.Repeatable(_take_now, first=None, keep=_take_later)
_TAKE_AND_DRAW = recording.Repeatable(_take_now, first=_will_draw, keep=_take_later)


def _take(
    order: _Order, images: NDArray[np.uint8], index: NDArray[np.int64], uniforms: Array | None,
    out: Array,
) -> None:  # fmt: skip
    """The kernels' calls: out (N, H, W) from the uniforms of each image, (N, order.draws)."""
    from npmlp.kernels import augment

    (height, width), n = images.shape[1:], len(index)
    if uniforms is None:
        augment.take_normalised(images, index, order.normalised, out)
        return
    flips, maps, fill = np.zeros(n, bool), np.full((n, 4), (0.5, 1.0, 0.5, 1.0)), np.uint8(0)
    if order.flip:
        call(augment.flips_of, uniforms[:, 0], uniforms.dtype.type(order.flip.p), flips)
    if order.affine:
        drawn, affine = uniforms[:, order.flip is not None :], order.affine
        ranges = np.array(affine.ranges(height, width), uniforms.dtype)
        shifts, scales = affine.translate is not None, affine.scale is not None
        middle = map(float, affine.middle(height, width))
        call(augment.axis_maps, drawn, ranges, shifts, scales, *middle, maps)
        fill = affine.pixel_fill[0]
    augment.take_augmented(images, index, flips, maps, fill, order.normalised, out)


@dataclass
class _Order:
    flip: RandomHorizontalFlip | None = None
    affine: RandomAffine | None = None
    normalised: Any = None  # what ToTensor and Normalize make of a pixel

    @property
    def draws(self) -> int:
        """How many random numbers an image takes."""
        return sum(step.draws for step in (self.flip, self.affine) if step)


@functools.lru_cache(maxsize=16)
def _normalised(mean: float, std: float, dtype: np.dtype[Any]) -> Any:
    from npmlp.kernels.augment import normalised

    return normalised(mean, std, dtype)


def _number(value: Any) -> float | None:
    """A Normalize's mean or std where it is one number."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        (value,) = value
    return float(value) if isinstance(value, (int, float)) else None


def _order_for(
    steps: Sequence[BatchTransform], images: Array, index: Array, dtype: np.dtype[Any]
) -> _Order | None:
    """The steps as the kernel takes them, if it can be used."""
    if config.get_kernels() == "numba" and images.flags.c_contiguous and index.size:
        return _kernels_order(steps, dtype)
    return None


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
