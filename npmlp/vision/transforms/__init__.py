"""Transforms of images, with torchvision's names, results and random draws, bit for bit."""

from typing import Any

from npmlp.outside import outside
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
    if (
        name[:1].isupper() or name == "v2"
    ):  # torchvision's classes; anything else is a plain AttributeError
        raise outside(f"npmlp.vision.transforms.{name}", "wrap a function of your own with Lambda")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
