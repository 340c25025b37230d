"""ReLU and GELU against the C library's erf and PyTorch, dropout against its NumPy text."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from npmlp.kernels import elementwise, gelu
from npmlp.ops.dropout import DROPOUT

U = 2.0**-24  # the unit roundoff of float32


def grid():
    """Every scale of float32 that matters: tiny, the two polynomials' seam, the tails, far out."""
    rng = np.random.default_rng(0)
    dense = np.linspace(-14, 9, 200_001)
    seam = 0.927734375 * math.sqrt(2) + np.linspace(-1e-5, 1e-5, 2001)
    tiny = rng.standard_normal(1000) * 10.0 ** rng.uniform(-30, -2, 1000)
    return np.concatenate([dense, seam, -seam, tiny, [-1e4, -88.0, -50.0, 50.0, 1e4]])


def normal(x):
    cdf = 0.5 * np.array([math.erfc(-v * math.sqrt(0.5)) for v in x])
    return cdf, np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def forward(x, approximate):
    out = np.full_like(x, np.nan)
    gelu.gelu_forward((x,), (out,), (), approximate=approximate)
    return out


def backward(dout, x, approximate):
    dx = np.full(x.shape, np.nan, x.dtype)
    gelu.gelu_backward(dout, (x,), (None,), (dx,), (), approximate=approximate)
    return dx


def test_gelu_in_float32_is_within_two_roundings_of_the_true_function():
    x = grid().astype(np.float32)
    exact = x.astype(np.float64)
    cdf, density = normal(exact)
    # Φ is right to 1.2 u (measured over 4 million points), the product adds ½ unit: below 2 u |x|.
    # Where the result is below the smallest normal number the spacing is constant.
    assert np.all(np.abs(forward(x, "none") - exact * cdf) <= 2 * U * np.abs(exact) + 1e-37)
    # x φ: e^y with y = -x²/2 rounded is off by |y| u, at most 0.25 in all; four more roundings
    dout = np.random.default_rng(1).standard_normal(x.size).astype(np.float32)
    error = np.abs(backward(dout, x, "none") - dout * (cdf + exact * density))
    assert np.all(error <= 4 * U * np.abs(dout) + 1e-37)


def test_gelu_in_float64_is_erf_to_full_accuracy():
    x = grid()
    cdf, density = normal(x)
    # ½ (1 + erf): erf to 1 unit, its sum with 1 and the product half a unit each; near 1 all of
    # them are units of 2⁻⁵³
    assert np.all(np.abs(forward(x, "none") - x * cdf) <= 4 * 2.0**-53 * np.abs(x))
    dout = np.random.default_rng(1).standard_normal(x.size)
    error = np.abs(backward(dout, x, "none") - dout * (cdf + x * density))
    assert np.all(error <= 8 * 2.0**-53 * np.abs(dout))


@pytest.mark.parametrize(("dtype", "u"), [(np.float32, U), (np.float64, 2.0**-53)])
def test_gelu_tanh_is_the_formula_to_rounding(dtype, u):
    x = grid().astype(dtype)
    y = x.astype(np.longdouble)
    root = np.sqrt(np.longdouble(2) / np.longdouble(math.pi))
    t = np.tanh(root * (y + np.longdouble(0.044715) * y**3))
    # the argument u of the sigmoid has relative error 3 u, which moves it by 3 u |u| p(1-p) < u;
    # the quotient, the product and e^-|u| (1 unit) add three more
    assert np.all(np.abs(forward(x, "tanh") - 0.5 * y * (1 + t)) <= 5 * u * np.abs(y))
    dout = np.random.default_rng(1).standard_normal(x.size).astype(dtype)
    slope = root * (1 + 3 * np.longdouble(0.044715) * y**2)
    expected = dout * (0.5 * (1 + t) + 0.5 * y * (1 - t * t) * slope)
    error = np.abs(backward(dout, x, "tanh") - expected)
    # here p(1-p) x u' counts too: at most 1.5 around |x| = 1.5, with 8 roundings on the way; the
    # float64 form takes 1 - t² by subtraction, whose rounding x u' (below 60 until t is 1) enlarges
    assert np.all(error <= (12 if dtype == np.float32 else 60) * u * np.abs(dout))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_agrees_with_pytorch_in_float64(approximate):
    rng = np.random.default_rng(2)
    x, dout = rng.standard_normal((2, 7, 33)) * 3
    twin = torch.tensor(x, requires_grad=True)
    result = torch.nn.functional.gelu(twin, approximate=approximate)
    result.backward(torch.tensor(dout))
    # both sides are within a few units of the true value, which is below 9 in size here
    np.testing.assert_allclose(forward(x, approximate), result.detach(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(backward(dout, x, approximate), twin.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values_come_out_as_in_pytorch(dtype):
    x = np.array([np.nan, np.inf, -0.0, 0.0, 1e-40, -1e-40, -300.0], dtype)
    twin = torch.from_numpy(x)
    for approximate in ("none", "tanh"):
        expected = torch.nn.functional.gelu(twin, approximate=approximate).numpy()
        expected[1] = np.inf  # PyTorch's tanh form has NaN at infinity, which is not its limit
        np.testing.assert_array_equal(forward(x, approximate), expected)
    dout = np.arange(1, 8, dtype=dtype)
    out, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    elementwise.relu_forward((x,), (out,), ())
    np.testing.assert_array_equal(out, torch.relu(twin))
    elementwise.relu_backward(dout, (None,), (out,), (dx,), ())
    expected = torch.ops.aten.threshold_backward(torch.from_numpy(dout), torch.relu(twin), 0)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_takes_views_and_empty_arrays(dtype):
    rng = np.random.default_rng(3)
    for x in (rng.standard_normal((5, 7)).astype(dtype).T, np.empty((0, 3), dtype)):
        dout = rng.standard_normal(x.shape).astype(dtype)
        out, dx = np.full(x.shape, np.nan, dtype), np.full(x.shape, np.nan, dtype)
        elementwise.relu_forward((x,), (out,), ())
        elementwise.relu_backward(dout, (None,), (out,), (dx,), ())
        np.testing.assert_array_equal(out, np.maximum(x, 0))
        np.testing.assert_array_equal(dx, np.where(x > 0, dout, 0))
        expected = forward(np.ascontiguousarray(x), "none")
        got = np.full(x.shape, np.nan, dtype)
        gelu.gelu_forward((x,), (got,), (), approximate="none")
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_has_the_oracles_bits_for_any_entry_and_memory_order(dtype):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((9, 31)).astype(dtype)
    x[:, 0], x[:, 1], x[:, 2], x[:, 3] = np.nan, np.inf, -0.0, 1e-40
    keep = rng.random(x.shape) < 0.6
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    pairs = [(x, keep), (x.T, keep.T), (x, keep.copy("F")), (strided, keep), (x[:0], keep[:0])]
    for a, mask in pairs:
        with np.errstate(invalid="ignore"):
            expected = DROPOUT.forward(a, mask, scale=1 / 0.6)
        out, dx = np.full(a.shape, 7, dtype), np.full(a.shape, 7, dtype)
        elementwise.dropout_forward((a, mask), (out,), (), scale=1 / 0.6)
        dout = np.ascontiguousarray(a)
        elementwise.dropout_backward(dout, (None, mask), (None,), (dx, None), (), scale=1 / 0.6)
        for got in (out, dx):
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))  # 0 and -0
