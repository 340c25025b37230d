"""Transforms of images, with torchvision's names, results and random draws, bit for bit."""

from typing import Any

from npmlp.errors import OutsideSubsetError
from npmlp.vision.transforms.augment import InterpolationMode, RandomAffine, RandomHorizontalFlip
from npmlp.vision.transforms.compose import (
    BatchTransform,
    Compose,
    Lambda,
    batch_steps,
    transform_batch,
)
from npmlp.vision.transforms.convert import Normalize, ToTensor

__all__ = [
    "BatchTransform",
    "Compose",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "RandomAffine",
    "RandomHorizontalFlip",
    "ToTensor",
    "batch_steps",
    "transform_batch",
]


def __getattr__(name: str) -> Any:
    if name[:1].isupper():  # torchvision's classes; anything else is a plain AttributeError
        raise OutsideSubsetError(
            f"npmlp.vision.transforms.{name}: npmlp does not have it; wrap a function of your own "
            "with Lambda, or use one of those in docs/subset.md"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
