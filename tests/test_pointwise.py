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
    n: operator.methodcaller(n)
    for n in (
        "exp", "sqrt", "log", "log2", "log10", "log1p", "abs", "sigmoid", "tanh",
        "sin", "cos", "tan", "square", "sign",
        "floor", "ceil", "trunc", "round",
    )
} | {"neg": operator.neg}  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_tensor(op: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (), (0, 2)]):
        x = numbers(shape, dtype)
        if (op, dtype) == ("abs", "bool"):
            continue  # here a bool is its own absolute value, PyTorch has no kernel
        assert_same_outcome(lambda lib, x: UNARY[op](x), x, tol=ROUNDED["float32"])


@pytest.mark.parametrize(
    "op",
    ["exp", "abs", "sigmoid", "tanh", "relu", "neg", "sin", "cos", "tan", "square", "sign", "floor",
     "ceil", "trunc", "round"],
)  # fmt: skip
def test_gradients_of_functions_of_one_tensor(op: str, kernels: str) -> None:
    x = numbers((3, 4))
    assert_same_gradients(lambda lib, x: getattr(lib, op)(x), x, tol=ROUNDED["float64"])


def test_the_edges_of_log_and_sqrt_are_pytorchs() -> None:
    x = np.array([0.0, -0.0, -1.0, np.inf, np.nan])
    for op in ("log", "log2", "log10", "log1p", "sqrt", "exp"):
        assert_same_outcome(lambda lib, x: getattr(lib, op)(x), x)


def test_rounding_is_to_even_halves_and_to_decimals() -> None:
    x = np.array([-2.5, -0.5, 0.5, 1.5, 0.125, 2.675, 1e20, np.nan, np.inf, -0.0])
    for dtype in ("float32", "float64"):
        for op in ("round", "floor", "ceil", "trunc", "sign"):
            assert assert_same_outcome(lambda lib, x: getattr(lib, op)(x), x.astype(dtype))
        for decimals in (0, 1, 2, -1):
            assert assert_same_outcome(
                lambda lib, x: lib.round(x, decimals=decimals), x.astype(dtype)
            )
    assert_same_outcome(lambda lib, x: x.round(decimals=1), np.array([1, 2]))


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
    with pytest.raises(DTypeError, match=r"clamp: a bound is a str, expected a number, a Tensor"):
        npmlp.clamp(npmlp.ones(2), "1")


def test_clamp_takes_tensors_as_bounds() -> None:
    x, low, high = numbers((3, 4)), numbers((4,), seed=1) - 0.5, numbers((3, 1), seed=2) + 0.5
    x[0, 0], x[1, 1] = low[0], high[1, 0]  # at a bound the gradient is the input's
    assert_same_gradients(lambda lib, x, a, b: lib.clamp(x, a, b), x, low, high)
    assert_same_gradients(lambda lib, x, a: lib.clamp(x, min=a), x, low)
    assert_same_gradients(lambda lib, x, b: x.clamp(max=b), x, high)
    swapped = lambda lib, x, a, b: lib.clamp(x, b, a)  # noqa: E731
    assert_same_gradients(swapped, x, low, high)


def test_clamp_between_tensors_has_pytorchs_dtypes_and_nans() -> None:
    for dtypes in itertools.product(("float32", "float64", "int64", "uint8"), repeat=3):
        arrays = [numbers((2, 3), d, seed) for seed, d in enumerate(dtypes)]
        assert assert_same_outcome(lambda lib, x, a, b: lib.clamp(x, a, b), *arrays)
        zero_dims = [arrays[0], arrays[1][0, 0], arrays[2]]
        assert assert_same_outcome(lambda lib, x, a, b: lib.clamp(x, a, b), *zero_dims)
    values = np.array([np.nan, 1.0, 1.0, np.inf])
    low, high = np.array([0.0, np.nan, 0.0, -np.inf]), np.array([2.0, 2.0, np.nan, np.inf])
    assert assert_same_outcome(lambda lib, x, a, b: lib.clamp(x, a, b), values, low, high)
    assert assert_same_outcome(lambda lib, x, a, b: x.clamp_(a, b), values, low, high)


def test_clamp_refuses_a_number_beside_a_tensor_and_shapes_that_do_not_fit() -> None:
    x = npmlp.ones(2, 3)
    with pytest.raises(DTypeError, match=r"clamp: min is a Tensor and max a float.*two Tensors"):
        x.clamp(npmlp.zeros(3), 2.0)
    with pytest.raises(ShapeError, match=r"clamp: an input of shape \(2, 3\) and bounds.*\(5,\)"):
        x.clamp(npmlp.zeros(3), npmlp.zeros(5))


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
