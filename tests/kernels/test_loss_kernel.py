"""Cross-entropy's kernel beside PyTorch, over every option and at the awkward ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from npmlp.kernels.loss import cross_entropy_backward, cross_entropy_forward

REDUCTIONS = ("mean", "sum", "none")


def run(logits, target, weight=None, dout=None, **attrs):
    """(loss, dlogits), where dout is a random cotangent if it is not given."""
    attrs = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0} | attrs
    n = logits.shape[0]
    shape = (n,) if attrs["reduction"] == "none" else ()
    dtype = logits.dtype
    outs = tuple(np.full(s, np.nan, dtype) for s in (shape, logits.shape, ()))
    cross_entropy_forward((logits, target, weight), outs, (), **attrs)
    if dout is None:
        dout = np.random.default_rng(9).standard_normal(shape).astype(dtype)
    dlogits = np.full(logits.shape, np.nan, dtype)
    inputs = (None, target, weight)  # as the engine calls it: the logits have not been kept
    cross_entropy_backward(dout, inputs, outs, (dlogits, None, None), (), **attrs)
    return outs[0], dlogits


def twin(logits, target, weight=None, **attrs):
    x = torch.tensor(logits.astype(np.float64), requires_grad=True)
    w = None if weight is None else torch.tensor(weight.astype(np.float64))
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(target), w, **attrs)
    dout = np.random.default_rng(9).standard_normal(tuple(loss.shape)).astype(logits.dtype)
    loss.backward(torch.tensor(dout.astype(np.float64)))
    return loss.detach().numpy(), x.grad.numpy()


def data(dtype, n=13, c=7):
    rng = np.random.default_rng(n)
    target = rng.integers(0, c, n)
    return (rng.standard_normal((n, c)) * 3).astype(dtype), target, rng.random(c).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_agrees_with_pytorch_for_every_option(reduction, dtype):
    eps = np.finfo(dtype).eps
    for smoothing, weighted, ignore in itertools.product((0.0, 0.1, 1.0), (0, 1), (-100, 3)):
        logits, target, weight = data(dtype)
        attrs = {
            "reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore,
        }  # fmt: skip
        w = weight if weighted else None
        loss, dlogits = run(logits, target, w, **attrs)
        expected_loss, expected_dlogits = twin(logits, target, w, **attrs)
        assert np.shape(loss) == expected_loss.shape
        # log p is a difference of numbers up to 20, each rounded: 20 eps; "sum" adds 13 of them.
        # e to it has that as relative error, and three products follow.
        np.testing.assert_allclose(loss, expected_loss, rtol=30 * eps, atol=30 * eps)
        assert np.abs(dlogits - expected_dlogits).max() <= 30 * eps * np.abs(expected_dlogits).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_neither_overflow_nor_lose_the_loss(dtype):
    logits = np.array([[1e30, 0, -1e30], [300, 0, -300], [-500, -500, -500]], dtype)
    target = np.array([1, 2, 0])
    for reduction in REDUCTIONS:
        loss, dlogits = run(logits, target, reduction=reduction)
        expected_loss, expected_dlogits = twin(logits, target, reduction=reduction)
        # correctly rounded differences of the logits, and one logarithm
        np.testing.assert_allclose(loss, expected_loss, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(dlogits, expected_dlogits, atol=4 * np.finfo(dtype).eps)


def test_a_batch_of_ignored_targets_has_loss_nan_and_gradient_zero_as_in_pytorch():
    logits, _, _ = data(np.float64)
    target = np.full(13, 5)
    loss, dlogits = run(logits, target, ignore_index=5)
    assert np.isnan(loss)
    assert np.isnan(twin(logits, target, ignore_index=5)[0])
    np.testing.assert_array_equal(dlogits, 0)
    assert run(logits, target, ignore_index=5, reduction="sum")[0] == 0


def test_an_empty_batch_has_mean_nan_and_sum_zero_as_in_pytorch():
    logits, target = np.empty((0, 4)), np.empty(0, np.int64)
    assert np.isnan(run(logits, target)[0])
    assert run(logits, target, reduction="sum")[0] == 0
    assert run(logits, target, reduction="none")[0].shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_show_in_the_loss_of_their_row_alone(bad):
    logits, target, _ = data(np.float32)
    logits[4, 2] = bad
    loss, dlogits = run(logits, target, reduction="none")
    rows = np.arange(13) == 4
    np.testing.assert_array_equal(np.isnan(loss), rows)
    np.testing.assert_array_equal(np.isnan(dlogits).all(axis=1), rows)


def test_cross_entropy_takes_views():
    logits, target, weight = data(np.float64)
    expected = run(logits, target, weight)
    strided = np.repeat(target, 2)[::2], np.repeat(weight, 2)[::2]
    for got, want in zip(run(np.asfortranarray(logits), *strided), expected, strict=True):
        np.testing.assert_array_equal(got, want)
