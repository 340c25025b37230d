"""Functions of one tensor, entry by entry, and the softmaxes, beside PyTorch."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import DTYPES, ROUNDED, assert_same_gradients, assert_same_outcome, numbers

import npmlp
from npmlp.errors import DTypeError, ShapeError

UNARY: dict[str, Callable[[Any], Any]] = {
    n: operator.methodcaller(n) for n in ("exp", "sqrt", "log", "abs", "sigmoid", "tanh")
} | {"neg": operator.neg}


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_tensor(op: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (), (0, 2)]):
        x = numbers(shape, dtype)
        if (op, dtype) == ("abs", "bool"):
            continue  # here a bool is its own absolute value, PyTorch has no kernel
        assert_same_outcome(lambda lib, x: UNARY[op](x), x, tol=ROUNDED["float32"])


@pytest.mark.parametrize("op", ["exp", "abs", "sigmoid", "tanh", "relu", "neg"])
def test_gradients_of_functions_of_one_tensor(op: str, kernels: str) -> None:
    x = numbers((3, 4))
    assert_same_gradients(lambda lib, x: getattr(lib, op)(x), x, tol=ROUNDED["float64"])


def test_the_edges_of_log_and_sqrt_are_pytorchs() -> None:
    x = np.array([0.0, -0.0, -1.0, np.inf, np.nan])
    for op in ("log", "sqrt", "exp"):
        assert_same_outcome(lambda lib, x: getattr(lib, op)(x), x)


def test_clamp_takes_one_bound_or_two_and_promotes() -> None:
    x = numbers((3, 4))
    for bounds in [(-0.5, 0.5), (None, 0.2), (0.1, None), (0.5, -0.5), (0, 1)]:
        assert_same_gradients(lambda lib, x: lib.clamp(x, *bounds), x)
        for dtype in ("float32", "int64", "uint8"):
            if dtype == "uint8" and (bounds[1] or 0) < 0:
                continue
            assert_same_outcome(lambda lib, x: x.clamp(*bounds), numbers((2, 3), dtype))
    with pytest.raises(ShapeError, match="at least one of min and max"):
        npmlp.clamp(npmlp.ones(2))
    with pytest.raises(DTypeError, match=r"a bound is a Tensor.*npmlp.maximum"):
        npmlp.clamp(npmlp.ones(2), npmlp.zeros(2))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_softmax_along_any_dimension(op: str, kernels: str) -> None:
    x = 3 * numbers((2, 3, 4))
    for dim in (0, 1, 2, -1, -3):
        assert_same_gradients(lambda lib, x: getattr(lib, op)(x, dim), x, tol=ROUNDED["float64"])
    assert_same_outcome(lambda lib, x: getattr(x, op)(0), np.float64(3.0))
    assert_same_outcome(
        lambda lib, x: getattr(x, op)(1, dtype=lib.float64), numbers((2, 3), "int64"), tol=1e-14
    )
    with pytest.raises(ShapeError, match=r"dimension 3 does not exist, expected -3 to 2"):
        getattr(npmlp, op)(npmlp.ones(2, 3, 4), 3)
