"""The linear kernel's forward and three gradients, against float64 NumPy within rounding."""

from __future__ import annotations

import numpy as np
import pytest

from npmlp.kernels.linear import linear_backward, linear_forward
from npmlp.kernels.scratch import linear_scratch

CASES = [  # x's shape, M
    ((64, 784), 100), ((64, 100), 10), ((7,), 3), ((2, 5, 7), 3), ((2, 0, 7), 3), ((0, 4), 2),
    ((3, 0), 2), ((1, 1), 1), ((300, 17), 33), ((4, 80, 160), 32), ((129, 5), 6),
]  # fmt: skip


def empty(specs):
    return tuple(np.full(shape, np.nan, dtype) for shape, dtype in specs)


def assert_close(got, expected, magnitude, terms):
    """Within 2 · terms · eps · Σ|products|: the bound of a rounded sum (Higham 2002, 3.5), and as
    much again for the reference's rounding.
    """
    bound = 2 * terms * np.finfo(got.dtype).eps * magnitude
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= bound)


def check(x, weight, bias, dout, needs=(True, True, True)):
    inputs = (x, weight, bias)
    needs = (needs[0], needs[1], needs[2] and bias is not None)
    shapes = tuple(None if a is None else a.shape for a in inputs)
    dtypes = tuple(None if a is None else a.dtype for a in inputs)
    forward, backward = linear_scratch(shapes, dtypes, {}, needs)
    out = np.full(dout.shape, np.nan, x.dtype)
    linear_forward(inputs, (out,), empty(forward))
    grads = tuple(
        np.full(a.shape, np.nan, a.dtype) if need else None
        for a, need in zip(inputs, needs, strict=True)
    )
    # as the engine calls it: only what a wanted gradient needs is there
    kept = (x if needs[1] else None, weight if needs[0] else None, None)
    linear_backward(dout, kept, (None,), grads, empty(backward))

    N, (M, K) = dout.size // max(1, dout.shape[-1]), weight.shape
    x64, w64 = x.astype(np.float64).reshape(N, K), weight.astype(np.float64)
    d64 = dout.astype(np.float64).reshape(N, M)
    b64 = np.zeros(M) if bias is None else bias.astype(np.float64)
    magnitude = np.abs(x64) @ np.abs(w64.T) + np.abs(b64)
    assert_close(out.reshape(N, M), x64 @ w64.T + b64, magnitude, K + 1)
    dx, dweight, dbias = grads
    if dx is not None:
        assert_close(dx.reshape(N, K), d64 @ w64, np.abs(d64) @ np.abs(w64), M)
    if dweight is not None:
        assert_close(dweight, d64.T @ x64, np.abs(d64.T) @ np.abs(x64), N)
    if dbias is not None:
        assert_close(dbias, d64.sum(0), np.abs(d64).sum(0), N)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "m"), CASES)
def test_linear_and_its_gradients_are_right_to_rounding(shape, m, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    weight = rng.standard_normal((m, shape[-1])).astype(dtype)
    bias = rng.standard_normal(m).astype(dtype)
    dout = rng.standard_normal((*shape[:-1], m)).astype(dtype)
    check(x, weight, bias, dout)
    check(x, weight, None, dout)
    for only in range(3):
        check(x, weight, bias, dout, tuple(i == only for i in range(3)))


def test_linear_takes_views_of_other_arrays():
    rng = np.random.default_rng(1)
    dout = rng.standard_normal((300, 33))
    x, weight = rng.standard_normal((17, 300)).T, rng.standard_normal((17, 33)).T
    check(x, weight, rng.standard_normal(66)[::2], dout)
    check(x[:9], weight, rng.standard_normal(66)[::2], dout[:9])
