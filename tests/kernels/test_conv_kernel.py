"""Convolution and max-pooling kernels beside PyTorch, over every geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from npmlp import run_op
from npmlp.kernels import conv, pool
from npmlp.kernels.scratch import conv2d_scratch
from npmlp.ops.conv import CONV2D

# N, C, H, W, K, kernel, stride, padding, dilation, groups
CONVOLUTIONS = [
    (3, 1, 9, 10, 6, (5, 5), (1, 1), (0, 0), (1, 1), 1),
    (2, 6, 12, 12, 12, (5, 5), (1, 1), (0, 0), (1, 1), 1),
    (2, 3, 7, 8, 4, (3, 2), (2, 3), (1, 0), (1, 1), 1),
    (2, 3, 7, 8, 4, (3, 2), (1, 1), (2, 3), (2, 1), 1),
    (1, 4, 11, 9, 6, (2, 3), (3, 2), (1, 2), (2, 2), 2),
    (2, 4, 6, 6, 8, (3, 3), (1, 1), (1, 1), (1, 1), 4),
    (2, 3, 5, 5, 2, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (2, 2, 3, 3, 3, (3, 3), (1, 1), (4, 4), (1, 1), 1),  # positions that see padding alone
    (2, 1, 2, 3, 1, (4, 5), (2, 2), (2, 2), (1, 1), 1),  # a kernel larger than the image
    (2, 1, 2, 2, 1, (1, 3), (2, 1), (0, 9), (1, 7), 1),  # most taps never meet the image
    (0, 3, 5, 5, 2, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    (40, 3, 32, 32, 5, (3, 3), (1, 1), (1, 1), (1, 1), 1),  # several runs of images
    (2, 3, 60, 58, 4, (3, 3), (2, 2), (0, 0), (1, 1), 1),  # long planes that columns are made of
    (6, 9, 12, 11, 4, (7, 6), (1, 1), (1, 2), (1, 1), 1),  # lines of four vectors, seven of them
    (5, 20, 12, 11, 7, (3, 4), (1, 1), (1, 0), (1, 1), 1),  # too many channels for entry by entry
    (5, 4, 9, 12, 6, (3, 2), (1, 1), (2, 1), (1, 3), 2),  # nor are a line's pixels neighbours here
]


def full(specs):
    return tuple(np.full(shape, np.nan, dtype) for shape, dtype in specs)


def run(x, weight, bias, dout, attrs, needs=(True, True, True)):
    inputs = (x, weight, bias)
    needs = tuple(n and a is not None for n, a in zip(needs, inputs, strict=True))
    shapes = tuple(None if a is None else a.shape for a in inputs)
    dtypes = tuple(None if a is None else a.dtype for a in inputs)
    forward, backward = conv2d_scratch(shapes, dtypes, attrs, needs)
    out = np.full(dout.shape, np.nan, x.dtype)
    conv.conv2d_forward(inputs, (out,), full(forward), **attrs)
    grads = tuple(
        np.full(a.shape, np.nan, a.dtype) if n else None for a, n in zip(inputs, needs, strict=True)
    )
    # as the engine calls it: only what a wanted gradient needs is there, of the others the shape
    layout = CONV2D.layout(shapes, dtypes, attrs, needs)
    kept = run_op.kept_inputs(layout, inputs)
    conv.conv2d_backward(dout, kept, (None,), grads, full(backward), **attrs)
    return out, grads


def data(case, dtype):
    N, C, H, W, K, kernel, stride, padding, dilation, groups = case
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    rng = np.random.default_rng(N + 7 * C)
    x = rng.standard_normal((N, C, H, W)).astype(dtype)
    weight = rng.standard_normal((K, C // groups, *kernel)).astype(dtype)
    bias = rng.standard_normal(K).astype(dtype)
    size = F.conv2d(torch.tensor(x), torch.tensor(weight), None, **attrs).shape
    return x, weight, bias, rng.standard_normal(tuple(size)).astype(dtype), attrs


def reference(x, weight, bias, dout, attrs):
    twins = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in (x, weight, bias)]
    out = F.conv2d(*twins, **attrs)
    out.backward(torch.tensor(dout.astype(np.float64)))
    return out.detach().numpy(), tuple(t.grad.numpy() for t in twins)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_and_its_gradients_agree_with_pytorch_in_float64(case, dtype):
    x, weight, bias, dout, attrs = data(case, dtype)
    out, grads = run(x, weight, bias, dout, attrs)
    expected, expected_grads = reference(x, weight, bias, dout, attrs)
    # The same convolution of absolute values is Σ|products|, entry by entry; a rounded sum of n
    # products is off by at most n eps of it (Higham 2002, equation 3.5), and PyTorch's as much.
    sizes, size_grads = reference(*(np.abs(a) for a in (x, weight, bias, dout)), attrs)
    eps = np.finfo(dtype).eps
    longest = (weight[0].size + 1, weight.size, dout.size, dout.size)
    for got, want, size, n in zip(
        (out, *grads), (expected, *expected_grads), (sizes, *size_grads), longest, strict=True
    ):
        assert got.shape == want.shape
        assert np.all(np.abs(got - want) <= 2 * n * eps * size)
        # and, since errors mostly cancel, far closer; a wrong entry among many shows here
        if got.size:
            assert np.abs(got - want).max() <= 2 * (n**0.5 + 10) * eps * size.max()


@pytest.mark.parametrize("case", [CONVOLUTIONS[i] for i in (3, 4, 13, 14, 15)])
def test_each_gradient_alone_is_the_same_and_bias_can_be_absent(case):
    x, weight, bias, dout, attrs = data(case, np.float64)
    out, together = run(x, weight, bias, dout, attrs)
    for only in range(3):
        _, alone = run(x, weight, bias, dout, attrs, tuple(i == only for i in range(3)))
        np.testing.assert_array_equal(alone[only], together[only])
    plain, _ = run(x, weight, None, dout, attrs)
    zero, _ = run(x, weight, np.zeros_like(bias), dout, attrs)
    np.testing.assert_array_equal(plain, zero)
    assert not np.array_equal(plain, out)


def test_entries_that_are_0_change_nothing_where_they_are_left_out():
    x, weight, bias, dout, attrs = data(CONVOLUTIONS[1], np.float64)
    dout[np.random.default_rng(5).random(dout.shape) < 0.75] = 0
    _, grads = run(x, weight, bias, dout, attrs)
    _, expected = reference(x, weight, bias, dout, attrs)
    for got, want in zip(grads, expected, strict=True):
        # 400 roundings of numbers of about 1 in double precision, and some margin
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    dout[:] = 0
    _, grads = run(x, weight, bias, dout, attrs)
    assert not any(grad.any() for grad in grads)


def test_conv2d_takes_views():
    x, weight, bias, dout, attrs = data(CONVOLUTIONS[4], np.float64)
    out, grads = run(x, weight, bias, dout, attrs)
    views = (np.asfortranarray(x), np.asfortranarray(weight), np.repeat(bias, 2)[::2])
    for got, want in zip((out, *grads), flatten(run(*views, dout, attrs)), strict=True):
        np.testing.assert_array_equal(got, want)


def flatten(result):
    out, grads = result
    return (out, *grads)


# N, C, H, W, kernel, stride, padding, dilation, ceil_mode
POOLS = [
    (2, 3, 8, 6, (2, 2), (2, 2), (0, 0), (1, 1), False),
    (2, 3, 7, 9, (2, 2), (2, 2), (0, 0), (1, 1), False),
    (2, 3, 7, 9, (2, 2), (2, 2), (0, 0), (1, 1), True),
    (2, 2, 9, 8, (3, 2), (2, 3), (1, 1), (1, 1), False),
    (2, 2, 9, 8, (3, 3), (1, 2), (1, 1), (2, 3), True),
    (1, 1, 5, 5, (5, 5), (1, 1), (2, 2), (1, 1), False),
    (0, 2, 4, 4, (2, 2), (2, 2), (0, 0), (1, 1), False),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("entries", ["normal", "ties", "nan"])
def test_max_pooling_and_its_indices_equal_pytorch(case, entries, dtype):
    N, C, H, W, kernel, stride, padding, dilation, ceil_mode = case
    attrs = {
        "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation,
        "ceil_mode": ceil_mode,
    }  # fmt: skip
    rng = np.random.default_rng(5)
    x = rng.standard_normal((N, C, H, W))
    if entries == "ties":
        x = np.round(x)
        x[:, :, :3] = -np.inf
    if entries == "nan":
        x[rng.random(x.shape) < 0.3] = np.nan
    x = x.astype(dtype)
    twin = torch.tensor(x, requires_grad=True)
    expected, expected_indices = F.max_pool2d(twin, **attrs, return_indices=True)
    out = np.full(tuple(expected.shape), 7, dtype)
    indices = np.full(out.shape, -7)
    pool.max_pool2d_forward((x,), (out, indices), (), **attrs)
    np.testing.assert_array_equal(out, expected.detach())
    np.testing.assert_array_equal(indices, expected_indices)
    # whole numbers: their sums are exact in any order
    dout = rng.integers(-9, 10, out.shape).astype(dtype)
    expected.backward(torch.tensor(dout))
    dx = np.full(x.shape, np.nan, dtype)
    pool.max_pool2d_backward(dout, (None,), (None, indices), (dx,), (), **attrs)
    np.testing.assert_array_equal(dx, twin.grad)
