"""What a recipe says, as objects: optimizer, scheduler, and images as the network sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp import creation, nn, optim
from npmlp.errors import RunError
from npmlp.optim import lr_scheduler
from npmlp.recipes import Recipe
from npmlp.tensor import Tensor
from npmlp.utils.data import Dataset, Subset, random_split
from npmlp.vision import transforms
from npmlp.vision.images import DataFacts, ImageData


def build_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """The recipe's optimizer, with weight decay on all parameters or on the weights alone."""
    groups: Any = list(model.parameters())
    if recipe.decay == "weights":
        # biases and the scales of normalisation have one dimension
        groups = [
            {"params": [p for p in groups if p.ndim > 1]},
            {"params": [p for p in groups if p.ndim <= 1], "weight_decay": 0.0},
        ]
    decay, lr = recipe.weight_decay, recipe.lr
    if recipe.optimizer == "sgd":
        return optim.SGD(groups, lr, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)
    kind = optim.Adam if recipe.optimizer == "adam" else optim.AdamW
    return kind(groups, lr, weight_decay=decay)


def build_scheduler(recipe: Recipe, optimizer: optim.Optimizer) -> Any:
    """The recipe's scheduler, stepped once per epoch, or None."""
    if recipe.scheduler == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
        )
    if recipe.scheduler == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs, recipe.min_lr)
    if recipe.scheduler == "step":
        return lr_scheduler.StepLR(optimizer, recipe.step_size, recipe.factor)
    return None


def split_off(recipe: Recipe, whole: Dataset[Any]) -> list[Subset[Any]]:
    """What is left of the images, and those held out for validation: one draw of a random order.

    Raises RunError where nothing would be left.
    """
    count, size = len(whole), recipe.validation_size  # type: ignore[arg-type]
    if size >= count:
        raise RunError(
            f"--validation-size {size}: the {recipe.validation} set has {count} images, and some "
            "must be left"
        )
    return random_split(whole, [count - size, size])


def test_transform(recipe: Recipe, data: ImageData | DataFacts) -> transforms.Compose:
    """An image as the network sees it when it is tested."""
    steps: list[Any] = [transforms.ToTensor()]
    if recipe.normalize == "standardize":
        steps.append(transforms.Normalize((data.mean,), (data.deviation,)))
    return transforms.Compose(steps)


def train_transform(recipe: Recipe, data: ImageData | DataFacts) -> transforms.Compose:
    """An image as the network sees it in training: augmented first, so that uncovered is black."""
    steps: list[Any] = []
    if recipe.augment != "none":
        steps.append(transforms.RandomHorizontalFlip())
    if recipe.augment == "flip_affine":
        steps.append(
            transforms.RandomAffine(
                0,
                translate=(recipe.translate, recipe.translate),
                scale=(1 - recipe.scale, 1 + recipe.scale),
            )
        )
    return transforms.Compose([*steps, *test_transform(recipe, data).transforms])


def one_image(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], recipe: Recipe, data: ImageData | DataFacts
) -> Tensor:
    """A batch of one image, (1, 1, H, W), from pixels of shape (H, W)."""
    image: Tensor = test_transform(recipe, data)(pixels)
    return creation.from_numpy(image.numpy().reshape(1, *data.shape))
