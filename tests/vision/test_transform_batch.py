"""Transforms of whole batches: the bits and the draws of one image after another."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torchvision import IMAGES, WIDE, same_stream, seed, theirs
from PIL import Image

import npmlp
from npmlp.vision import transforms as ours


def pipeline(module, order):
    steps = {
        "flip": module.RandomHorizontalFlip(),
        "flip rarely": module.RandomHorizontalFlip(p=0.2),
        "affine": module.RandomAffine(0, (0.1, 0.1), (0.9, 1.1)),
        "tensor": module.ToTensor(),
        "normal": module.Normalize((0.2860,), (0.3530,)),
    }
    return module.Compose([steps[name] for name in order])


ORDERS = [
    ["tensor", "normal"],
    ["flip", "affine", "tensor", "normal"],
    ["affine", "flip", "tensor"],
    ["tensor", "flip", "affine", "normal", "flip rarely"],
    ["flip", "tensor", "affine", "normal"],
    ["flip", "flip rarely", "tensor"],
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["28x28", "9x14"])
def test_a_batch_gives_the_bits_of_one_image_after_another(order, images):
    seed(2)
    expected = [pipeline(theirs, order)(Image.fromarray(image)).numpy() for image in images]
    untouched = images.copy()
    batch = ours.transform_batch(pipeline(ours, order), images)
    assert batch.dtype == np.float32 and same_stream()
    np.testing.assert_array_equal(batch, expected)
    np.testing.assert_array_equal(images, untouched)
    npmlp.manual_seed(2)
    for image, e in zip(images, expected, strict=True):
        np.testing.assert_array_equal(pipeline(ours, order)(Image.fromarray(image)).numpy(), e)


def test_a_batch_draws_from_the_generator_that_it_is_given():
    before = npmlp.get_rng_state().numpy()
    g = npmlp.Generator().manual_seed(4)
    transform = pipeline(ours, ORDERS[1])
    batch = ours.transform_batch(transform, IMAGES, generator=g)
    np.testing.assert_array_equal(before, npmlp.get_rng_state().numpy())
    npmlp.manual_seed(4)
    np.testing.assert_array_equal(ours.transform_batch(transform, IMAGES), batch)


def test_an_empty_batch_is_transformed_and_draws_nothing():
    before = npmlp.get_rng_state().numpy()
    batch = ours.transform_batch(pipeline(ours, ORDERS[1]), IMAGES[:0])
    assert batch.shape == (0, 1, 28, 28)
    np.testing.assert_array_equal(before, npmlp.get_rng_state().numpy())


class Louder(ours.ToTensor):
    def __call__(self, pic):
        return super().__call__(pic) * 2


@pytest.mark.parametrize("foreign", [ours.Lambda(abs), abs, Louder(), theirs.ToTensor(), None])
def test_foreign_steps_and_subclasses_take_single_images_only(foreign):
    assert ours.batch_steps(foreign) is None
    assert ours.batch_steps(ours.Compose([ours.ToTensor(), foreign])) is None
    with pytest.raises(TypeError, match="single images only"):
        ours.transform_batch(ours.Compose([ours.ToTensor(), foreign]), IMAGES)


def test_steps_of_nested_composes_come_in_order():
    flip, tensor, normal = ours.RandomHorizontalFlip(), ours.ToTensor(), ours.Normalize(0.5, 0.5)
    nested = ours.Compose([flip, ours.Compose([ours.Compose([tensor]), normal])])
    assert ours.batch_steps(nested) == [flip, tensor, normal]


@pytest.mark.parametrize(
    "steps", [[ours.ToTensor(), ours.ToTensor()], [ours.Normalize((0.5,), (0.5,)), ours.ToTensor()]]
)
def test_a_batch_refuses_the_order_that_single_images_refuse(steps):
    with pytest.raises(TypeError):
        ours.Compose(steps)(Image.fromarray(IMAGES[0]))
    with pytest.raises(TypeError):
        ours.transform_batch(ours.Compose(steps), IMAGES)
