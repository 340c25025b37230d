"""reference_torch's batches beside torchvision's transforms, image by image: equal bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from npmlp.recipes import RECIPES, Recipe
from npmlp.vision.images import load_image_data
from reference_torch import batches
from reference_torch.batches import Augmentation, Images
from reference_torch.one_by_one import OneByOne

MEAN, DEVIATION = 0.2860, 0.3530


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    data = load_image_data()
    return data.train_images[:600].copy(), data.train_labels[:600].astype(np.int64)


def one_by_one(images: np.ndarray, labels: np.ndarray, recipe: Recipe) -> OneByOne:
    return OneByOne(images, labels, recipe, MEAN, DEVIATION)


def whole_batches(images: np.ndarray, labels: np.ndarray, recipe: Recipe) -> Images:
    augmentation = None
    if recipe.augment != "none":
        affine = recipe.augment == "flip_affine"
        augmentation = Augmentation(affine, recipe.translate, recipe.scale)
    normal = (MEAN, DEVIATION) if recipe.normalize == "standardize" else None
    return Images(torch.tensor(images), torch.tensor(labels), normal, augmentation)


def assert_same_epochs(slow: Any, fast: Any, seed: int, epochs: int = 2, size: int = 128) -> None:
    """The same bits in the same order, and the generator in the same place."""
    epochs_of = []
    for loader in (DataLoader(slow, size, shuffle=True), batches.loader(fast, size)):
        torch.manual_seed(seed)
        epochs_of.append([list(loader) for _ in range(epochs)] + [torch.get_rng_state()])
    (*expected, place), (*found, where) = epochs_of
    assert torch.equal(place, where)
    for one, other in zip(expected, found, strict=True):
        for (x, y), (ours, labels) in zip(one, other, strict=True):
            assert x.dtype == ours.dtype and y.dtype == labels.dtype
            assert x.numpy().tobytes() == ours.numpy().tobytes()
            assert torch.equal(y, labels)


def distinct_preparations() -> list[Recipe]:
    """The recipes that prepare their images in different ways."""
    found = {(r.augment, r.translate, r.scale, r.normalize): r for r in RECIPES.values()}
    return list(found.values())


@pytest.mark.parametrize("recipe", distinct_preparations(), ids=lambda r: r.name)
@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7])
def test_every_recipe_gets_the_batches_of_torchvision(
    recipe: Recipe, seed: int, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    assert_same_epochs(one_by_one(*arrays, recipe), whole_batches(*arrays, recipe), seed, 1)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(augment="flip", normalize="scale"),
        Recipe(augment="flip_affine", translate=0.1, scale=0.1),
        Recipe(augment="flip_affine", translate=0.5, scale=0.5),
        Recipe(augment="flip_affine", translate=0.0, scale=0.0),
        Recipe(augment="flip_affine", translate=0.04, scale=0.04, dtype="float64"),
        Recipe(augment="flip", dtype="float64"),
    ],
    ids=["flip", "10 %", "strong", "nothing", "float64", "flip64"],
)
def test_other_augmentations_are_those_of_torchvision(
    recipe: Recipe, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    torch.set_default_dtype(getattr(torch, recipe.dtype))
    assert_same_epochs(one_by_one(*arrays, recipe), whole_batches(*arrays, recipe), 5)


def test_images_need_not_be_square() -> None:
    rng = np.random.default_rng(0)
    # so wide that a map rounded to float32 anywhere would move a pixel
    images = rng.integers(0, 256, (120, 17, 3000), dtype=np.uint8)
    labels = rng.integers(0, 3, 120)
    recipe = Recipe(augment="flip_affine", translate=0.2, scale=0.3)
    slow, fast = one_by_one(images, labels, recipe), whole_batches(images, labels, recipe)
    assert_same_epochs(slow, fast, 1, size=50)


def test_a_subset_of_a_subset_keeps_its_images(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    recipe = RECIPES["residual"]
    chosen = np.random.default_rng(1).permutation(len(arrays[0]))[:400].tolist()
    slow, fast = (
        Subset(Subset(whole, chosen), range(1, 301))
        for whole in (one_by_one(*arrays, recipe), whole_batches(*arrays, recipe))
    )
    assert_same_epochs(slow, fast, 2)


def test_one_image_is_a_batch_of_one(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    recipe = Recipe()
    slow, fast = one_by_one(*arrays, recipe), whole_batches(*arrays, recipe)
    assert torch.equal(slow[7][0], fast[7][0]) and slow[7][1] == fast[7][1]
