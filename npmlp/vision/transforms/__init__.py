"""Transforms of images, with torchvision's names, results and random draws, bit for bit."""

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
