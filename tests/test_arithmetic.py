"""Functions of two tensors beside PyTorch: dtypes that meet, broadcasting, products, equality."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import (
    DTYPES,
    FLOATS,
    ROUNDED,
    assert_same_gradients,
    assert_same_outcome,
    numbers,
)

import npmlp
from npmlp.errors import DTypeError, ShapeError

ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}
COMPARISONS = {n: getattr(operator, n) for n in ("eq", "ne", "lt", "le", "gt", "ge")}
BROADCAST = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((3,), ()),
    ((), ()),
    ((0, 3), (3,)),
]


@pytest.mark.parametrize("shapes", BROADCAST, ids=str)
@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS])
def test_two_tensors_of_any_dtypes_combine_as_in_pytorch(op: str, shapes: Any) -> None:
    function = (ARITHMETIC | COMPARISONS)[op]
    computed = 0
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = numbers(shapes[0], a, 1), numbers(shapes[1], b, 2)
        tol = 0 if op in COMPARISONS else ROUNDED["float32"]
        computed += assert_same_outcome(lambda lib, x, y: function(x, y), x, y, tol=tol)
    assert computed >= 16  # sub refuses bools


@pytest.mark.parametrize("scalar", [2, 0, -1, 300, 2.0, 0.5, -math.inf, True])
@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS])
def test_a_tensor_and_a_python_number_combine_as_in_pytorch(op: str, scalar: Any) -> None:
    function = (ARITHMETIC | COMPARISONS)[op]
    for dtype, shape in itertools.product(DTYPES, [(2, 3), ()]):
        x = numbers(shape, dtype)
        assert_same_outcome(lambda lib, x: function(x, scalar), x, tol=ROUNDED["float32"])
        assert_same_outcome(lambda lib, x: function(scalar, x), x, tol=ROUNDED["float32"])


def test_a_power_is_pytorchs() -> None:
    # pow is a library function of each, good to a unit or two in the last place
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = (
            np.abs(numbers((2, 3), a, 1)) if a in FLOATS else numbers((2, 3), a, 1),
            numbers((3,), b),
        )
        assert_same_outcome(lambda lib, x, y: x**y, x, y, tol=ROUNDED["float32"])
    for dtype, exponent in itertools.product(
        ("float32", "float64", "int64", "uint8"), (2, 3, 0.5, -1, 0)
    ):
        x = numbers((2, 3), dtype)
        assert_same_outcome(lambda lib, x: x**exponent, x, tol=ROUNDED["float32"])
        assert_same_outcome(lambda lib, x: 2**x, x, tol=ROUNDED["float32"])


def test_the_default_dtype_decides_where_whole_numbers_meet_a_python_float() -> None:
    npmlp.set_default_dtype(npmlp.float64)
    x = npmlp.tensor([1, 2])
    assert (x * 0.5).dtype is npmlp.float64
    assert (x / 2).dtype is npmlp.float64
    assert npmlp.exp(x).dtype is npmlp.float64
    assert (x.float() * 0.5).dtype is npmlp.float32


@pytest.mark.parametrize("shapes", BROADCAST, ids=str)
@pytest.mark.parametrize("op", [*ARITHMETIC, "maximum", "minimum"])
def test_gradients_are_summed_over_broadcast_dimensions(op: str, shapes: Any, kernels: str) -> None:
    x, y = numbers(shapes[0], seed=1), numbers(shapes[1], seed=2)

    def function(lib: Any, x: Any, y: Any) -> Any:
        return ARITHMETIC[op](x, y) if op in ARITHMETIC else getattr(lib, op)(x, y)

    assert_same_gradients(function, x, y, tol=ROUNDED["float64"])


def test_gradients_keep_the_dtypes_of_what_was_promoted() -> None:
    x, y = numbers((2, 3), "float32"), numbers((3,), "float64")
    assert_same_gradients(lambda lib, x, y: x * y + 2, x, y, tol=ROUNDED["float32"])


def test_alpha_scales_the_second_operand() -> None:
    x, y = numbers((2, 3)), numbers((3,), seed=1)
    assert_same_gradients(lambda lib, x, y: lib.add(x, y, alpha=2.5), x, y, tol=ROUNDED["float64"])
    assert_same_gradients(lambda lib, x, y: lib.sub(x, y, alpha=-2), x, y, tol=ROUNDED["float64"])
    whole = numbers((2, 3), "int64")
    assert_same_outcome(lambda lib, x: lib.add(x, x, alpha=3), whole)
    assert not assert_same_outcome(lambda lib, x: lib.add(x, x, alpha=0.5), whole)


def test_what_is_not_a_tensor_or_number_is_refused() -> None:
    x = npmlp.ones(2)
    for other in ("1", None, [1.0, 2.0], np.ones(2)):
        with pytest.raises(TypeError):
            x + other
        with pytest.raises(TypeError):
            other * x
    for operation in (operator.add, operator.matmul, operator.eq, operator.ne, operator.lt):
        with pytest.raises(DTypeError, match=r"Tensor and a numpy.ndarray of shape \(2,\).*from_n"):
            operation(x, np.ones(2))
    with pytest.raises(DTypeError, match=r"add: got a str beside a Tensor.*npmlp.tensor"):
        npmlp.add(x, "1")


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(ShapeError, match=r"mul: shapes \(2, 3\) and \(4,\) do not broadcast"):
        npmlp.ones(2, 3) * npmlp.ones(4)


def test_where_takes_tensors_and_numbers() -> None:
    condition = numbers((2, 3), "bool")
    x, y = numbers((2, 3)), numbers((3,), seed=1)
    assert_same_gradients(lambda lib, x, y: lib.where(x > 0, x, y), x, y)
    for pair in [(1.0, 0.0), (1, 0), (1, 0.5), (True, False)]:
        assert_same_outcome(lambda lib, c: lib.where(c, *pair), condition)
    for dtype, value in itertools.product(DTYPES, (2, 0.5, True)):
        z = numbers((2, 3), dtype)
        assert_same_outcome(lambda lib, c, z: lib.where(c, z, value), condition, z)
        assert_same_outcome(lambda lib, c, z: lib.where(c, value, z), condition, z)
    assert_same_outcome(lambda lib, c: lib.where(c), condition)
    with pytest.raises(DTypeError, match="condition has dtype int64, expected bool"):
        npmlp.where(npmlp.tensor([1, 0]), 1.0, 0.0)


# -------------------------------------------------------------------------------------- products

PRODUCTS = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)), ((0, 4), (4, 5)), ((3, 0), (0, 2)), ((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_matmul_of_vectors_matrices_and_batches(shapes: Any, kernels: str) -> None:
    x, y = numbers(shapes[0], seed=1), numbers(shapes[1], seed=2)
    assert_same_gradients(lambda lib, x, y: x @ y, x, y, tol=10 * ROUNDED["float64"])
    assert_same_outcome(
        lib_matmul, x.astype("float32"), y.astype("float32"), tol=ROUNDED["float32"]
    )
    whole = [numbers(s, "int64", seed=3) for s in shapes]
    assert_same_outcome(lib_matmul, *whole)


def lib_matmul(lib: Any, x: Any, y: Any) -> Any:
    return lib.matmul(x, y)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_matmul_where_one_side_needs_no_gradient(shapes: Any, side: int, kernels: str) -> None:
    arrays = [numbers(s, seed=i) for i, s in enumerate(shapes)]

    def function(lib: Any, x: Any) -> Any:
        constant = lib.from_numpy(arrays[1 - side])
        return x @ constant if side == 0 else constant @ x

    assert_same_gradients(function, arrays[side], tol=10 * ROUNDED["float64"])


def test_matmul_of_different_dtypes_is_refused_or_promoted() -> None:
    with pytest.raises(ShapeError, match=r"4 columns against 3 rows; is one of them to be transp"):
        npmlp.ones(2, 4) @ npmlp.ones(3, 2)
    with pytest.raises(ShapeError, match=r"at least one dimension; use \* for a scalar"):
        npmlp.ones(2) @ npmlp.tensor(1.0)
    with pytest.raises(TypeError):
        npmlp.ones(2) @ 2.0


# ------------------------------------------------------------------------------ equal, allclose


def test_equal_and_allclose_answer_with_python_bools() -> None:
    x = npmlp.tensor([1.0, math.nan])
    assert npmlp.equal(x[:1], npmlp.tensor([1.0])) is True
    assert npmlp.equal(x, x) is torch.equal(
        torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.nan])
    )
    assert npmlp.equal(npmlp.ones(2), npmlp.ones(2, 1)) is False
    assert npmlp.allclose(x, x) is False
    assert npmlp.allclose(x, x, equal_nan=True) is True
    assert npmlp.tensor([1.0]).allclose(npmlp.tensor([1.0 + 1e-6])) is True
    assert npmlp.tensor([1.0]).allclose(npmlp.tensor([1.0 + 1e-4])) is False
    with pytest.raises(DTypeError, match=r"float32 and torch.float64 differ"):
        npmlp.allclose(npmlp.ones(1), npmlp.ones(1).double())
