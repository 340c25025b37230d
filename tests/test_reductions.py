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
from npmlp.errors import ShapeError

DIMS = (None, 0, 1, -1, -2, (0, 1), (-1, 0), (1,), [0], (), 2, (0, 0), (0, -2))


@pytest.mark.parametrize("op", ["sum", "mean", "var", "amax", "amin"])
def test_reductions_over_any_dimensions(op: str, kernels: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (3, 1), ()]):
        x = numbers(shape, dtype)
        for dim, keepdim in itertools.product(DIMS, (False, True)):
            if op == "var" and math.prod(shape) < 2:
                continue  # PyTorch warns, both give nan
            if dim is None and op in ("amax", "amin"):
                continue
            if op == "var" and shape == (3, 1) and dim in (1, -1, (1,)):
                continue
            tol = ROUNDED["float64" if dtype == "float64" else "float32"]
            assert_same_outcome(
                lambda lib, x: getattr(lib, op)(x, dim=dim, keepdim=keepdim), x, tol=tol
            )


@pytest.mark.parametrize("op", ["sum", "mean", "var", "amax", "amin"])
def test_gradients_of_reductions(op: str, kernels: str) -> None:
    x = numbers((3, 4, 5))
    for dim, keepdim in itertools.product((0, 2, -2, (0, 2), (0, 1, 2)), (False, True)):
        assert_same_gradients(
            lambda lib, x: getattr(lib, op)(x, dim=dim, keepdim=keepdim),
            x,
            tol=10 * ROUNDED["float64"],  # sums of up to 60, in another order
        )


def test_var_has_pytorchs_older_spellings() -> None:
    x = numbers((3, 4))
    for args, kwargs in [((False,), {}), ((True,), {}), ((1, False), {}), ((1, True, True), {})]:
        assert_same_outcome(lambda lib, x: lib.var(x, *args, **kwargs), x, tol=1e-14)
    assert_same_outcome(lambda lib, x: lib.var(x, 1, correction=2), x, tol=1e-14)
    assert_same_outcome(lambda lib, x: x.var(dim=0, unbiased=False), x, tol=1e-14)


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


def test_argmax_takes_the_first_of_equals() -> None:
    for x in (numbers((3, 4)), np.array([[1, 5, 5], [7, 7, 0]]), np.float64(1.0)):
        for dim, keepdim in itertools.product((None, 0, 1, -1), (False, True)):
            assert_same_outcome(lambda lib, x: lib.argmax(x, dim, keepdim), x)


@pytest.mark.parametrize("op", ["max", "min", "argmax", "amax"])
def test_an_extreme_of_nothing_is_refused(op: str) -> None:
    x = npmlp.zeros(0, 3)
    with pytest.raises(ShapeError, match=r"\(0, 3\) has no entries to choose from"):
        getattr(npmlp, op)(x)
    assert npmlp.argmax(x, 1).shape == (0,)
