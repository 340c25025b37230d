"""Questions about entries beside PyTorch's answers: bools, counts, positions, different entries."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from beside_torch import DTYPES, assert_same, assert_same_outcome, both, numbers

import npmlp
from npmlp.errors import DTypeError, ShapeError

ODD = np.array([0.0, -0.0, 1.5, np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("op", ["isnan", "isinf", "isfinite", "logical_not"])
def test_questions_about_each_entry(op: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (), (0, 2)]):
        x = numbers(shape, dtype)
        assert assert_same_outcome(lambda lib, x: getattr(lib, op)(x), x)
        assert assert_same_outcome(lambda lib, x: getattr(x, op)(), x)
    assert assert_same_outcome(lambda lib, x: getattr(lib, op)(x), ODD)


@pytest.mark.parametrize("op", ["logical_and", "logical_or", "logical_xor"])
def test_logic_of_two_tensors(op: str) -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = numbers((2, 3), a, 1), numbers((3,), b, 2)
        assert assert_same_outcome(lambda lib, x, y: getattr(lib, op)(x, y), x, y)
    assert assert_same_outcome(lambda lib, x: getattr(x, op)(x.flip(0)), ODD)
    with pytest.raises(DTypeError, match=f"{op}: other is a int, expected a Tensor"):
        getattr(npmlp, op)(npmlp.ones(2), 1)
    with pytest.raises(ShapeError, match="do not broadcast"):
        getattr(npmlp, op)(npmlp.ones(2), npmlp.ones(3))


@pytest.mark.parametrize("op", ["and_", "or_", "xor"])
def test_operators_of_bits(op: str) -> None:
    function = getattr(operator, op)
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = numbers((2, 3), a, 1), numbers((3,), b, 2)
        assert_same_outcome(lambda lib, x, y: function(x, y), x, y)
    for dtype, number in itertools.product(("int64", "uint8", "bool"), (True, False, 3)):
        x = numbers((4,), dtype)
        assert assert_same_outcome(lambda lib, x: function(x, number), x)
        assert assert_same_outcome(lambda lib, x: function(number, x), x)


def test_the_opposite_of_bools_and_the_turned_bits_of_whole_numbers() -> None:
    for dtype in DTYPES:
        assert_same_outcome(lambda lib, x: ~x, numbers((2, 3), dtype))
    with pytest.raises(DTypeError, match="has no bits to turn"):
        _ = ~npmlp.ones(2)


def test_close_entries() -> None:
    x = np.array([1.0, 1.0, np.nan, np.inf, 0.0, 100.0])
    y = np.array([1.0 + 1e-6, 1.1, np.nan, np.inf, 1e-9, 101.0])
    for options in ({}, {"rtol": 0.2}, {"atol": 1.0}, {"equal_nan": True}):
        assert assert_same_outcome(lambda lib, x, y: lib.isclose(x, y, **options), x, y)
    assert assert_same_outcome(lambda lib, x, y: x.isclose(y), x[:2], x[0])
    with pytest.raises(DTypeError, match="isclose: dtypes"):
        npmlp.isclose(npmlp.ones(2), npmlp.ones(2).double())


@pytest.mark.parametrize("op", ["any", "all"])
def test_any_and_all_of_all_or_along_dimensions(op: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (), (0, 2)]):
        x = numbers(shape, dtype)
        assert assert_same_outcome(lambda lib, x: getattr(x, op)(), x)
        for dim, keepdim in itertools.product((0, -1, (0, 1), 2), (False, True)):
            assert_same_outcome(lambda lib, x: getattr(lib, op)(x, dim, keepdim), x)


def test_how_many_are_not_zero_and_where() -> None:
    for dtype, shape in itertools.product(DTYPES, [(2, 3), (4,), (), (0, 2)]):
        x = numbers(shape, dtype) * (numbers(shape, "bool", 5) if dtype != "bool" else True)
        x = np.asarray(x).astype(dtype)
        assert assert_same_outcome(lambda lib, x: lib.count_nonzero(x), x)
        assert assert_same_outcome(lambda lib, x: x.nonzero(), x)
        assert assert_same_outcome(lambda lib, x: lib.nonzero(x, as_tuple=True), x)
    assert assert_same_outcome(lambda lib, x: x.count_nonzero(1), numbers((3, 4), "int64"))


def test_how_often_each_number_occurs() -> None:
    x, weights = np.array([3, 0, 3, 1]), numbers((4,))
    assert assert_same_outcome(lambda lib, x: lib.bincount(x), x)
    assert assert_same_outcome(lambda lib, x: x.bincount(minlength=7), x.astype(np.uint8))
    assert assert_same_outcome(lambda lib, x, w: lib.bincount(x, w, 5), x, weights)
    assert assert_same_outcome(lambda lib, x: lib.bincount(x), np.zeros(0, np.int64))
    for wrong in (np.array([-1]), np.array([[1]]), np.array([1.5])):
        assert not assert_same_outcome(lambda lib, x: lib.bincount(x), wrong)


def test_the_different_entries() -> None:
    x = np.array([[3, 1, 3], [2, 1, 1]])
    for array in (x, x.astype(np.float32), x > 1, np.zeros(0), np.asarray(4.0)):
        assert assert_same_outcome(lambda lib, x: lib.unique(x), array)
        both_more = {"return_inverse": True, "return_counts": True}
        assert assert_same_outcome(lambda lib, x: lib.unique(x, **both_more), array)
    rows = np.array([[1, 2], [0, 5], [1, 2]])
    for dim in (0, 1):
        assert assert_same_outcome(
            lambda lib, x: lib.unique(x, dim=dim, return_inverse=True, return_counts=True), rows
        )


def test_a_tensor_contains_a_number() -> None:
    for ours, theirs in (both(np.array([1, 2, 3])), both(np.array([1.5, np.nan]))):
        for number in (2, 1.5, 7):
            assert (number in ours) == (number in theirs)


def test_is_tensor_numel_and_is_floating_point() -> None:
    ours, theirs = both(numbers((2, 3)))
    assert npmlp.is_tensor(ours) and not npmlp.is_tensor([1])
    assert npmlp.numel(ours) == 6 and npmlp.is_floating_point(ours)
    assert not npmlp.is_floating_point(npmlp.arange(3))
    assert (ours.nelement(), ours.element_size()) == (theirs.nelement(), theirs.element_size())
    assert (ours.stride(), ours.T.stride(0)) == (theirs.stride(), theirs.T.stride(0))
    assert_same(ours, theirs)
