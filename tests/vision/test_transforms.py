"""Transforms beside torchvision's: the same pixels, the same bits, the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from beside_torchvision import IMAGES, RNG, WIDE, assert_same, same_stream, seed, theirs
from PIL import Image

import npmlp
from npmlp.errors import OutsideSubsetError
from npmlp.vision import transforms as ours
from npmlp.vision.transforms import augment

# ---- ToTensor and Normalize ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "F"])
def test_to_tensor_takes_each_pil_mode_as_torchvision_does(mode):
    image = Image.fromarray(IMAGES[0]).convert(mode)
    assert_same(ours.ToTensor()(image), theirs.ToTensor()(image))


@pytest.mark.parametrize(
    "array",
    [
        IMAGES[0],
        WIDE[0][:, :, None],
        RNG.integers(0, 256, (5, 6, 3), np.uint8),
        RNG.normal(size=(5, 6)).astype(np.float32),
        RNG.normal(size=(5, 6, 2)),
        np.arange(12).reshape(3, 4),
        IMAGES[0][::-2, ::3],
    ],
)
def test_to_tensor_scales_bytes_and_only_bytes(array):
    assert_same(ours.ToTensor()(array), theirs.ToTensor()(array.copy()))


def test_to_tensor_makes_the_default_dtype():
    npmlp.set_default_dtype(npmlp.float64)
    torch.set_default_dtype(torch.float64)
    try:
        assert_same(ours.ToTensor()(IMAGES[0]), theirs.ToTensor()(IMAGES[0]))
    finally:
        npmlp.set_default_dtype(npmlp.float32)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "mean", "std"),
    [
        ((1, 28, 28), (0.2860,), (0.3530,)),
        ((3, 5, 6), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ((4, 2, 5, 6), (0.1, 0.7), (0.3, 1.9)),
        ((1, 5, 6), 0.3, 0.7),
    ],
)
def test_normalize_gives_the_same_bits(dtype, shape, mean, std):
    x = RNG.random(shape).astype(dtype)
    t = npmlp.from_numpy(x.copy())
    assert_same(ours.Normalize(mean, std)(t), theirs.Normalize(mean, std)(torch.from_numpy(x)))
    np.testing.assert_array_equal(t.numpy(), x)  # out of place
    assert ours.Normalize(mean, std, inplace=True)(t) is t
    assert_same(t, theirs.Normalize(mean, std)(torch.from_numpy(x)))


def test_every_grey_value_is_normalised_to_the_same_bits():
    steps = [(0.2860,), (0.3530,)]
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mine = ours.Compose([ours.ToTensor(), ours.Normalize(*steps)])
    reference = theirs.Compose([theirs.ToTensor(), theirs.Normalize(*steps)])
    assert_same(mine(image), reference(image))
    np.testing.assert_array_equal(
        ours.transform_batch(mine, image[None])[0], reference(image).numpy()
    )


@pytest.mark.parametrize(
    ("make", "argument", "error"),
    [
        (lambda m: m.ToTensor(), [[1, 2]], TypeError),
        (lambda m: m.ToTensor(), np.zeros((2, 2, 2, 2), np.uint8), ValueError),
        (lambda m: m.Normalize(0.5, 0.5), IMAGES[0], TypeError),
        (lambda m: m.Lambda("no function"), None, TypeError),
        (lambda m: m.RandomAffine(-3), None, ValueError),
        (lambda m: m.RandomAffine((1, 2, 3)), None, ValueError),
        (lambda m: m.RandomAffine(0, translate=0.1), None, TypeError),
        (lambda m: m.RandomAffine(0, translate=(0.1,)), None, ValueError),
        (lambda m: m.RandomAffine(0, translate=(0.1, 1.5)), None, ValueError),
        (lambda m: m.RandomAffine(0, scale=(0, 1)), None, ValueError),
        (lambda m: m.RandomAffine(0, fill="red?".encode), None, TypeError),
        (lambda m: m.RandomAffine(0), "not an image", TypeError),
        (lambda m: m.RandomHorizontalFlip(p=1), "not an image", TypeError),
    ],
)
def test_wrong_arguments_raise_what_torchvision_raises(make, argument, error):
    for module in (ours, theirs):
        with pytest.raises(error):
            make(module)(argument)


def test_normalize_refuses_what_torchvision_refuses():
    x = RNG.integers(0, 9, (1, 4, 4))
    for module, make in ((ours, npmlp.tensor), (theirs, torch.tensor)):
        with pytest.raises(TypeError):
            module.Normalize(0.5, 0.5)(make(x))
        with pytest.raises(ValueError):
            module.Normalize(0.5, 0.5)(make([[1.0]]))
        with pytest.raises(ValueError, match="zero"):
            module.Normalize((0.5,), (1e-60,))(make([[[1.0]]]))


def test_images_of_16_bits_and_other_interpolations_are_outside_the_subset():
    with pytest.raises(OutsideSubsetError, match="int32 or int16"):
        ours.ToTensor()(Image.new("I", (3, 3)))
    with pytest.raises(OutsideSubsetError, match="NEAREST only"):
        ours.RandomAffine(0, interpolation=ours.InterpolationMode.BILINEAR)


# ---- reprs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.Compose([m.RandomHorizontalFlip(), m.ToTensor(), m.Normalize((0.5,), [0.25])]),
        lambda m: m.Compose([m.ToTensor(), m.Compose([m.Lambda(abs)])]),
        lambda m: m.RandomHorizontalFlip(p=0.25),
        lambda m: m.RandomAffine(0),
        lambda m: m.RandomAffine((-5, 10), (0.1, 0.2), (0.9, 1.1), 3, fill=7, center=(1, 2)),
        lambda m: m.RandomAffine(0, shear=(1, 2, 3, 4), fill=(1, 2, 3)),
    ],
)
def test_reprs_are_torchvisions(make):
    assert repr(make(ours)) == repr(make(theirs))


# ---- random transforms, image by image -------------------------------------------------------

AFFINE = {
    "angle drawn, nothing moves": {"degrees": 0},
    "translate": {"degrees": 0, "translate": (0.1, 0.3)},
    "translate nothing": {"degrees": 0, "translate": (0, 0.0)},
    "scale": {"degrees": 0, "scale": (0.5, 2.0)},
    "recipe ±10 %": {"degrees": 0, "translate": (0.1, 0.1), "scale": (0.9, 1.1)},
    "recipe ±4 %": {"degrees": 0, "translate": (0.04, 0.04), "scale": (0.96, 1.04)},
    "fill": {"degrees": 0, "translate": (0.3, 0.3), "scale": (0.4, 0.6), "fill": 77},
    "center": {"degrees": 0, "translate": (0.1, 0.1), "scale": (0.7, 1.3), "center": (3, 11)},
    "scale fixed": {"degrees": 0, "scale": (0.8, 0.8)},
    # 1/s added up from pixel to pixel and i·(1/s) fall on two sides of a whole number here
    "scale 5/8": {"degrees": 0, "scale": (0.625, 0.625)},
    "scale 3/4": {"degrees": 0, "translate": (0.1, 0.1), "scale": (0.75, 0.75)},
}
TURNED = {
    "rotation": {"degrees": 30},
    "rotation by quarters": {"degrees": (90, 90)},
    "rotation, translate": {"degrees": (10, 170), "translate": (0.1, 0.1), "fill": 9},
    "shear": {"degrees": 0, "shear": 20, "scale": (0.8, 1.2)},
    "shear two ways": {"degrees": 15, "shear": (-5, 10, 3, 25), "center": (5, 5)},
}


def in_full(module, name):
    return module.RandomAffine(**{**AFFINE, **TURNED}[name])


@pytest.mark.parametrize("name", [*AFFINE, *TURNED])
@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["28x28", "9x14"])
def test_affine_of_pil_images_and_of_batches_is_pillows(name, images):
    seed(7)
    expected = [in_full(theirs, name)(Image.fromarray(image)) for image in images]
    pixels = np.stack([np.asarray(e) for e in expected])

    npmlp.manual_seed(7)
    for image, e in zip(images, expected, strict=True):
        assert_same(in_full(ours, name)(Image.fromarray(image)), e)
    assert same_stream()

    npmlp.manual_seed(7)
    batch = ours.transform_batch(in_full(ours, name), images)
    assert same_stream()
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(batch, pixels)

    npmlp.manual_seed(7)
    arrays = [in_full(ours, name)(image) for image in images]
    np.testing.assert_array_equal(np.stack(arrays), pixels)


@pytest.fixture
def float64_by_default():
    npmlp.set_default_dtype(npmlp.float64)
    torch.set_default_dtype(torch.float64)
    yield
    npmlp.set_default_dtype(npmlp.float32)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["recipe ±10 %", "fill", "shear two ways"])
def test_draws_are_of_the_default_dtype_as_torchvisions(name, float64_by_default):
    def both(module):
        return module.Compose([module.RandomHorizontalFlip(), in_full(module, name)])

    seed(11)
    expected = [np.asarray(both(theirs)(Image.fromarray(image))) for image in IMAGES]
    npmlp.manual_seed(11)
    np.testing.assert_array_equal(ours.transform_batch(both(ours), IMAGES), expected)
    assert same_stream()
    npmlp.manual_seed(11)
    singly = [np.asarray(both(ours)(Image.fromarray(image))) for image in IMAGES]
    np.testing.assert_array_equal(singly, expected)


@pytest.mark.parametrize("mode", ["RGB", "LA", "F", "1"])
def test_affine_of_other_pil_modes_is_pillows(mode):
    seed(3)
    for image in IMAGES[:5]:
        picture = Image.fromarray(image).convert(mode)
        mine = ours.RandomAffine(20, (0.2, 0.2), fill=3)(picture)
        assert_same(mine, theirs.RandomAffine(20, (0.2, 0.2), fill=3)(picture))
    with pytest.raises(ValueError):
        ours.RandomAffine(0, fill=(1, 2, 3, 4, 5))(Image.new("RGB", (3, 3)))


@pytest.mark.parametrize("fill", [300, -5, 2.9])
def test_a_fill_that_is_no_byte_is_taken_as_pillow_takes_it(fill):
    seed(1)
    options = {"degrees": 0, "translate": (0.4, 0.4), "fill": fill}
    expected = [np.asarray(theirs.RandomAffine(**options)(Image.fromarray(i))) for i in IMAGES[:5]]
    npmlp.manual_seed(1)
    batch = ours.transform_batch(ours.RandomAffine(**options), IMAGES[:5])
    np.testing.assert_array_equal(batch, expected)


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "three channels", "four dims"])
def test_affine_of_tensors_is_pytorchs(name, kind):
    shape = {"three channels": (3, 9, 14), "four dims": (2, 3, 9, 14)}.get(kind, (1, 28, 28))
    if kind == "uint8":
        arrays = RNG.integers(0, 256, (40, *shape), np.uint8)
    else:
        arrays = RNG.random((40, *shape)).astype(kind if kind == "float64" else np.float32)
    seed(11)
    for array in arrays:
        mine = in_full(ours, name)(npmlp.from_numpy(array))
        assert_same(mine, in_full(theirs, name)(torch.from_numpy(array)))
    assert same_stream()


@pytest.mark.parametrize("name", AFFINE)
def test_affine_of_a_batch_of_tensors_is_pytorchs(name):
    arrays = RNG.random((40, 2, 9, 14)).astype(np.float32)
    seed(11)
    expected = [in_full(theirs, name)(torch.from_numpy(a)).numpy() for a in arrays]
    batch = ours.transform_batch(in_full(ours, name), arrays)
    np.testing.assert_array_equal(batch, expected)
    assert same_stream()


@pytest.mark.parametrize("options", [{"degrees": 5}, {"degrees": 0, "shear": 5}])
def test_rotation_and_shear_of_a_tensor_are_outside_the_subset(options):
    with pytest.raises(OutsideSubsetError, match="put it before ToTensor"):
        ours.RandomAffine(**options)(npmlp.zeros(1, 28, 28))


def test_shifts_are_rounded_half_to_even():
    # By hand, as no seed is known to draw a half: 10 pixels, translate 0.2, so that a shift is
    # 4·u − 2, and the uniforms u make it −0.5, 0.5, 1.5 and −1.5.
    row = np.arange(1, 11, dtype=np.uint8)
    uniforms = np.array([[0.5, u, 0.5] for u in (0.375, 0.625, 0.875, 0.125)], np.float32)
    moved = ours.RandomAffine(0, (0.2, 0.2)).batch(np.tile(row, (4, 10, 1)), uniforms)
    assert moved[:, 0].tolist() == [
        row.tolist(),
        row.tolist(),
        [0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        [3, 4, 5, 6, 7, 8, 9, 10, 0, 0],
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(-2.8, 2.8), (0.9, 1.1), (1.0, 1.0 + 2**-22), (3.0, 3.0)]
)
def test_what_is_drawn_between_two_bounds_is_what_uniform_draws(low, high):
    # The third range has five float32 numbers: the sum often rounds up to the upper bound, which
    # is not part of it and becomes the lower one.
    uniforms = npmlp.Generator().manual_seed(1).uniform((500, 1))
    between = augment._between(uniforms, [(low, high)])[:, 0]
    g = torch.Generator().manual_seed(1)
    expected = [torch.empty(1).uniform_(low, high, generator=g).item() for _ in range(500)]
    np.testing.assert_array_equal(between, np.array(expected, np.float32))


def test_a_flip_is_made_below_p_and_not_at_it():
    images = np.tile(np.array([1, 2], np.uint8), (2, 1, 1))
    uniforms = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(0))]])
    assert ours.RandomHorizontalFlip().batch(images, uniforms).tolist() == [[[1, 2]], [[2, 1]]]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_flips_are_drawn_and_made_as_torchvisions(p):
    seed(23)
    expected = [theirs.RandomHorizontalFlip(p)(Image.fromarray(image)) for image in WIDE]
    after = torch.get_rng_state().numpy()
    for make in (
        lambda: [np.asarray(ours.RandomHorizontalFlip(p)(Image.fromarray(i))) for i in WIDE],
        lambda: [ours.RandomHorizontalFlip(p)(i) for i in WIDE],
        lambda: [ours.RandomHorizontalFlip(p)(npmlp.from_numpy(i)).numpy() for i in WIDE],
        lambda: ours.transform_batch(ours.RandomHorizontalFlip(p), WIDE),
    ):
        npmlp.manual_seed(23)
        np.testing.assert_array_equal(make(), [np.asarray(e) for e in expected])
        np.testing.assert_array_equal(npmlp.get_rng_state().numpy(), after)
