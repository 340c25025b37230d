"""Reductions beside PyTorch: any dimensions, dtypes, ties, gradients, and nothing to reduce."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from beside_torch import (
    DTYPES,
    ROUNDED,
    assert_same,
    assert_same_gradients,
    assert_same_outcome,
    both,
    numbers,
)

import npmlp
from npmlp.errors import OutsideSubsetError, ShapeError

DIMS = (None, 0, 1, -1, -2, (0, 1), (-1, 0), (1,), [0], (), 2, (0, 0), (0, -2))


@pytest.mark.parametrize("op", ["sum", "mean", "var", "std", "amax", "amin"])
def test_reductions_over_any_dimensions(op: str, kernels: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (3, 1), ()]):
        x = numbers(shape, dtype)
        for dim, keepdim in itertools.product(DIMS, (False, True)):
            if op in ("var", "std") and math.prod(shape) < 2:
                continue  # PyTorch warns, both give nan
            if dim is None and op in ("amax", "amin"):
                continue
            if op in ("var", "std") and shape == (3, 1) and dim in (1, -1, (1,)):
                continue
            tol = ROUNDED["float64" if dtype == "float64" else "float32"]
            assert_same_outcome(
                lambda lib, x: getattr(lib, op)(x, dim=dim, keepdim=keepdim), x, tol=tol
            )


@pytest.mark.parametrize("op", ["sum", "mean", "var", "std", "amax", "amin"])
def test_gradients_of_reductions(op: str, kernels: str) -> None:
    x = numbers((3, 4, 5))
    for dim, keepdim in itertools.product((0, 2, -2, (0, 2), (0, 1, 2)), (False, True)):
        assert_same_gradients(
            lambda lib, x: getattr(lib, op)(x, dim=dim, keepdim=keepdim),
            x,
            tol=10 * ROUNDED["float64"],  # sums of up to 60, in another order
        )


@pytest.mark.parametrize("op", ["var", "std"])
def test_var_and_std_have_pytorchs_older_spellings(op: str) -> None:
    x = numbers((3, 4))
    for args in [(False,), (True,), (1, False), (1, True, True)]:
        assert_same_outcome(lambda lib, x: getattr(lib, op)(x, *args), x, tol=1e-14)
    assert_same_outcome(lambda lib, x: getattr(lib, op)(x, 1, correction=2), x, tol=1e-14)
    assert_same_outcome(lambda lib, x: getattr(x, op)(dim=0, unbiased=False), x, tol=1e-14)


def test_the_gradient_of_a_deviation_or_norm_of_zero_is_zero() -> None:
    for call in (lambda x: x.std(0, correction=0), lambda x: x.norm(), lambda x: x.norm(3)):
        assert_same_gradients(lambda lib, x: call(x), np.zeros((3,)))


def test_norms_of_every_order() -> None:
    x = numbers((3, 4))
    x[0, 0] = 0.0
    orders = (2, 1, 0, 3, 0.5, -1, math.inf, -math.inf)
    for p, dim, keepdim in itertools.product(orders, (None, 0, -1, (0, 1), 2), (False, True)):
        assert_same_outcome(lambda lib, x: lib.norm(x, p, dim, keepdim), x, tol=1e-14)
        assert_same_outcome(lambda lib, x: x.norm(p, dim, keepdim), x, tol=1e-14)
        vector = lambda lib, x: lib.linalg.vector_norm(x, p, dim, keepdim)  # noqa: E731
        assert_same_outcome(vector, x, tol=1e-14)
    for p in (2, 1, 3, math.inf):
        assert_same_gradients(lambda lib, x: x.norm(p, 1), x, tol=1e-14)
    for call in (
        lambda lib, x: x.norm(),
        lambda lib, x: lib.linalg.norm(x),
        lambda lib, x: lib.linalg.norm(x, "fro"),
        lambda lib, x: lib.linalg.norm(x, dim=1),
        lambda lib, x: lib.linalg.norm(x, 1, 0),
        lambda lib, x: lib.linalg.norm(x[0], 3),
        lambda lib, x: x.float().norm(dtype=lib.float64),
    ):
        assert assert_same_outcome(call, x, tol=ROUNDED["float32"])
    assert not assert_same_outcome(lambda lib, x: x.norm(), numbers((3,), "int64"))
    assert not assert_same_outcome(lambda lib, x: x.norm(dtype=lib.float32), x)
    for outside in (lambda: npmlp.linalg.norm(npmlp.ones(2, 2), 2), lambda: npmlp.linalg.inv):
        with pytest.raises(OutsideSubsetError, match=r"linalg"):
            outside()


def test_products_and_running_sums() -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (4,), (), (0, 2)]):
        x = numbers(shape, dtype)
        tol = ROUNDED["float64" if dtype == "float64" else "float32"]
        for op in ("prod", "cumsum"):
            for dim in (0, -1, 1, 2):
                assert_same_outcome(lambda lib, x: getattr(lib, op)(x, dim), x, tol=tol)
                f64 = lambda lib, x: getattr(x, op)(dim, dtype=lib.float64)  # noqa: E731
                assert_same_outcome(f64, x, tol=1e-14)
        assert assert_same_outcome(lambda lib, x: x.prod(), x, tol=tol)
        assert_same_outcome(lambda lib, x: x.prod(0, keepdim=True), x, tol=tol)
    zeros = np.array([[1.5, 0.0, -2.0], [0.0, 3.0, 0.0]])
    for call in (lambda x: x.prod(), lambda x: x.prod(1), lambda x: x.cumsum(1)):
        assert_same_gradients(lambda lib, x: call(x), zeros, tol=1e-14)
        assert_same_gradients(lambda lib, x: call(x), numbers((2, 3)), tol=1e-14)


def test_a_sum_in_another_dtype() -> None:
    for dtype in DTYPES:
        x = numbers((2, 3), dtype)
        assert_same_outcome(lambda lib, x: lib.sum(x, dtype=lib.float64), x, tol=1e-14)
        assert_same_outcome(lambda lib, x: x.mean(0, dtype=lib.float64), x, tol=1e-14)


@pytest.mark.parametrize("op", ["max", "min"])
def test_max_and_min_have_three_forms(op: str) -> None:
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
    for x in (numbers((3, 4)), tied, numbers((2, 3), "int64"), np.float64(2.0)):
        assert_same_outcome(lambda lib, x: getattr(lib, op)(x), x)
        assert_same_outcome(lambda lib, x: getattr(lib, op)(x, x), x)
        for dim, keepdim in itertools.product((0, 1, -1), (False, True)):
            assert_same_outcome(lambda lib, x: tuple(getattr(lib, op)(x, dim, keepdim=keepdim)), x)
    ours, theirs = both(tied)
    assert_same(getattr(ours, op)(1).values, getattr(theirs, op)(1).values)
    assert_same(getattr(ours, op)(dim=1).indices, getattr(theirs, op)(dim=1).indices)
    for form in (lambda lib, x: getattr(x, op)(), lambda lib, x: getattr(x, op)(1)[0]):
        assert_same_gradients(form, tied, tol=ROUNDED["float64"])


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_argmax_and_argmin_take_the_first_of_equals(op: str) -> None:
    for x in (numbers((3, 4)), np.array([[1, 5, 5], [7, 0, 0]]), np.float64(1.0)):
        for dim, keepdim in itertools.product((None, 0, 1, -1), (False, True)):
            assert_same_outcome(lambda lib, x: getattr(lib, op)(x, dim, keepdim), x)


@pytest.mark.parametrize("op", ["max", "min", "argmax", "argmin", "amax"])
def test_an_extreme_of_nothing_is_refused(op: str) -> None:
    x = npmlp.zeros(0, 3)
    with pytest.raises(ShapeError, match=r"\(0, 3\) has no entries to choose from"):
        getattr(npmlp, op)(x)
    assert npmlp.argmax(x, 1).shape == (0,)
