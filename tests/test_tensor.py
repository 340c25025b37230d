"""Tensor beside PyTorch's: what it is, what it turns into, and how it is indexed."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import (
    DTYPES,
    assert_same,
    assert_same_gradients,
    assert_same_outcome,
    both,
    numbers,
)

import npmlp
from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError

# ----------------------------------------------------------------------------------- what it is


def test_shape_size_and_their_kin() -> None:
    ours, theirs = both(numbers((2, 0, 3)))
    for t in (ours, theirs):
        assert t.shape == (2, 0, 3)
        assert t.size() == t.shape
        assert (t.size(-1), t.size(1), t.ndim, t.dim(), t.numel()) == (3, 0, 3, 3, 0)
        assert str(t.shape) == "torch.Size([2, 0, 3])"
        assert str(t.dtype) == "torch.float64"
        assert str(t.device) == "cpu"
        assert t.type() == "torch.DoubleTensor"
        assert t.is_floating_point()
        assert t.shape[1:].numel() == 0
        assert t.shape.numel() == 0
    with pytest.raises(ShapeError, match="size: dimension 3 does not exist"):
        ours.size(3)


def test_contiguous_is_about_memory_order() -> None:
    ours, theirs = both(numbers((3, 4)))
    for t in (ours, theirs):
        assert t.is_contiguous()
        assert t.contiguous() is t
        assert not t.T.is_contiguous()
        assert t.T.contiguous().is_contiguous()
        assert t[1:].is_contiguous()
        assert not t[:, ::2].is_contiguous()
        assert t[:, :1].T.is_contiguous() is False


def test_len_and_iteration_go_along_the_first_dimension() -> None:
    ours, theirs = both(numbers((3, 2)))
    assert len(ours) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert_same(a, b)
    a, b, c = ours
    assert c.tolist() == ours[2].tolist()
    for function in (len, iter, list):
        with pytest.raises(TypeError, match="0-d tensor"):
            function(npmlp.tensor(1.0))


def test_a_tensor_is_a_key_by_identity() -> None:
    x, y = npmlp.ones(2), npmlp.ones(2)
    assert {x: 1, y: 2}[x] == 1
    assert len({x, y, x}) == 2


# ------------------------------------------------------------------------- to Python and NumPy


def test_item_and_conversions_give_python_numbers() -> None:
    for dtype in DTYPES:
        for shape in [(), (1,), (1, 1)]:
            ours, theirs = both(numbers(shape, dtype, seed=3))
            assert type(ours.item()) is type(theirs.item())
            assert ours.item() == theirs.item()
            assert (int(ours), float(ours), bool(ours)) == (
                int(theirs),
                float(theirs),
                bool(theirs),
            )
    assert npmlp.tensor(2.5, requires_grad=True).item() == 2.5
    assert f"{npmlp.tensor(2.125):.2f} {npmlp.tensor(3):04d}" == "2.12 0003"
    assert [10, 20, 30][npmlp.tensor(1)] == 20
    assert list(range(npmlp.tensor(2))) == [0, 1]


def test_what_has_several_entries_is_no_number() -> None:
    x = npmlp.ones(2, 3)
    with pytest.raises(ShapeError, match="item: the tensor has 6 entries, expected one"):
        x.item()
    with pytest.raises(ShapeError, match=r"truth of a tensor of shape \(2, 3\).*\.any\(\)"):
        bool(x)
    with pytest.raises(ShapeError, match="ambiguous"):
        bool(npmlp.zeros(0))
    with pytest.raises(ShapeError, match="6 entries"):
        float(x)
    with pytest.raises(TypeError, match="only an integer tensor of one entry"):
        [1, 2][npmlp.tensor(1.0)]


def test_tolist_and_numpy_share_or_copy() -> None:
    array = numbers((2, 3))
    x = npmlp.from_numpy(array)
    assert x.tolist() == array.tolist()
    assert npmlp.tensor(3).tolist() == 3
    assert x.numpy() is array
    x.add_(1)
    assert x.tolist() == array.tolist()
    assert np.shares_memory(np.asarray(x), array)
    assert not np.shares_memory(np.array(x), array)
    assert np.asarray(x, np.float32).dtype == np.float32


def test_numpy_leaves_a_tensor_on_its_right_alone() -> None:
    with pytest.raises(TypeError):
        np.ones(2) * npmlp.ones(2)
    with pytest.raises(TypeError):
        np.exp(npmlp.ones(2))
    assert (np.float32(2) * npmlp.ones(2)).tolist() == [2, 2]
    assert (npmlp.ones(2) * np.float64(2)).dtype is npmlp.float32


def test_casts_between_all_dtypes() -> None:
    methods = ("float", "double", "long", "byte", "bool")
    for dtype in DTYPES:
        x = np.abs(numbers((2, 3), dtype)) if dtype.startswith("float") else numbers((2, 3), dtype)
        for method in methods:
            assert_same_outcome(lambda lib, x, m=method: getattr(x, m)(), x)
        for target in DTYPES:
            assert_same_outcome(lambda lib, x, d=target: x.to(getattr(lib, d)), x)
            assert_same_outcome(lambda lib, x, d=target: x.type(getattr(lib, d)), x)


def test_to_takes_dtypes_devices_and_tensors() -> None:
    x = npmlp.ones(2)
    for same in (x.to("cpu"), x.to(npmlp.float32), x.to(x), x.float(), x.cpu(), x.to(device="cpu")):
        assert same is x
    assert x.to(npmlp.device("cpu"), npmlp.float64).dtype is npmlp.float64
    assert x.to(dtype=npmlp.int64).dtype is npmlp.int64
    assert x.type_as(npmlp.arange(2)).dtype is npmlp.int64
    assert x.to("cpu", copy=True) is not x
    with pytest.raises(OutsideSubsetError, match="device 'cuda': npmlp computes on the CPU"):
        x.to("cuda")
    with pytest.raises(DTypeError, match="to: dtype float16 is outside"):
        x.to(np.float16)


def test_gradients_go_back_through_casts() -> None:
    assert_same_gradients(lambda lib, x: x.float().double() * 2, numbers((3,)))
    ours, theirs = both(numbers((3,), "float32"), requires_grad=True)
    for x in (ours, theirs):
        (x.double() * 2).sum().backward()
    assert_same(ours.grad, theirs.grad)


def test_deepcopy_copies_leaves_alone() -> None:
    x = npmlp.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    twin = copy.deepcopy([x, x])
    assert twin[0] is twin[1]
    assert twin[0].requires_grad
    assert twin[0].grad.tolist() == [2, 2, 2]
    assert not np.shares_memory(twin[0].detach().numpy(), x.detach().numpy())
    assert not np.shares_memory(twin[0].grad.numpy(), x.grad.numpy())
    with pytest.raises(GraphError, match="only leaves can be copied"):
        copy.deepcopy(x * 2)


def test_tensors_are_not_pickled() -> None:
    with pytest.raises(OutsideSubsetError, match=r"npmlp.save"):
        pickle.dumps(npmlp.ones(2))


def test_what_is_outside_the_subset_says_so() -> None:
    x = npmlp.ones(2)
    with pytest.raises(OutsideSubsetError, match=r"Tensor.cumprod: npmlp does not have it.*numpy"):
        x.cumprod(0)
    assert not hasattr(x, "fft")
    with pytest.raises(OutsideSubsetError, match=r"npmlp.einsum: npmlp does not have it"):
        npmlp.einsum("ij->ji", x)
    with pytest.raises(OutsideSubsetError, match=r"use npmlp.tensor\(data\)"):
        npmlp.Tensor([1.0])


def test_logic_and_tests_of_entries() -> None:
    a, b = numbers((2, 3), "bool"), numbers((2, 3), "bool", seed=1)
    for function in (
        lambda lib, a, b: a & b, lambda lib, a, b: a | b, lambda lib, a, b: ~a,
        lambda lib, a, b: a.any(), lambda lib, a, b: a.all(), lambda lib, a, b: a & True,
    ):  # fmt: skip
        assert_same_outcome(function, a, b)
    x = np.array([1.0, np.nan, np.inf, -np.inf])
    assert_same_outcome(lambda lib, x: (x.isnan(), x.isfinite()), x)


# ------------------------------------------------------------------------------------- indexing

X = np.arange(120.0).reshape(2, 3, 4, 5)
POSITIONS, SOME, GRID = np.array([0, 2]), np.array([True, False, True]), np.array([[0], [1]])
FULL = np.random.default_rng(0).random((2, 3, 4, 5)) < 0.5
PAIRS = np.array([[False, True, False], [True, False, True]])
s = slice

VIEWS = [
    0, -1, s(None), s(1, None), s(0, 10), s(None, None, 2), s(2, 1), s(-1, None), Ellipsis, None,
    (), (0, 1), (0, s(None), 1), (Ellipsis, 0), (0, Ellipsis, 0), (None, 0, None),
    (s(None), None, 0),
    (0, 1, 2, 3), (s(1), s(1, 3), s(None, None, 3)), np.int64(1), np.array(1), (np.int32(1), 0),
]  # fmt: skip
COPIES = [
    [0, 1], [1, 1, 0], [-1], [], range(2), POSITIONS[:1], (s(None), POSITIONS),
    ([0, 1], [0, 2]), ([0, 1], s(None), [0, 2]), (s(None), POSITIONS, [1, 1]),
    (s(None), POSITIONS, s(None), [1, 1]), (GRID, POSITIONS), (s(None), [[0, 1], [1, 2]]),
    (Ellipsis, [0, 3]), ([0, 1], Ellipsis, [0, 3]), (None, [0, 1]), ([0, 1], None, [0, 2]),
    (s(0, 1), POSITIONS), (s(0, 1), POSITIONS, s(None, None, 2)), ([0, 1], None),
    (0, s(None), POSITIONS), (0, POSITIONS, s(None), 1), (POSITIONS[:1], 0, s(None), [1]),
    (s(None), 0, [1, 2], 1), (0, None, s(None), POSITIONS), (Ellipsis, 0, POSITIONS[:1]),
    FULL, (s(None), SOME), (0, SOME), (PAIRS, 0), (PAIRS, s(None), [0, 1, 3]), PAIRS[:, 0],
    ([True, False], POSITIONS[:1]), (s(None), SOME, SOME[[0, 1, 1, 0]]), True, False, (True, 0),
    np.zeros((2, 3), bool),
]  # fmt: skip
REFUSED = [2, -3, (0, 0, 0, 0, 0), (s(None), 3), [2], [[0, 3]], 1.5, "a", (0, 1.0), SOME,
           s(None, None, -1), (s(None), [0, 4]), (FULL, 0)]  # fmt: skip


def _for(library: Any, index: Any) -> Any:
    """An index with arrays as tensors of a library."""
    if isinstance(index, tuple):
        return tuple(_for(library, part) for part in index)
    if isinstance(index, np.ndarray):
        return library.from_numpy(index.copy())
    return index


@pytest.mark.parametrize("index", [*VIEWS, *COPIES], ids=str)
def test_indexing_and_its_gradient(index: Any) -> None:
    assert_same_gradients(lambda lib, x: x[_for(lib, index)] * 1, X)
    taken = npmlp.from_numpy(X)[_for(npmlp, index)]
    if taken.numel():
        is_view = any(index is view for view in VIEWS)
        assert np.shares_memory(taken.numpy(), X) == is_view


@pytest.mark.parametrize("index", [*VIEWS, *COPIES], ids=str)
def test_assigning_to_an_index(index: Any) -> None:
    place = tuple(torch.from_numpy(X)[_for(torch, index)].shape)

    def assign(value: Any) -> Callable[[Any, Any], Any]:
        def function(lib: Any, x: Any) -> Any:
            x[_for(lib, index)] = _for(lib, value)
            return x

        return function

    assert_same_outcome(assign(-7.5), X)
    if isinstance(index, list) and index == [1, 1, 0]:
        return  # which of two values for one entry stays is not said
    assert_same_outcome(assign(numbers(place)), X)
    assert_same_outcome(assign(numbers((1, 1, *place))), X)
    if place:
        assert_same_outcome(assign(numbers(place[-1:])), X)
        assert_same_outcome(assign(numbers((*place[:-1], 1))), X)


ASSIGNED = [0, (s(None), 1), (Ellipsis, s(1, 3)), [0], FULL, (0, s(None), [1, 2])]


@pytest.mark.parametrize("index", ASSIGNED, ids=str)
def test_gradients_of_an_assignment(index: Any) -> None:
    place = tuple(torch.from_numpy(X)[_for(torch, index)].shape)

    def function(lib: Any, x: Any, value: Any) -> Any:
        y = x * 2
        y[_for(lib, index)] = value
        return y

    for shape in (place, (), place[-1:]):
        # 1e-14: where the value was broadcast its gradient is a sum of up to 60 entries
        assert_same_gradients(function, X, numbers(shape), tol=1e-14)


@pytest.mark.parametrize("index", REFUSED, ids=str)
def test_an_index_that_does_not_fit_is_refused(index: Any) -> None:
    for ours in (npmlp.from_numpy(X.copy()), npmlp.from_numpy(X.copy()).requires_grad_() * 1):
        with pytest.raises((ShapeError, DTypeError)):
            ours[_for(npmlp, index)]
        with pytest.raises((ShapeError, DTypeError)):
            ours[_for(npmlp, index)] = 0
    with pytest.raises((IndexError, TypeError, ValueError)):
        torch.from_numpy(X)[_for(torch, index)]


def test_errors_of_indexing_say_what_to_do() -> None:
    x = npmlp.ones(2, 3)
    with pytest.raises(ShapeError, match=r"indexing a tensor of shape \(2, 3\): index 2 is out of"):
        x[2]
    with pytest.raises(DTypeError, match=r"dtype uint8.*\.long\(\), a mask with \.bool\(\)"):
        x[npmlp.tensor([0, 1], dtype=npmlp.uint8)]
    with pytest.raises(DTypeError, match="dtype float32, expected int64 or bool"):
        x[npmlp.tensor([0.0])]
    with pytest.raises(ShapeError, match="step must be positive"):
        x[::-1]
    with pytest.raises(ShapeError, match=r"a value of shape \(2,\) does not fit the place"):
        x[0] = npmlp.ones(2)
    with pytest.raises(GraphError, match=r"clone\(\) it first"):
        npmlp.ones(1).expand(3)[0] = 2


def test_an_assigned_value_takes_the_tensors_dtype() -> None:
    for dtype, value in itertools.product(DTYPES, (2, 3.7, True)):
        assert_same_outcome(
            lambda lib, x, v=value: (x.__setitem__(0, v), x)[1], numbers((2, 3), dtype)
        )
    for a, b in itertools.product(DTYPES, DTYPES):
        value = np.abs(numbers((3,))).astype(b)
        assert_same_outcome(
            lambda lib, x, y: (x.__setitem__(0, y), x)[1], numbers((2, 3), a), value
        )


# ------------------------------------------------------------------------------------- in place


def test_changes_in_place_return_the_tensor_itself() -> None:
    x = npmlp.ones(3)
    array = x.numpy()
    for change in (x.add_(1), x.sub_(0.5), x.mul_(2), x.div_(3), x.pow_(2), x.clamp_(0, 0.9),
                   x.relu_(), x.copy_(npmlp.arange(3)), x.fill_(3), x.zero_(), x.uniform_(),
                   x.normal_(), x.detach_()):  # fmt: skip
        assert change is x
    assert x.numpy() is array
    x += 1
    x *= 2
    x -= 1
    x /= 2
    assert x.numpy() is array


def test_a_result_that_does_not_fit_in_place_is_refused() -> None:
    for dtype in ("int64", "uint8", "bool"):
        for value in (0.5, 2):
            assert_same_outcome(lambda lib, x, v=value: x.add_(v), numbers((2, 3), dtype))
    with pytest.raises(DTypeError, match=r"add_: a result of torch.float32 does not fit in place"):
        npmlp.arange(3).add_(0.5)
    with pytest.raises(ShapeError, match=r"mul_: the result has shape \(2, 3\) and does not fit"):
        npmlp.ones(3).mul_(npmlp.ones(2, 3))
    with pytest.raises(GraphError, match="expanded or read-only"):
        npmlp.ones(1).expand(3).add_(1)


def test_a_change_of_a_view_reaches_its_base() -> None:
    x = npmlp.zeros(2, 3)
    x[0].fill_(1)
    x[:, 2].add_(5)
    x.T[1] = 9
    x.view(-1)[3] = 4
    row = x[1]
    row += 1
    assert x.tolist() == [[1, 9, 6], [5, 10, 6]]
    x[x > 5] = 0
    x[0, 0] += 1
    assert x.tolist() == [[2, 0, 0], [5, 0, 0]]
