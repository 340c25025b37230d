"""Batch normalisation's kernel against the equations in extended precision, and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from npmlp.kernels.norm import batch_norm_backward, batch_norm_forward
from npmlp.kernels.scratch import batch_norm_scratch

SHAPES = [(2, 1), (5, 7), (128, 33), (6, 3, 1), (4, 5, 9), (3, 2, 5, 7), (64, 6, 12, 12)]
EPS = 1e-5


def run(x, weight, bias, dout, needs=(True, True, True)):
    """(out, mean, var, invstd), (dx, dweight, dbias)"""
    inputs, C = (x, weight, bias), x.shape[1]
    needs = tuple(n and a is not None for n, a in zip(needs, inputs, strict=True))
    shapes = tuple(None if a is None else a.shape for a in inputs)
    dtypes = tuple(None if a is None else a.dtype for a in inputs)
    forward, backward = batch_norm_scratch(shapes, dtypes, {"eps": EPS}, needs)
    outs = tuple(np.full(s, np.nan, x.dtype) for s in (x.shape, C, C, C))
    batch_norm_forward(inputs, outs, tuple(np.full(s, np.nan, d) for s, d in forward), eps=EPS)
    grads = tuple(
        np.full(a.shape, np.nan, a.dtype) if n else None for a, n in zip(inputs, needs, strict=True)
    )
    kept = (x, weight, None) if needs[0] or needs[1] else (None, None, None)
    scratch = tuple(np.full(s, np.nan, d) for s, d in backward)
    batch_norm_backward(dout, kept, (None, *outs[1:]), grads, scratch, eps=EPS)
    return outs, grads


def equations(x, weight, bias, dout):
    x, dout = x.astype(np.longdouble), dout.astype(np.longdouble)
    axes = (0, *range(2, x.ndim))
    column = (-1,) + (1,) * (x.ndim - 2)
    mean, var = x.mean(axes), x.var(axes)
    invstd = 1 / np.sqrt(var + np.longdouble(EPS))
    normal = (x - mean.reshape(column)) * invstd.reshape(column)
    w = np.ones_like(mean) if weight is None else weight.astype(np.longdouble)
    b = np.zeros_like(mean) if bias is None else bias.astype(np.longdouble)
    out = normal * w.reshape(column) + b.reshape(column)
    dbias, dweight = dout.sum(axes), (dout * normal).sum(axes)
    m = x.size // x.shape[1]
    scale = (w * invstd).reshape(column)
    parts = (
        scale * dout,
        scale * dbias.reshape(column) / m,
        scale * normal * dweight.reshape(column) / m,
    )
    dx = parts[0] - parts[1] - parts[2]
    sizes = (
        max(np.abs(part).max() for part in parts),
        np.abs(dout * normal).sum(axes).max(),
        np.abs(dout).sum(axes).max(),
    )
    return (out, mean, var, invstd), (dx, dweight, dbias), sizes


def data(shape, dtype, offset=0.0):
    rng = np.random.default_rng(sum(shape))
    x = (rng.standard_normal(shape) * 2 + offset).astype(dtype)
    weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    return x, weight, bias, rng.standard_normal(shape).astype(dtype)


def assert_all_close(got, expected, sizes, eps, terms):
    """Within `terms` roundings of what each array's entries are sums of."""
    for g, e, size in zip(got, expected, sizes, strict=True):
        if g is not None:
            assert np.abs(g - e).max() <= terms * eps * size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_and_its_gradients_follow_the_equations(shape, dtype):
    x, weight, bias, dout = data(shape, dtype)
    eps = np.finfo(dtype).eps
    # float32: the sums are in double, and each entry is some ten roundings of its parts.
    # float64: the sums round too, m ≤ 9216 terms to about √m eps.
    terms = 10 if dtype == np.float32 else 100
    for w, b in ((weight, bias), (None, bias), (weight, None), (None, None)):
        outs, grads = run(x, w, b, dout)
        expected_outs, expected_grads, sizes = equations(x, w, b, dout)
        largest = [np.abs(e).max() for e in (expected_outs[0], x, *expected_outs[2:])]
        assert_all_close(outs, expected_outs, largest, eps, terms)
        assert_all_close(grads, expected_grads, sizes, eps, terms)


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 9)])
def test_each_gradient_alone_is_the_same(shape):
    x, weight, bias, dout = data(shape, np.float64)
    _, together = run(x, weight, bias, dout)
    for only in range(3):
        _, alone = run(x, weight, bias, dout, tuple(i == only for i in range(3)))
        # dbias alone is summed by NumPy, in another order: 36 terms
        np.testing.assert_allclose(alone[only], together[only], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("shape", [(500, 4), (20, 4, 25)])
def test_variance_survives_a_mean_far_from_zero(shape):
    x, weight, bias, dout = data(shape, np.float32, offset=1000)
    (_, mean, var, _), _ = run(x, weight, bias, dout)
    exact = x.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    # the mean is rounded to float32 once; deviations from it are exact, and their squares change
    # by the square of that rounding
    np.testing.assert_allclose(mean, exact.mean(axes), rtol=2.0**-24)
    np.testing.assert_allclose(var, exact.var(axes), rtol=2.0**-23)


@pytest.mark.parametrize("shape", [(33, 5), (6, 3, 4, 5)])
def test_batch_norm_agrees_with_pytorch_in_float64(shape):
    x, weight, bias, dout = data(shape, np.float64)
    twins = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    result = torch.nn.functional.batch_norm(twins[0], None, None, *twins[1:], training=True)
    result.backward(torch.tensor(dout))
    outs, grads = run(x, weight, bias, dout)
    # both within 100 roundings of the equations
    np.testing.assert_allclose(outs[0], result.detach(), rtol=1e-13, atol=1e-13)
    for got, twin in zip(grads, twins, strict=True):
        np.testing.assert_allclose(got, twin.grad, rtol=1e-13, atol=1e-13)


def test_batch_norm_takes_views():
    x, weight, bias, dout = data((6, 4), np.float64)
    expected, expected_grads = run(x, weight, bias, dout)
    got, grads = run(np.asfortranarray(x), weight, bias, dout)
    for a, b in zip((*got, *grads), (*expected, *expected_grads), strict=True):
        np.testing.assert_array_equal(a, b)
