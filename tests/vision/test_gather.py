"""Batches gathered in one pass have the bits and the draws of one image after another."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import npmlp
from npmlp import config, recipes
from npmlp.errors import OutsideSubsetError, ShapeError
from npmlp.kernels.augment import normalised
from npmlp.kernels.vectors import VECTOR_BYTES
from npmlp.utils.data import default_collate
from npmlp.vision import transforms as T
from npmlp.vision.datasets import Images
from npmlp.vision.transforms import gather

RNG = np.random.default_rng(4)
SQUARE = RNG.integers(0, 256, (50, 28, 28), np.uint8)
WIDE = RNG.integers(0, 256, (50, 9, 14), np.uint8)
LABELS = RNG.integers(0, 10, 50)
ORDER = RNG.permutation(50)[:33].tolist()

FLIP, AFFINE = T.RandomHorizontalFlip(), T.RandomAffine(0, (0.1, 0.1), (0.9, 1.1))
TENSOR, NORMAL = T.ToTensor(), T.Normalize((0.2860,), (0.3530,))
FUSED = {
    "plain": [TENSOR],
    "normalised": [TENSOR, NORMAL],
    "normalised by numbers": [TENSOR, T.Normalize(0.5, 0.25)],
    "flip": [FLIP, TENSOR, NORMAL],
    "always flipped": [T.RandomHorizontalFlip(1.0), TENSOR],
    "affine": [AFFINE, TENSOR, NORMAL],
    "flip, affine": [FLIP, AFFINE, TENSOR, NORMAL],
    "nested": [T.Compose([FLIP, AFFINE]), T.Compose([TENSOR, NORMAL])],
    "residual": [FLIP, T.RandomAffine(0, (0.04, 0.04), (0.96, 1.04)), TENSOR, NORMAL],
    "far": [FLIP, T.RandomAffine(0, (1.0, 1.0), (0.2, 3.0)), TENSOR, NORMAL],
    "moved along x": [T.RandomAffine(0, (0.5, 0.0)), TENSOR],
    "fill": [FLIP, T.RandomAffine(0, (0.3, 0.3), (0.5, 0.8), fill=93.7), TENSOR, NORMAL],
    "fill for one band": [T.RandomAffine(0, (0.3, 0.3), fill=(17,)), TENSOR, NORMAL],
    "center": [T.RandomAffine(0, None, (0.5, 2.0), center=(0.0, 3.5)), TENSOR],
    "no draws but the angle": [T.RandomAffine(0), TENSOR],
}
OTHER = {
    "affine, flip": [AFFINE, FLIP, TENSOR, NORMAL],
    "two flips": [FLIP, FLIP, TENSOR],
    "two affines": [AFFINE, AFFINE, TENSOR],
    "turned": [FLIP, T.RandomAffine(30, (0.1, 0.1)), TENSOR, NORMAL],
    "sheared": [T.RandomAffine(0, shear=20), TENSOR],
    "flipped as a Tensor": [TENSOR, FLIP],
    "normalised twice": [TENSOR, NORMAL, NORMAL],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("images", [SQUARE, WIDE], ids=["28x28", "9x14"])
@pytest.mark.parametrize("steps", [*FUSED, *OTHER])
def test_a_batch_has_the_bits_and_draws_of_one_image_after_another(steps, images, dtype, kernels):
    npmlp.set_default_dtype(getattr(npmlp, dtype))
    data = Images(images, LABELS, T.Compose((FUSED | OTHER)[steps]))
    npmlp.manual_seed(8)
    one_by_one = [data[i] for i in ORDER]
    after = npmlp.get_rng_state().numpy()
    npmlp.manual_seed(8)
    x, y = data.__getitems__(ORDER).columns
    assert x.dtype == getattr(npmlp, dtype)
    np.testing.assert_array_equal(x.numpy(), np.stack([a.numpy() for a, _ in one_by_one]))
    assert y.tolist() == [label for _, label in one_by_one]
    np.testing.assert_array_equal(npmlp.get_rng_state().numpy(), after)


@pytest.mark.parametrize("steps", [*FUSED, *OTHER])
def test_which_steps_the_kernel_takes(steps):
    found = T.batch_steps(T.Compose((FUSED | OTHER)[steps]))
    assert (gather._kernels_order(found, np.dtype(np.float32)) is not None) == (steps in FUSED)


def test_three_means_for_one_channel_are_refused_in_a_batch_too(kernels):
    normalize = T.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    data = Images(SQUARE, LABELS, T.Compose([TENSOR, normalize]))
    for index in (0, [0, 1]):
        with pytest.raises(ShapeError):
            data.__getitems__(index) if isinstance(index, list) else data[index]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_kernel_takes_the_transforms_of_every_recipe(name):
    from npmlp.from_recipe import train_transform
    from npmlp.vision.images import FASHION_MNIST_FACTS

    transform = train_transform(recipes.RECIPES[name], FASHION_MNIST_FACTS)
    assert gather._kernels_order(T.batch_steps(transform), np.dtype(np.float32)) is not None


@pytest.mark.parametrize("steps", ["normalised", "flip, affine"])
def test_indices_count_from_the_end_and_stop_at_it(steps, kernels):
    data = Images(SQUARE, LABELS, T.Compose(FUSED[steps]))
    npmlp.manual_seed(1)
    x, y = data.__getitems__([-1, 0, -50]).columns
    npmlp.manual_seed(1)
    a, b = data.__getitems__([49, 0, 0]).columns
    np.testing.assert_array_equal(x.numpy(), a.numpy())
    np.testing.assert_array_equal(y.numpy(), b.numpy())
    for beyond in (50, -51):
        with pytest.raises(IndexError):
            data.__getitems__([0, beyond])


def test_data_that_does_not_lie_in_order_is_taken_too(kernels):
    steps = FUSED["flip, affine"]
    strided, copied = (
        Images(images, LABELS, T.Compose(steps)) for images in (SQUARE[::-1], SQUARE[::-1].copy())
    )
    batches = []
    for data in (strided, copied):
        npmlp.manual_seed(2)
        batches.append(data.__getitems__(ORDER).columns[0].numpy())
    np.testing.assert_array_equal(*batches)


def test_the_numpy_kernels_compile_nothing():
    code = (
        "import sys, numpy as np\n"
        "from npmlp import recipes\n"
        "from npmlp.from_recipe import train_transform\n"
        "from npmlp.vision.datasets import Images\n"
        "from npmlp.vision.images import FASHION_MNIST_FACTS as facts\n"
        "t = train_transform(recipes.RECIPES['residual'], facts)\n"
        "images = np.zeros((9, 28, 28), np.uint8)\n"
        "Images(images, np.zeros(9, np.int64), t).__getitems__(range(9))\n"
        "sys.exit('numba' in sys.modules)"
    )
    environment = {"NPMLP_KERNELS": "numpy", "PATH": ""}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0
    assert config.get_kernels() in ("numpy", "numba")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_are_computed_where_that_gives_the_tables_bits_and_else_looked_up(dtype):
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(1)
    for mean, std in [(0.0, 1.0), (0.2860, 0.3530), *rng.uniform(0.05, 1, (50, 2))]:
        if VECTOR_BYTES:
            assert normalised(mean, std, dtype).numbers.size == 5
    tiny = np.finfo(dtype).smallest_subnormal  # whose reciprocal is infinite
    assert normalised(0.0, tiny, dtype).numbers.size == 0
    images = rng.integers(0, 256, (9, 5, 7), np.uint8)
    steps = [T.ToTensor(), T.Normalize((0.0,), (float(tiny),))]
    npmlp.set_default_dtype(getattr(npmlp, dtype.name))
    with np.errstate(over="ignore"):
        found = gather.gather_batch(steps, images, np.array([8, 0, 8, 3]))
        expected = images[[8, 0, 8, 3], None].astype(dtype) / dtype.type(255) / tiny
    assert np.isinf(found).any() and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("steps", ["normalised", "residual"])
def test_many_images_on_threads_have_the_same_bits(steps, threads):
    order = np.arange(700) * 7 % len(SQUARE)
    before = config.get_num_threads()
    try:
        config.set_num_threads(threads)
        npmlp.manual_seed(8)
        found = gather.gather_batch(FUSED[steps], SQUARE, order)
    finally:
        config.set_num_threads(before)
    npmlp.manual_seed(8)
    expected = gather.apply_steps(FUSED[steps], SQUARE[order])
    assert found.tobytes() == expected.tobytes()


# ---- taken within a step -----------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("steps", [*FUSED, *OTHER])
def test_images_taken_in_a_step_are_those_of_a_loader(steps, threads, kernels):
    """In a plan's replays, too, with a dropout that draws in between."""
    npmlp.set_num_threads(threads)
    data = Images(SQUARE, LABELS, T.Compose((FUSED | OTHER)[steps]))
    rounds = [RNG.permutation(50)[:20] for _ in range(5)]

    def with_noise(x, y):
        return npmlp.nn.functional.dropout(x, 0.3), y + 1

    npmlp.manual_seed(5)
    expected = [with_noise(*default_collate(data.__getitems__(r.tolist()))) for r in rounds]
    after = npmlp.get_rng_state().numpy().tobytes()
    npmlp.manual_seed(5)
    plan = npmlp.capture(lambda index: with_noise(*data.take(index)))
    calls = [(npmlp.from_numpy(r),) for r in rounds]
    found = [plan(*calls[0]), plan(*calls[1]), *plan.each(calls[2:])]
    assert plan.reason is None
    for (x, y), (its_x, its_y) in zip(found, expected, strict=True):
        assert x.numpy().tobytes() == its_x.numpy().tobytes()
        assert y.tolist() == its_y.tolist()
    assert npmlp.get_rng_state().numpy().tobytes() == after


def test_an_index_beyond_the_images_is_found_in_a_replay_too(kernels):
    data = Images(SQUARE, LABELS, T.Compose([TENSOR]))
    plan = npmlp.capture(data.take, npmlp.tensor([3, 4]))
    for bad in (50, 2**40):
        with pytest.raises(IndexError):
            plan(npmlp.tensor([3, bad]))
        with pytest.raises(IndexError):
            data.take(npmlp.tensor([3, bad]))


def test_classes_that_a_step_takes_are_checked(kernels):
    data = Images(SQUARE, np.arange(50), T.Compose([TENSOR]))
    linear = npmlp.nn.Linear(784, 10)

    def step(index):
        x, y = data.take(index)
        return npmlp.nn.functional.cross_entropy(linear(x.flatten(1)), y).detach()

    with npmlp.no_grad():
        plan = npmlp.capture(step, npmlp.tensor([3, 9]))
        assert np.isfinite(plan(npmlp.tensor([0, 1])).item())
        with pytest.raises(ValueError, match="class"):
            plan(npmlp.tensor([10, 1]))


@pytest.mark.parametrize(
    "data",
    [
        Images(SQUARE, LABELS, T.Compose([TENSOR]), target_transform=lambda y: y + 1),
        Images(SQUARE, LABELS, T.Compose([T.Lambda(lambda x: x), TENSOR])),
        Images(SQUARE, LABELS),
    ],
    ids=["target_transform", "single images", "no Tensor"],
)
def test_what_cannot_be_taken_in_a_step_says_so(data):
    with pytest.raises(OutsideSubsetError, match="a DataLoader takes any"):
        data.take(npmlp.tensor([1]))
