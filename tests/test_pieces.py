"""Tensors taken apart and put side by side, and named products, beside PyTorch."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import LIBRARIES, assert_same_gradients, assert_same_outcome, numbers

import npmlp
from npmlp.errors import DTypeError, GraphError, ShapeError

X = numbers((5, 4))


def test_pieces_of_equal_or_given_sizes() -> None:
    for size, dim in itertools.product((1, 2, 3, 7, 0, -1, [1, 4], [2, 2], [5], [0, 5]), (0, 1, 2)):
        assert_same_outcome(lambda lib, x: lib.split(x, size, dim), X)
    for chunks, dim in itertools.product((1, 2, 3, 4, 9, 0), (0, -1)):
        assert_same_outcome(lambda lib, x: x.chunk(chunks, dim), X)
    for dim in (0, 1, -2, 2):
        assert_same_outcome(lambda lib, x: lib.unbind(x, dim), X)
    for op in (lambda x: x.split(2), lambda x: x.chunk(2), lambda x: x.unbind()):
        assert_same_outcome(lambda lib, x: op(x), np.zeros((0, 2)))
        assert not assert_same_outcome(lambda lib, x: op(x), np.asarray(1.0))


def test_pieces_are_views_through_which_gradients_flow() -> None:
    x = npmlp.zeros(4, 2)
    x.split(2)[1].fill_(1)
    x.unbind(1)[0][0] = 7
    assert x.tolist() == [[7, 0], [0, 0], [1, 1], [1, 1]]
    for pieces in (lambda x: x.split([1, 4]), lambda x: x.chunk(2), lambda x: x.unbind(1)):
        assert_same_gradients(lambda lib, x: pieces(x)[1] * pieces(x)[0].sum(), X, tol=1e-14)


def test_tensors_side_by_side() -> None:
    vectors, matrices = [numbers((3,)), numbers((2,))], [numbers((2, 3)), numbers((2, 1))]
    for arrays in (vectors, matrices, [numbers(()), numbers((2,))], [numbers((2, 3, 2))] * 2):
        assert assert_same_outcome(lambda lib, *xs: lib.hstack(xs), *arrays)
    for arrays in ([numbers((3,))] * 2, [numbers((2, 3)), numbers((3,))], [numbers(())] * 2):
        assert assert_same_outcome(lambda lib, *xs: lib.vstack(xs), *arrays)
    assert not assert_same_outcome(lambda lib, *xs: lib.vstack(xs), *vectors)
    assert_same_gradients(lambda lib, x, y: lib.vstack([x, y]), numbers((2, 3)), numbers((3,)))
    assert assert_same_outcome(lambda lib, *xs: lib.concat(xs), *vectors)


def test_repetition_and_grids() -> None:
    for repeats in ((2, 3), (1, 1), (2, 1, 3), (0, 1), (3,)):
        assert_same_outcome(lambda lib, x: x.repeat(*repeats), X)
        assert_same_outcome(lambda lib, x: x.repeat(repeats), X)
    assert_same_gradients(lambda lib, x: x.repeat(2, 3, 1), X, tol=1e-14)
    for dims in ((2,), (2, 1), (2, 1, 3)):
        assert assert_same_outcome(lambda lib, x: lib.tile(x, dims), X)
    assert assert_same_outcome(lambda lib, x: x.tile(2, 2), X)
    x = npmlp.ones(2)
    x.repeat(1).fill_(5)  # a copy, also where nothing is repeated
    assert x.tolist() == [1, 1]
    for indexing in ("ij", "xy"):
        assert assert_same_outcome(
            lambda lib, x, y: tuple(lib.meshgrid(x, y, indexing=indexing)),
            numbers((3,)),
            numbers((2,)),
        )


def test_shapes_of_another_tensor_and_new_tensors_of_the_same_dtype() -> None:
    y = numbers((2, 10))
    for call in (
        lambda x, y: x.view_as(y),
        lambda x, y: x.T.reshape_as(y),
        lambda x, y: x[:1].expand_as(x),
        lambda x, y: x.mT,
        lambda x, y: x.T.ravel(),
        lambda x, y: x[0].t(),
        lambda x, y: x[:1].broadcast_to((3, 4)),
        lambda x, y: x.new_zeros(2, 3),
        lambda x, y: x.new_ones((2,)),
        lambda x, y: x.new_full((2,), 3),
        lambda x, y: x.new_tensor([1, 2]),
    ):
        for dtype in ("float32", "float64", "int64"):
            assert assert_same_outcome(lambda lib, x, y: call(x, y), X.astype(dtype), y)
    assert npmlp.ones(2).double().new_empty(3).dtype is npmlp.float64
    assert npmlp.ones(2).new_zeros(3, dtype=npmlp.int64, device="cpu").dtype is npmlp.int64
    with pytest.raises(ShapeError, match="mT"):
        _ = npmlp.ones(2).mT


# ----------------------------------------------------------------------------------------- products


PRODUCTS: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "mm": [((2, 3), (3, 4)), ((0, 3), (3, 1))],
    "bmm": [((2, 2, 3), (2, 3, 4)), ((1, 1, 1), (1, 1, 1))],
    "mv": [((2, 3), (3,))],
    "dot": [((3,), (3,)), ((0,), (0,))],
    "outer": [((3,), (2,)), ((0,), (2,))],
}
ALL_SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 3), (3, 4), (2, 2, 3), (1, 3, 4)]


@pytest.mark.parametrize("op", PRODUCTS)
def test_products_by_name(op: str, kernels: str) -> None:
    for a, b in PRODUCTS[op]:
        assert_same_gradients(
            lambda lib, x, y: getattr(lib, op)(x, y), numbers(a), numbers(b, seed=1), tol=1e-14
        )
    for a, b in itertools.product(ALL_SHAPES, ALL_SHAPES):  # most do not fit
        assert_same_outcome(
            lambda lib, x, y: getattr(x, op)(y), numbers(a), numbers(b, seed=1), tol=1e-14
        )
    if op != "outer":
        with pytest.raises(DTypeError, match="differ"):
            a, b = PRODUCTS[op][0]
            getattr(npmlp, op)(npmlp.ones(*a), npmlp.ones(*b).double())


# --------------------------------------------------------------------------------------------- out=


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "matmul", "mm"])
def test_out_takes_the_result(op: str) -> None:
    x = numbers((3, 3))

    def into_given(lib: Any, x: Any, shape: Any, dtype: Any = None) -> Any:
        out = lib.zeros(shape, dtype=dtype or x.dtype)
        result = getattr(lib, op)(x, x, out=out)
        assert result is out
        return out

    assert assert_same_outcome(lambda lib, x: into_given(lib, x, (3, 3)), x, tol=1e-14)
    assert assert_same_outcome(lambda lib, x: into_given(lib, x, (0,)), x, tol=1e-14)
    for ints in (lambda lib: lib.int64,):
        assert not assert_same_outcome(lambda lib, x: into_given(lib, x, (3, 3), ints(lib)), x)
    with pytest.raises(ShapeError, match=rf"{op}: out has shape \(2, 2\), expected the result's"):
        into_given(npmlp, npmlp.from_numpy(x), (2, 2))


def test_out_is_refused_where_a_gradient_is_required() -> None:
    for lib in LIBRARIES:
        x, out = lib.ones(2, requires_grad=True), lib.zeros(2)
        with pytest.raises(RuntimeError, match="out="):
            lib.add(x, 1, out=out)
        with lib.no_grad():
            lib.add(x, 1, out=out)
        assert out.tolist() == [2, 2]
    with pytest.raises(GraphError, match="nothing is recorded"):
        npmlp.mul(npmlp.ones(2), 2, out=npmlp.ones(2, requires_grad=True))


@pytest.mark.parametrize("op", ["floor_divide", "remainder"])
def test_whole_quotients_and_remainders(op: str) -> None:
    values = {
        "float64": np.array([-7.5, -0.5, 0.0, 0.5, 7.5]),
        "int64": np.array([-7, -1, 0, 2, 9]),
    }
    values |= {"uint8": np.array([0, 1, 7, 200, 255], np.uint8), "bool": np.array([True, False])}
    divisors = (2, -3, 0.75, -0.5, float("inf"), 300)
    symbol = {"floor_divide": lambda x, y: x // y, "remainder": lambda x, y: x % y}[op]
    for (dtype, x), d in itertools.product(values.items(), divisors):
        if dtype == "bool" or (dtype == "uint8" and (d < 0 or d == 300)):
            continue
        assert assert_same_outcome(lambda lib, x: symbol(x, d), x, tol=1e-15)
        if dtype != "uint8" and d != float("inf"):
            nonzero = x[x != 0]
            assert assert_same_outcome(lambda lib, x: symbol(d, x), nonzero, tol=1e-15)
    for a, b in itertools.product(("float64", "int64", "uint8"), repeat=2):
        x, y = values[a], values[b][values[b] != 0][:1]
        assert assert_same_outcome(lambda lib, x, y: getattr(lib, op)(x, y), x, y, tol=1e-15)
    assert not assert_same_outcome(lambda lib, x: symbol(x, 0), values["int64"])
    if op == "floor_divide":
        assert assert_same_outcome(lambda lib, x: symbol(x, 0.0), values["float64"])
    else:
        assert_same_gradients(lambda lib, x, y: x % y, numbers((3, 4)), numbers((4,), seed=2))


def test_the_dtypes_of_constants() -> None:
    for name in ("pi", "e", "inf"):
        assert getattr(npmlp, name) == getattr(torch, name)
    assert npmlp.nan != npmlp.nan
