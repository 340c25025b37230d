"""What a transform is here, and how several become one: Compose, Lambda, and whole batches.

Each works on one image (a PIL image, an array or a Tensor) as torchvision's does, and on a whole
batch: uint8 (N, H, W) are N grey PIL images, floats (N, C, H, W) are N Tensors. A batch takes its
random numbers as one block with a row per image, which is the order of one image after another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from npmlp import random
from npmlp.dtypes import get_default_dtype

Array = NDArray[Any]


def is_pil_image(image: object) -> bool:
    """Whether it is a PIL image; where Pillow is not imported yet, nothing is one."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(image, pil.Image)


class BatchTransform:
    """A transform that can take a whole batch; `draws` random numbers belong to each image."""

    @property
    def draws(self) -> int:
        """How many uniform numbers one image takes from the generator."""
        return 0

    def batch(self, images: Array, uniforms: Array) -> Array:
        """Transform uint8 (N, H, W) or floats (N, C, H, W) with uniforms of shape (N, draws)."""
        raise NotImplementedError


def draw(images: int, draws: int, generator: random.Generator | None = None) -> Array:
    """Uniform numbers of the default dtype, as torchvision draws them, shape (images, draws)."""
    generator = generator or random.default_generator
    return generator.uniform((images, draws), dtype=get_default_dtype().numpy)


class Compose:
    """Transforms one after another.

    Parameters
    ----------
    transforms: a list of callables, each given what the one before it returned.

    Source: torchvision.transforms.Compose.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", *(f"    {t}" for t in self.transforms), ")"])


class Lambda:
    """Any function as a transform. A batch with it goes image by image.

    Source: torchvision.transforms.Lambda.
    """

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(
                f"Lambda: got lambd of type {type(lambd).__name__!r}, expected a callable"
            )
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def batch_steps(transform: Any) -> list[BatchTransform] | None:
    """The transforms inside (nested) Composes in order; None where one takes single images only.

    A subclass may have changed what happens to one image, so it counts as one of those, too.
    """
    if type(transform) is Compose:
        steps: list[BatchTransform] = []
        for inner in transform.transforms:
            found = batch_steps(inner)
            if found is None:
                return None
            steps += found
        return steps
    if isinstance(transform, BatchTransform) and type(transform).__module__.startswith(_OURS):
        return [transform]
    return None


_OURS = __name__.rpartition(".")[0] + "."


def transform_batch(
    transform: Any, images: Array, generator: random.Generator | None = None
) -> Array:
    """A whole batch through a transform, with the draws and results of one image after another.

    Parameters
    ----------
    transform: a transform of this package, or a Compose of them.
    images: uint8 of shape (N, H, W), or floats of shape (N, C, H, W).
    generator: what to draw from; the default generator where it is None.

    Raises
    ------
    TypeError: the transform holds a Lambda or a foreign callable, which take single images only.

    Examples
    --------
    >>> import numpy as np
    >>> from npmlp.vision.transforms import Compose, RandomHorizontalFlip, ToTensor
    >>> images = np.zeros((5, 28, 28), np.uint8)
    >>> transform_batch(Compose([RandomHorizontalFlip(), ToTensor()]), images).shape
    (5, 1, 28, 28)
    """
    steps = batch_steps(transform)
    if steps is None:
        raise TypeError(f"transform_batch: {transform!r} takes single images only")
    return apply_steps(steps, images, generator)


def apply_steps(
    steps: Sequence[BatchTransform], images: Array, generator: random.Generator | None = None
) -> Array:
    """`transform_batch` for what `batch_steps` found."""
    uniforms = draw(len(images), sum(step.draws for step in steps), generator)
    first = 0
    for step in steps:
        images = step.batch(images, uniforms[:, first : first + step.draws])
        first += step.draws
    return images
