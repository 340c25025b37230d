"""nn.functional.conv2d: by hand, against its defining sum, and beside PyTorch for every option."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from functional_beside_torch import FLOATS, Constant, compare, normal, outcome

import npmlp
from npmlp.errors import DTypeError, NpmlpError, ShapeError
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled


def test_conv2d_by_hand() -> None:
    image = npmlp.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
    kernel = npmlp.tensor([[[[1.0, 0.0], [0.0, -2.0]]]], requires_grad=True)
    image.requires_grad_()
    bias = npmlp.tensor([0.5], requires_grad=True)
    out = F.conv2d(image, kernel, bias)
    # 1·1 - 2·5 + 0.5, 1·2 - 2·6 + 0.5, ...: the kernel is not turned round
    assert out.tolist() == [[[[-8.5, -9.5], [-11.5, -12.5]]]]
    out.backward(npmlp.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]))
    # a pixel gets the cotangent of each output that it is in, times the weight that it met there
    assert image.grad is not None
    assert image.grad.tolist() == [
        [[[1.0, 10.0, 0.0], [100.0, 1000.0 - 2.0, -20.0], [0.0, -200.0, -2000.0]]]
    ]
    # a weight gets the pixels that it met: 1 + 20 + 400 + 5000 for the first one
    assert kernel.grad is not None
    assert kernel.grad.tolist() == [[[[5421.0, 6532.0], [8754.0, 9865.0]]]]
    assert bias.grad is not None
    assert bias.grad.tolist() == [1111.0]


def test_conv2d_is_the_sum_that_defines_it() -> None:
    N, C, H, W, K, kh, kw, groups = 2, 4, 6, 5, 6, 3, 2, 2
    (sh, sw), (ph, pw), (dh, dw) = (2, 1), (1, 2), (1, 2)
    x, weight, bias = normal(N, C, H, W), normal(K, C // groups, kh, kw, seed=1), normal(K, seed=2)
    out = F.conv2d(
        *map(npmlp.from_numpy, (x, weight, bias)), (sh, sw), (ph, pw), (dh, dw), groups
    ).numpy()
    for n, k, oh, ow in np.ndindex(out.shape):
        total = bias[k]
        for c, i, j in np.ndindex(C // groups, kh, kw):
            h, w = oh * sh - ph + i * dh, ow * sw - pw + j * dw
            if 0 <= h < H and 0 <= w < W:
                channel = k // (K // groups) * (C // groups) + c
                total += weight[k, c, i, j] * x[n, channel, h, w]
        # sums of 12 products in another order: √12 roundings
        assert abs(out[n, k, oh, ow] - total) < 1e-14 * np.abs(out).max()


def _random_convolution(rng: np.random.Generator) -> tuple[Any, ...]:
    def two(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high)), int(rng.integers(low, high))

    groups = int(rng.choice([1, 1, 2, 3]))
    c, k = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    options = {"stride": two(1, 4), "padding": two(0, 4), "dilation": two(1, 4), "groups": groups}
    x = rng.standard_normal((int(rng.integers(0, 4)), c, *two(1, 9)))
    weight = rng.standard_normal((k, c // groups, *two(1, 4)))
    bias = rng.standard_normal(k) if rng.random() < 0.5 else None
    return x, weight, bias, options


@pytest.mark.parametrize("dtype", FLOATS)
def test_conv2d_is_pytorchs_for_random_shapes_and_options(dtype: str) -> None:
    rng = np.random.default_rng(0)
    computed = 0
    for _ in range(80):
        x, weight, bias, options = _random_convolution(rng)

        def call(F: Any, *tensors: Any, options: Any = options) -> Any:
            return F.conv2d(*tensors, **options)

        if outcome(call, x, weight, bias)[0]:
            compare(call, x, weight, bias, dtype=dtype)
            computed += 1
    assert computed > 40


@pytest.mark.parametrize("dtype", FLOATS)
# PyTorch says, once, that it copies the input where the padding is not the same on both sides
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("padding", ["same", "valid", 1, (1,), (2, 0), [0, 1]])
def test_conv2d_takes_padding_in_every_spelling(padding: Any, dtype: str) -> None:
    # kernels of even reach need one more at the right and bottom
    for kernel, dilation in itertools.product([(3, 3), (2, 4), (1, 2)], [1, (2, 1)]):
        compare(
            lambda F, *t, d=dilation: F.conv2d(*t, padding=padding, dilation=d),
            normal(2, 3, 7, 6),
            normal(4, 3, *kernel, seed=1),
            normal(4, seed=2),
            dtype=dtype,
        )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_conv2d_takes_one_image() -> None:
    for padding in (0, "same"):
        compare(
            lambda F, *t, p=padding: F.conv2d(*t, None, 1, p), normal(3, 7, 6), normal(4, 3, 2, 3)
        )


def test_conv2d_computes_only_the_gradients_that_are_wanted() -> None:
    given = normal(2, 3, 6, 5), normal(4, 3, 3, 2, seed=1), normal(4, seed=2)
    for wanted in itertools.product([False, True], repeat=3):
        arrays = [a if w else Constant(a) for a, w in zip(given, wanted, strict=True)]
        compare(lambda F, *t: F.conv2d(*t), *arrays)


def test_conv2d_of_larger_images_is_pytorchs() -> None:
    """More than the compiled kernel works on at a time, as in LeNet."""
    x, weight, bias = normal(20, 6, 24, 24), normal(12, 6, 5, 5, seed=1), normal(12, seed=2)
    compare(lambda F, *t: F.conv2d(*t, padding=2), x, weight, bias)


def test_conv2d_of_views_is_pytorchs() -> None:
    def call(F: Any, x: Any, weight: Any) -> Any:
        return F.conv2d(x.permute(0, 3, 1, 2)[:, :, ::2], weight.transpose(2, 3), padding=1)

    compare(call, normal(2, 9, 7, 3), normal(4, 3, 2, 3, seed=1))


def test_the_output_of_conv2d_can_be_changed_in_place_and_viewed() -> None:
    def call(F: Any, x: Any, weight: Any) -> Any:
        out = F.relu(F.conv2d(x, weight), inplace=True)
        return out.view(2, -1)

    compare(call, normal(2, 3, 5, 5), normal(4, 3, 3, 3, seed=1))


def test_the_output_of_conv2d_of_one_image_can_be_changed_in_place() -> None:
    def call(F: Any, x: Any, weight: Any) -> Any:
        return F.relu(F.max_pool2d(F.relu(F.conv2d(x, weight), inplace=True), 2), inplace=True)

    compare(call, normal(3, 6, 6), normal(4, 3, 3, 3, seed=1))


@pytest.mark.parametrize(
    ("options", "x", "weight"),
    [
        ({}, (2, 3, 8, 8), (4, 2, 3, 3)),
        ({}, (2, 3, 8, 8), (4, 3, 9, 9)),
        ({}, (2, 3, 8, 8), (4, 3, 3)),
        ({}, (3, 8), (4, 3, 3, 3)),
        ({}, (2, 3, 8, 8), (0, 3, 3, 3)),
        ({"padding": -1}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"padding": "full"}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"padding": (1, 1, 1)}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"padding": "same", "stride": 2}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"stride": 0}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"stride": 1.5}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"dilation": 0}, (2, 3, 8, 8), (4, 3, 3, 3)),
        ({"groups": 3}, (2, 3, 8, 8), (5, 1, 3, 3)),
        ({"groups": 0}, (2, 3, 8, 8), (5, 1, 3, 3)),
    ],
)
def test_conv2d_refuses_what_pytorch_refuses(options: Any, x: Any, weight: Any) -> None:
    assert not outcome(lambda F, *t: F.conv2d(*t, **options), normal(*x), normal(*weight))[0]


def test_conv2d_says_what_does_not_fit() -> None:
    images, weight = npmlp.ones(5, 28, 28, 1), npmlp.ones(6, 1, 5, 5)
    with pytest.raises(
        ShapeError,
        match=r"Conv2d\(1, 6, kernel_size=\(5, 5\)\): input of shape \(5, 28, 28, 1\) has 28 "
        r"channels, expected 1; is its last dimension the channels\? permute",
    ):
        F.conv2d(images, weight)
    with pytest.raises(ShapeError, match=r"input has shape \(28, 28\), expected \(N, C, H, W\)"):
        F.conv2d(npmlp.ones(28, 28), weight)
    with pytest.raises(NpmlpError, match="padding is 'full', expected numbers, 'same' or 'valid'"):
        F.conv2d(npmlp.ones(1, 28, 28), weight, padding="full")
    with pytest.raises(ShapeError, match=r"padding='same' has stride \(2, 2\), expected 1"):
        F.conv2d(npmlp.ones(1, 28, 28), weight, padding="same", stride=2)
    with pytest.raises(DTypeError, match="weight has dtype float32 and input float64"):
        F.conv2d(npmlp.ones(1, 28, 28, dtype=npmlp.float64), weight)
    with pytest.raises(DTypeError, match="input has dtype uint8"):
        F.conv2d(npmlp.ones(1, 28, 28, dtype=npmlp.uint8), weight)


def test_not_a_number_goes_where_it_goes_in_pytorch() -> None:
    x = normal(1, 1, 5, 5)
    x[0, 0, 1, 2], x[0, 0, 4, 4] = np.nan, np.inf
    weight = np.abs(normal(1, 1, 2, 2, seed=1))
    ours = F.conv2d(npmlp.from_numpy(x), npmlp.from_numpy(weight)).numpy()
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))
