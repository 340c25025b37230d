"""Changes in place beside PyTorch's: which are recorded, and what cannot be walked after one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import LIBRARIES, assert_same, assert_same_gradients, both, leaf, numbers

import npmlp
from npmlp import autograd
from npmlp.errors import GraphError
from npmlp.ops import norm

# ---------------------------------------------------------------------------- changes in place

IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "add_": lambda lib, y: y.add_(2, alpha=3),
    "sub_": lambda lib, y: y.sub_(lib.ones(3, dtype=lib.float64)),
    "mul_": lambda lib, y: y.mul_(0.5),
    "div_": lambda lib, y: y.div_(3),
    "pow_": lambda lib, y: y.abs().add_(1).pow_(2),
    "clamp_": lambda lib, y: y.clamp_(-0.5, 0.5),
    "relu_": lambda lib, y: y.relu_(),
    "zero_": lambda lib, y: y.zero_(),
    "neg_": lambda lib, y: y.neg_(),
    "abs_": lambda lib, y: y.abs_(),
    "sign_": lambda lib, y: y.sign_(),
    "square_": lambda lib, y: y.square_(),
    "exp_": lambda lib, y: y.exp_(),
    "log_": lambda lib, y: y.abs().log_(),
    "sqrt_": lambda lib, y: y.abs().sqrt_(),
    "sin_": lambda lib, y: y.sin_(),
    "cos_": lambda lib, y: y.cos_(),
    "tan_": lambda lib, y: y.tan_(),
    "sigmoid_": lambda lib, y: y.sigmoid_(),
    "tanh_": lambda lib, y: y.tanh_(),
    "floor_": lambda lib, y: y.floor_(),
    "ceil_": lambda lib, y: y.ceil_(),
    "round_": lambda lib, y: y.round_(decimals=1),
    "clip_": lambda lib, y: y.clip_(max=0.1),
    "masked_fill_": lambda lib, y: y.masked_fill_(lib.tensor([True, False, True]), 2),
    "scatter_": lambda lib, y: y.scatter_(0, lib.tensor([2]), 4.0),
    "fill_": lambda lib, y: y.fill_(2),
    "copy_": lambda lib, y: y.copy_(lib.ones(3, dtype=lib.float64) * 2),
    "+=": lambda lib, y: y.__iadd__(1),
    "*=": lambda lib, y: y.__imul__(2),
    "setitem": lambda lib, y: (y.__setitem__(0, 7.0), y)[1],
    "setitem of a tensor": lambda lib, y: (y.__setitem__([0, 2], (y + y)[:2]), y)[1],
    "mul_ by another": lambda lib, y: y.mul_(y.detach() + 1).mul_(y + 1),
    "detach_": lambda lib, y: y + y.clone().detach_(),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_changes_in_place_are_recorded(name: str) -> None:
    def function(lib: Any, x: Any) -> Any:
        return IN_PLACE[name](lib, x * 2) * x

    assert_same_gradients(function, numbers((3,)), tol=1e-15)


def test_values_drawn_in_place_cut_the_gradient() -> None:
    for draw in (
        lambda y: y.normal_(), lambda y: y.uniform_(-1, 1), lambda y: y.bernoulli_(0.5),
    ):  # fmt: skip
        x = leaf(3)
        y = x * 2
        draw(y)
        (y * x).sum().backward()
        assert np.array_equal(x.grad.numpy(), y.detach().numpy())  # nothing through y = 2 x


def test_a_tensor_without_gradient_takes_one_in_place() -> None:
    def function(lib: Any, x: Any) -> Any:
        total = lib.zeros(3, dtype=lib.float64)
        for _ in range(3):
            total += x * x
        total[0] = x[1]
        return total

    assert_same_gradients(function, numbers((3,)), tol=1e-15)


def test_a_result_that_numpy_made_a_view_can_be_changed_in_place() -> None:
    """The values of max(dim) are a reshaped array inside, but no view of another tensor."""

    def function(lib: Any, x: Any) -> Any:
        y = x.max(1).values
        y += x.sum()
        return y

    assert_same_gradients(function, numbers((3, 4)), tol=1e-14)


def test_retain_grad_follows_a_change_in_place() -> None:
    seen = []
    for lib, x in zip(LIBRARIES, both(numbers((3,)), True), strict=True):
        y = x * 2
        y.retain_grad()
        y.mul_(3)
        (y * lib.from_numpy(numbers((3,), seed=1))).sum().backward()
        seen.append(y.grad)
    assert_same(*seen)


def test_a_leaf_is_changed_in_place_only_under_no_grad() -> None:
    x = leaf(3)
    for change in (
        lambda: x.add_(1), lambda: x.zero_(), lambda: x.normal_(), lambda: x.uniform_(),
        lambda: x.__setitem__(0, 1.0), lambda: x.copy_(npmlp.ones(3).double()), lambda: x.relu_(),
    ):  # fmt: skip
        with pytest.raises(GraphError, match=r"a leaf that requires a gradient.*no_grad\(\)"):
            change()
    with npmlp.no_grad():
        x.fill_(2)
        x[0] = 5
        x -= 1
    assert x.tolist() == [4, 1, 1]
    assert x.is_leaf
    assert x.requires_grad


def test_a_recorded_change_of_a_view_is_refused() -> None:
    x = leaf(3)
    y = x * 2
    with pytest.raises(GraphError, match="in-place change of a view"):
        y[:2].mul_(2)
    with pytest.raises(GraphError, match=r"a leaf|a view"):
        x[0].zero_()
    buffer = npmlp.zeros(3, dtype=npmlp.float64)
    with pytest.raises(GraphError, match="in-place change of a view"):
        buffer[:2].add_(x[:2])
    buffer[0].add_(1)  # not recorded
    assert buffer.tolist() == [1, 0, 0]


def test_a_view_made_before_a_recorded_change_is_refused_after_it() -> None:
    """It still carries the graph, or the lack of one, of the values from before."""
    x = leaf(3)
    for y in (x * 2, npmlp.zeros(3, dtype=npmlp.float64)):
        view = y[:2]
        y.add_(x)
        with pytest.raises(GraphError, match="changed in place after the view was made"):
            _ = view * 2
        assert (y[:2] * 2).requires_grad
        with npmlp.no_grad():
            assert (view * 2).tolist() == (y[:2] * 2).tolist()


# ------------------------------------------------------- changes of what backward still needs


def test_a_saved_input_that_was_changed_is_refused() -> None:
    x = leaf(3)
    w = npmlp.ones(3, dtype=npmlp.float64)
    y = (x * w).sum()
    w.add_(1)
    with pytest.raises(GraphError, match="input 1 of mul was changed in place after it was used"):
        y.backward()


def test_a_saved_output_that_was_changed_is_refused() -> None:
    x = leaf(3)
    y = x.exp()
    y.mul_(2)
    with pytest.raises(GraphError, match="its output of exp was changed in place"):
        y.sum().backward()


def test_a_saved_input_changed_through_a_view_or_its_base_is_refused() -> None:
    x, base = leaf(3), npmlp.ones(2, 3, dtype=npmlp.float64)
    y = (x * base[0]).sum()
    base.zero_()
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()
    y = (x * base).sum()
    base[1].fill_(3)
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()
    y = (x * base).sum()
    base.detach()[0] = 2
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()
    x = leaf(3)
    y = (x * x).sum()
    with npmlp.no_grad():
        x.add_(1)
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


def test_an_index_may_be_changed_after_it_was_used() -> None:
    x, mask = leaf(3), npmlp.tensor([True, False, True])
    y = x[mask].sum()
    mask.fill_(False)
    y.backward()
    assert x.grad.tolist() == [1, 0, 1]


def test_changing_what_backward_does_not_need_is_allowed() -> None:
    def function(lib: Any, x: Any) -> Any:
        a = x * 2
        total = a.sum() + a.mean() + a.reshape(-1)[0] + lib.cat([a, a]).sum()
        a.add_(1)  # sums and shapes read nothing of it
        return total

    assert_same_gradients(function, numbers((3,)), tol=1e-15)


def test_reading_only_changes_nothing() -> None:
    x = leaf(3)
    y = x.exp()
    for read in (repr, len, list, npmlp.Tensor.tolist, npmlp.Tensor.clone, npmlp.Tensor.detach):
        read(y)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())


def test_of_several_outputs_only_the_one_that_was_changed_is_refused() -> None:
    x = npmlp.from_numpy(np.random.default_rng(0).standard_normal((4, 3))).requires_grad_()
    out, mean, _ = autograd.apply(norm.BATCH_NORM, x, None, None, eps=1e-5)
    out.relu_()  # BatchNorm keeps the mean, and not its output
    out.sum().backward()
    out, mean, _ = autograd.apply(norm.BATCH_NORM, x, None, None, eps=1e-5)
    mean.add_(1)
    with pytest.raises(GraphError, match="its output of batch_norm was changed in place"):
        out.sum().backward()
