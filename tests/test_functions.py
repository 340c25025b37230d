"""Functions of tensors, beside PyTorch: results, dtypes, shapes, gradients, and what is refused."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import (
    DTYPES,
    FLOATS,
    ROUNDED,
    assert_same,
    assert_same_gradients,
    assert_same_outcome,
    both,
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


# ------------------------------------------------------------------------- two inputs, one dtype


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


# ------------------------------------------------------------------------------------- one input

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


# ------------------------------------------------------------------------------------ reductions

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


# ---------------------------------------------------------------------------------------- shapes

SHAPERS: dict[str, Callable[[Any, Any], Any]] = {
    "reshape": lambda lib, x: lib.reshape(x, (4, -1)),
    "reshape method": lambda lib, x: x.reshape(6, 4),
    "reshape of a transposed": lambda lib, x: x.transpose(0, 2).reshape(3, 8),
    "view": lambda lib, x: x.view(-1),
    "view of a size": lambda lib, x: x.view(x.size(0), -1),
    "view of a shape": lambda lib, x: x.view(x.shape),
    "flatten": lambda lib, x: x.flatten(),
    "flatten from 1": lambda lib, x: lib.flatten(x, 1),
    "flatten to -2": lambda lib, x: x.flatten(0, -2),
    "permute": lambda lib, x: x.permute(2, 0, 1),
    "permute of a tuple": lambda lib, x: lib.permute(x, (-1, 1, 0)),
    "transpose": lambda lib, x: lib.transpose(x, 0, -1),
    "T": lambda lib, x: x[0].T,
    "t": lambda lib, x: x[0].t(),
    "unsqueeze": lambda lib, x: x.unsqueeze(1),
    "unsqueeze at the end": lambda lib, x: lib.unsqueeze(x, -1),
    "squeeze": lambda lib, x: x[:1, :, :1].squeeze(),
    "squeeze 0": lambda lib, x: x[:1].squeeze(0),
    "squeeze of a larger": lambda lib, x: x.squeeze(1),
    "squeeze of several": lambda lib, x: x[:1, :, :1].squeeze((0, 2)),
    "expand": lambda lib, x: x[:, :1].expand(-1, 5, 4),
    "expand in front": lambda lib, x: x.expand(2, 2, 3, 4),
    "cat": lambda lib, x: lib.cat([x, x[:1], 2 * x], dim=0),
    "cat at the end": lambda lib, x: lib.cat((x, x[..., :2]), -1),
    "stack": lambda lib, x: lib.stack([x, x * x]),
    "stack at the end": lambda lib, x: lib.stack((x, -x), dim=-1),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPERS)
def test_shapes_and_their_gradients(name: str) -> None:
    assert_same_gradients(SHAPERS[name], numbers((2, 3, 4)), tol=ROUNDED["float64"])


def test_shapes_of_scalars_and_empty_tensors() -> None:
    for x in (np.float64(2.0), np.zeros((0, 3)), np.zeros((3, 0, 2))):
        for function in (
            lambda lib, x: x.reshape(-1),
            lambda lib, x: x.flatten(),
            lambda lib, x: x.reshape(x.shape),
            lambda lib, x: x.unsqueeze(0),
            lambda lib, x: x.squeeze(),
            lambda lib, x: x.squeeze(0),
            lambda lib, x: x.transpose(0, -1),
            lambda lib, x: x.expand(2, *x.shape),
            lambda lib, x: lib.stack([x, x]),
            lambda lib, x: lib.cat([x, x]),
            lambda lib, x: x.view(0, 3),
            lambda lib, x: x.view(0, -1),
        ):
            assert_same_outcome(function, x)


def test_views_share_memory_and_copies_do_not() -> None:
    x = npmlp.tensor(numbers((2, 3, 4)))
    for view in (x.view(-1), x.reshape(6, 4), x.permute(2, 0, 1), x[0], x[:, 1:], x[0, 1, 2],
                 x.unsqueeze(0), x.expand(5, 2, 3, 4), x.detach(), x.flatten(1)):  # fmt: skip
        assert np.shares_memory(view.numpy(), x.numpy())
    for copy in (x.clone(), x.permute(2, 0, 1).reshape(-1), x[[0, 1]], x[x > 0], x.float(),
                 npmlp.stack([x])):  # fmt: skip
        assert not np.shares_memory(copy.numpy(), x.numpy())
    x[0, 1, 2].fill_(7)
    assert x[0, 1, 2].item() == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.reshape(5, 5), r"cannot take shape \(5, 5\)"),
        (lambda x: x.view(-1, -1), r"cannot take shape \(-1, -1\)"),
        (lambda x: x.view(7, -1), r"has 24 entries and cannot take shape \(7, -1\)"),
        (lambda x: x.permute(2, 0, 1).view(24), "not contiguous.*use reshape"),
        (lambda x: x.permute(0, 1), r"dims \(0, 1\) must name each dimension"),
        (lambda x: x.permute(0, 0, 1), r"dims \(0, 0, 1\) must name each dimension"),
        (lambda x: x.transpose(0, 3), "dimension 3 does not exist, expected -3 to 2"),
        (lambda x: x.unsqueeze(4), "dimension 4 does not exist, expected -4 to 3"),
        (lambda x: x.squeeze(5), "dimension 5 does not exist"),
        (lambda x: x.expand(3, 3, 4), r"shape \(2, 3, 4\) does not expand to \(3, 3, 4\)"),
        (lambda x: x.expand(-1, 2, 3, 4), "does not expand"),
        (lambda x: x.expand(3, 4), "does not expand"),
        (lambda x: x.flatten(2, 1), "start_dim 2 comes after end_dim 1"),
        (lambda x: x.t(), "has 3 dimensions, expected at most 2"),
        (lambda x: npmlp.cat([x, x[:, :1]]), "differ outside of dimension 0"),
        (lambda x: npmlp.cat([x, x[0]]), "differ outside of dimension 0"),
        (lambda x: npmlp.cat([]), "cat: got no tensors"),
        (lambda x: npmlp.stack([x, x[:1]]), "are not all equal"),
        (lambda x: x.sum(3), "dimension 3 does not exist"),
        (lambda x: x.sum((0, 0)), "names a dimension twice"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(npmlp.ones(2, 3, 4))


def test_cat_and_stack_promote() -> None:
    for op, (a, b) in itertools.product(("cat", "stack"), itertools.product(DTYPES, DTYPES)):
        x, y = numbers((2, 3), a), numbers((2, 3), b, seed=1)
        assert_same_outcome(lambda lib, x, y: getattr(lib, op)([x, y]), x, y)


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
