"""Gradient clipping: PyTorch's norm, factor and result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import both, default_dtype

import npmlp
from npmlp import nn

SHAPES = [(100, 784), (100,), (10, 100), (10,), (), (6, 1, 5, 5), (0, 3)]
# The norm is a sum of 80,000 terms. In float64 a sum in any order is off by √n units of 1e-16 in
# practice, far below 1e-12; in float32, added pairwise or by BLAS in blocks of thousands, by
# √thousands · 6e-8 = 3e-6 at most.
RTOL = {"float32": 3e-6, "float64": 1e-12}


def parameters(m: Any, dtype: str, scale: float = 1.0, shapes: Any = SHAPES) -> Any:
    rng = np.random.default_rng(0)
    made = []
    for shape in shapes:
        p = m.nn.Parameter(m.zeros(shape, dtype=getattr(m, dtype)))
        p.grad = m.from_numpy(np.array(rng.standard_normal(shape) * scale, dtype))
        made.append(p)
    made.append(m.nn.Parameter(m.zeros(3)))  # without a gradient
    return made


def grads(made: Any) -> list[np.ndarray]:
    return [p.grad.numpy() for p in made if p.grad is not None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [2.0, 2, 1, 3.5, 0.5, math.inf, "inf", -math.inf, 0])
@pytest.mark.parametrize("max_norm", [1.0, 0.37, 1e9])
def test_clip_grad_norm_is_pytorchs(max_norm: float, norm_type: Any, dtype: str) -> None:
    shapes = SHAPES[:-1]  # PyTorch has no maximum over nothing; the next test has the empty one

    def lines(m: Any) -> Any:
        made = parameters(m, dtype, shapes=shapes)
        if m is torch and norm_type != 2:
            # in float32 PyTorch adds such terms one by one, and is off by up to 1e-5 itself
            made = [m.nn.Parameter(p.double()) for p in made[:-1]]
            for p, p32 in zip(made, parameters(m, dtype, shapes=shapes), strict=False):
                p.grad = p32.grad.double()
        total = m.nn.utils.clip_grad_norm_(made, max_norm, norm_type)
        assert total.ndim == 0
        return total.numpy(), grads(made)

    (total, ours), (total_there, theirs) = both(lines)
    assert total.dtype == dtype
    np.testing.assert_allclose(total, total_there, rtol=RTOL[dtype])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=RTOL[dtype])


def test_an_empty_gradient_adds_nothing_to_the_norm() -> None:
    ours, theirs = both(lambda m: m.nn.utils.clip_grad_norm_(parameters(m, "float64"), 1.0).item())
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_a_gradient_that_is_short_enough_keeps_its_bits() -> None:
    made = parameters(npmlp, "float32")
    before = [g.copy() for g in grads(made)]
    norm = nn.utils.clip_grad_norm_(made, 1e4).item()
    nn.utils.clip_grad_norm_(made, 1.2 * norm)
    for a, b in zip(grads(made), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_factor_is_rounded_as_in_pytorch(dtype: str) -> None:
    # single gradients of one entry: the norm is exact, so the results must have the same bits
    values = np.random.default_rng(1).uniform(0.5, 50, 300)
    for value in values:

        def lines(m: Any, value: float = value) -> Any:
            p = m.nn.Parameter(m.zeros(1, dtype=getattr(m, dtype)))
            p.grad = m.from_numpy(np.array([value], dtype))
            m.nn.utils.clip_grad_norm_(p, 0.37)
            return p.grad.numpy()

        np.testing.assert_array_equal(*both(lines))


def test_gradients_of_two_dtypes_are_clipped_together() -> None:
    def lines(m: Any) -> Any:
        made = parameters(m, "float32") + parameters(m, "float64")
        total = m.nn.utils.clip_grad_norm_(made, 0.5)
        return total, grads(made)

    (total, ours), (total_there, theirs) = both(lines)
    assert str(total.dtype) == str(total_there.dtype)
    np.testing.assert_allclose(total.item(), total_there.item(), rtol=RTOL["float32"])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=RTOL["float32"], strict=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_goes_through_or_raises_as_in_pytorch(bad: float) -> None:
    def lines(m: Any) -> Any:
        made = parameters(m, "float32")
        made[1].grad[3] = bad
        with pytest.raises(RuntimeError, match="non-finite"):
            m.nn.utils.clip_grad_norm_(made, 1.0, error_if_nonfinite=True)
        total = m.nn.utils.clip_grad_norm_(made, 1.0)
        return total.numpy(), grads(made)

    (total, ours), (total_there, theirs) = both(lines)
    np.testing.assert_array_equal(total, total_there)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_to_clip_has_norm_zero() -> None:
    for m in (npmlp, torch):
        assert m.nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
        assert m.nn.utils.clip_grad_norm_([m.nn.Parameter(m.ones(1))], 1.0).item() == 0.0
        with pytest.warns(UserWarning, match="empty generator"):
            m.nn.utils.clip_grad_norm_((p for p in ()), 1.0)


def test_a_generator_of_parameters_and_foreach_are_taken() -> None:
    def lines(m: Any) -> Any:
        made = parameters(m, "float64")
        total = m.nn.utils.clip_grad_norm_((p for p in made), 0.1, foreach=True)
        m.nn.utils.clip_grads_with_norm_(made, 0.01, total)
        return m.nn.utils.get_total_norm([p.grad for p in made[:4]]).item()

    ours, theirs = both(lines)
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_clip_grad_value_is_pytorchs(foreach: Any, dtype: str) -> None:
    def lines(m: Any) -> Any:
        made = parameters(m, dtype)
        for i, odd in enumerate([np.nan, np.inf, -np.inf]):
            made[1].grad[i] = odd
        assert m.nn.utils.clip_grad_value_(made, 0.3, foreach=foreach) is None
        return grads(made)

    ours, theirs = both(lines)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_the_norm_of_nothing_has_the_default_dtype() -> None:
    with default_dtype("float64"):
        ours, theirs = both(lambda m: str(m.nn.utils.clip_grad_norm_([], 1.0).dtype))
        assert ours == theirs


def test_clipping_is_seen_by_a_graph_that_holds_the_gradient() -> None:
    p = nn.Parameter(npmlp.ones(2))
    p.grad = npmlp.tensor([3.0, 4.0])
    x = npmlp.ones(2, requires_grad=True)
    product = (x * p.grad).sum()
    nn.utils.clip_grad_norm_(p, 1.0)
    with pytest.raises(npmlp.errors.GraphError, match="changed in place"):
        product.backward()
