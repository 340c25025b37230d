"""nn.functional's losses of numbers, and PyTorch's old spelling of the reduction of all losses."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from functional_beside_torch import FLOATS, Constant, compare, normal, outcome

import npmlp
from npmlp.errors import DTypeError, GraphError, ShapeError
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled

REDUCTIONS = ("none", "mean", "sum")


# -------------------------------------------------------------------------- distances, yes or no

DISTANCES = ("mse_loss", "l1_loss")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("function", DISTANCES)
def test_distances_are_pytorchs(function: str, reduction: str, dtype: str) -> None:
    for shape in [(4, 5), (), (1,), (0, 3), (500,)]:
        x, y = normal(*shape), normal(*shape, seed=1)
        compare(lambda F, *t: getattr(F, function)(*t, reduction=reduction), x, y, dtype=dtype)
        for weight in (normal(*shape, seed=2), Constant(normal(*shape, seed=2))):
            compare(
                lambda F, x, y, w: getattr(F, function)(x, y, reduction=reduction, weight=w),
                x, y, weight, dtype=dtype,
            )  # fmt: skip
    same = normal(3)
    compare(lambda F, *t: getattr(F, function)(*t, reduction=reduction), same, same)


@pytest.mark.parametrize("function", DISTANCES)
@pytest.mark.parametrize("shapes", [((4, 3), (3,)), ((3,), (1,)), ((4, 1), (4, 3)), ((2,), ())])
def test_distances_of_different_shapes_warn_and_broadcast_as_pytorch(
    shapes: Any, function: str
) -> None:
    def call(F: Any, x: Any, y: Any) -> Any:
        message = "shape" if F.__name__.startswith("npmlp") else "different to the input size"
        with pytest.warns(UserWarning, match=message):
            return getattr(F, function)(x, y)

    compare(call, normal(*shapes[0]), normal(*shapes[1], seed=1))


@pytest.mark.parametrize("function", DISTANCES)
@pytest.mark.parametrize("shapes", [((5,), (5, 1)), ((5, 1), (5,)), ((1, 4), (3, 1))])
def test_a_column_against_a_row_is_an_error_and_not_a_warning(shapes: Any, function: str) -> None:
    """Differs from PyTorch, which warns: every prediction would be compared with every target."""
    x, y = (npmlp.from_numpy(normal(*shape)) for shape in shapes)
    with pytest.raises(ShapeError, match="every entry would be compared with every other"):
        getattr(F, function)(x, y)


@pytest.mark.parametrize("function", DISTANCES)
def test_distances_refuse_what_pytorch_refuses(function: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = getattr(F, function)
        with pytest.raises(ShapeError, match=r"input has shape \(3,\) and target \(4,\)"):
            call(npmlp.ones(3), npmlp.ones(4))
    with pytest.raises(ShapeError, match=r"weight has shape \(1,\), expected the input's \(3,\)"):
        call(npmlp.ones(3), npmlp.ones(3), weight=npmlp.ones(1))
    with pytest.raises(DTypeError, match=f"{function}: input has dtype int64"):
        call(npmlp.ones(3).long(), npmlp.ones(3).long())


@pytest.mark.parametrize("function", [*DISTANCES, "binary_cross_entropy_with_logits"])
def test_targets_of_another_dtype_are_promoted_as_in_pytorch(function: str) -> None:
    def call(F: Any, x: Any, y: Any) -> Any:
        return getattr(F, function)(x, y.double())

    compare(call, normal(3), np.random.default_rng(0).random(3), dtype="float32", tol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 5), (5,), (1, 5), (0, 5), (3, 4, 5)])
def test_binary_cross_entropy_with_logits_is_pytorchs(
    shape: Any, reduction: str, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    x, y = 3 * normal(*shape), rng.random(shape)
    weights = [None, Constant(rng.random(shape)), Constant(rng.random(5))]
    positives = [None, Constant(3 * rng.random(5)), Constant(3 * rng.random((1,)))]
    for weight, positive in itertools.product(weights, positives):
        compare(
            lambda F, x, y, w, p: F.binary_cross_entropy_with_logits(
                x, y, w, reduction=reduction, pos_weight=p
            ),
            x, y, weight, positive, dtype=dtype,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_binary_cross_entropy_with_logits_does_not_overflow(dtype: str) -> None:
    x = np.array([800.0, -800.0, 60.0, -60.0, 0.0, 1e30, -1e30])
    for y in (np.zeros(7), np.ones(7)):
        for reduction in ("none", "sum"):
            compare(
                lambda F, *t, r=reduction: F.binary_cross_entropy_with_logits(*t, reduction=r),
                x, Constant(y), dtype=dtype,
            )  # fmt: skip


def test_binary_cross_entropy_with_logits_refuses_what_pytorch_refuses() -> None:
    name = "binary_cross_entropy_with_logits"
    call = getattr(F, name)
    x = npmlp.ones(3)
    with pytest.raises(ShapeError, match=rf"{name}: target has shape \(3, 1\), expected the input"):
        call(x, npmlp.ones(3, 1))
    with pytest.raises(ShapeError, match=r"weight has shape \(2, 3\), expected one that broadcast"):
        call(x, x, npmlp.ones(2, 3))
    with pytest.raises(ShapeError, match=r"pos_weight has shape \(2, 3\), expected one that broa"):
        call(x, x, None, pos_weight=npmlp.ones(2, 3))
    for option in ("weight", "pos_weight"):
        with pytest.raises(GraphError, match=f"{option} requires a gradient"):
            call(x, x, **{option: npmlp.ones(3, requires_grad=True)})


# -------------------------------------------------------------------------- PyTorch's old spelling


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_size_average_and_reduce_stand_for_a_reduction(
    reduction: str, reduce: bool | None, size_average: bool | None
) -> None:
    old = {"size_average": size_average, "reduce": reduce, "reduction": reduction}
    calls = [
        (lambda F, x, t: F.cross_entropy(x, t, **old), np.array([0, 2, 1, 1])),
        (lambda F, x, t: F.nll_loss(x, t, **old), np.array([0, 2, 1, 1])),
        (lambda F, x, t: F.mse_loss(x, t, **old), normal(4, 3, seed=1)),
        (lambda F, x, t: F.l1_loss(x, t, **old), normal(4, 3, seed=1)),
        (lambda F, x, t: F.binary_cross_entropy_with_logits(x, t, **old), np.ones((4, 3))),
    ]
    for call, target in calls:
        computed, said = outcome(call, normal(4, 3), target)
        assert computed
        assert any("please use reduction=" in message for message in said) == (
            size_average is not None or reduce is not None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compare(call, normal(4, 3), target)
