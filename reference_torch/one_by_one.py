"""Images as PyTorch scripts have them: one by one, through PIL and torchvision's transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from npmlp.recipes import Recipe
from reference_torch.torchvision_cpu import import_torchvision

Sample = tuple[torch.Tensor, int]


class OneByOne(Dataset[Sample]):
    """A recipe's training images, prepared by RandomHorizontalFlip, RandomAffine, ToTensor and
    Normalize as the recipe says.

    Parameters: `images`, uint8 (N, H, W); `labels`, (N,); `recipe`; `mean` and `deviation`, of
    pixels scaled to [0, 1]. Returns of an index: pixels (1, H, W) of the default dtype, and a
    class.
    """

    def __init__(
        self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], recipe: Recipe,
        mean: float, deviation: float,
    ) -> None:  # fmt: skip
        transforms = import_torchvision().transforms
        steps: list[Any] = []
        if recipe.augment != "none":
            steps.append(transforms.RandomHorizontalFlip())
        if recipe.augment == "flip_affine":
            t, s = recipe.translate, recipe.scale
            steps.append(transforms.RandomAffine(0, translate=(t, t), scale=(1 - s, 1 + s)))
        steps.append(transforms.ToTensor())
        if recipe.normalize == "standardize":
            steps.append(transforms.Normalize((mean,), (deviation,)))
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])
