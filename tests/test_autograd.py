"""The tape beside PyTorch's: what is recorded, how gradients meet, and what is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import assert_same, assert_same_gradients, both, numbers

import npmlp
from npmlp import autograd
from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError
from npmlp.ops import norm

LIBRARIES = (npmlp, torch)


def leaf(*shape: int, seed: int = 0) -> npmlp.Tensor:
    return npmlp.from_numpy(numbers(shape, seed=seed)).requires_grad_()


# -------------------------------------------------------------------------- what is recorded


def test_a_tensor_computed_from_one_with_a_gradient_requires_one() -> None:
    x, plain = leaf(2), npmlp.ones(2, dtype=npmlp.float64)
    assert x.is_leaf
    assert x.grad_fn is None
    y = x * plain
    assert (y.requires_grad, y.is_leaf) == (True, False)
    assert y.grad_fn is not None
    assert not (plain * 2).requires_grad
    assert (plain * 2).is_leaf
    for result in (x > 0, x.argmax(), x.max(0).indices, x.long(), x.detach(), x.isnan()):
        assert not result.requires_grad
    assert x.max(0).values.requires_grad


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf(2)
    assert npmlp.is_grad_enabled()
    with npmlp.no_grad():
        assert not npmlp.is_grad_enabled()
        assert not (x * 2).requires_grad
        with npmlp.enable_grad():
            assert (x * 2).requires_grad
        assert not npmlp.is_grad_enabled()
        assert npmlp.zeros(2, requires_grad=True).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), npmlp.no_grad():
        _ = 1 // 0
    assert npmlp.is_grad_enabled()


def test_no_grad_and_enable_grad_are_decorators() -> None:
    x = leaf(2)

    @npmlp.no_grad()
    def without(factor: float) -> Any:
        """Its own docstring."""
        return x * factor, with_grad(factor)

    @npmlp.enable_grad()
    def with_grad(factor: float) -> Any:
        return x * factor

    @npmlp.no_grad
    def bare() -> Any:
        return x * 2

    outside, inside = without(2.0)
    assert (outside.requires_grad, inside.requires_grad) == (False, True)
    assert without.__doc__ == "Its own docstring."
    assert not bare().requires_grad
    assert npmlp.is_grad_enabled()


def test_leaves_and_only_floats_may_change_requires_grad() -> None:
    x = npmlp.ones(2)
    assert x.requires_grad_() is x
    x.requires_grad = False
    assert not x.requires_grad
    y = leaf(2) * 2
    with pytest.raises(GraphError, match=r"use detach\(\)"):
        y.requires_grad_(False)
    assert y.requires_grad_() is y
    with pytest.raises(DTypeError, match=r"only floating-point tensors.*int64"):
        npmlp.arange(3).requires_grad_()
    with pytest.raises(DTypeError, match="only floating-point"):
        npmlp.tensor([1], requires_grad=True)


def test_detach_shares_memory_and_clone_passes_gradients_on() -> None:
    x = leaf(3)
    assert np.shares_memory(x.detach().numpy(), x.detach().numpy())
    assert_same_gradients(lambda lib, x: x.clone() * x.detach(), numbers((3,)))
    with pytest.raises(GraphError, match=r"use x.detach\(\).numpy\(\)"):
        x.numpy()
    with pytest.raises(GraphError, match="detach"):
        np.asarray(x)


# ------------------------------------------------------------------------- how gradients meet


def test_gradients_add_up_over_backwards_until_they_are_reset() -> None:
    ours, theirs = both(numbers((3,)), requires_grad=True)
    for x in (ours, theirs):
        (x * x).sum().backward()
        (x * 3).sum().backward()
    assert_same(ours.grad, theirs.grad)
    held = ours.grad
    (ours * 3).sum().backward()
    assert held is ours.grad  # added to in place, as an optimizer that holds it expects
    ours.grad = None
    (ours * 2).sum().backward()
    assert ours.grad.tolist() == [2, 2, 2]


MEETINGS: dict[str, Callable[[Any, Any], Any]] = {
    "one tensor twice": lambda lib, x: x * x,
    "one tensor three times": lambda lib, x: lib.where(x > 0, x, x * x),
    "a diamond": lambda lib, x: (lambda a: lib.exp(a) * lib.tanh(a) + a)(x * 2),
    "a stack of diamonds": lambda lib, x: (lambda a: (a * x + a) * (a - x))((x + 1) * (x - 1)),
    "one tensor in a list": lambda lib, x: lib.cat([x, x * x, x]) * lib.cat([x, x, x]),
    "views of one tensor": lambda lib, x: x[0] * x[1] + x[:, :2].sum() * x.T.reshape(-1)[:4],
    "a scalar": lambda lib, x: x[0, 0] * x[0, 0] + x[0, 0],
    "both sides of a product": lambda lib, x: x @ x.T,
}


@pytest.mark.parametrize("name", MEETINGS)
def test_gradients_that_meet_are_added(name: str, kernels: str) -> None:
    # 1e-14: some roundings, where PyTorch's products of matrices add in another order
    assert_same_gradients(MEETINGS[name], numbers((3, 4)), tol=1e-14)


def test_gradients_meet_in_pytorchs_order_to_the_last_bit() -> None:
    """A float32 sum depends on its order. Here 300 nodes hand gradients to 40 tensors."""
    rng = np.random.default_rng(5)
    array = rng.standard_normal((7,)).astype(np.float32)
    wires = [(rng.integers(0, 40, 2), rng.standard_normal()) for _ in range(300)]

    def function(lib: Any, x: Any) -> Any:
        values = [x * float(i + 1) for i in range(40)]
        for i, ((a, b), factor) in enumerate(wires):
            values[i % 40] = values[a] * float(factor) + values[b] * 0.5 - x
        result = values[0]
        for value in values[1:]:
            result = result + value
        return result

    assert_same_gradients(function, array)  # no tolerance


def test_a_gradient_of_no_dimensions_is_a_tensor() -> None:
    x = npmlp.tensor(3.0, requires_grad=True)
    (x * x + x).backward()
    assert isinstance(x.grad.numpy(), np.ndarray)
    (x * x).backward()
    assert x.grad.item() == 13
    x.grad.zero_()
    assert x.grad.item() == 0


def test_leaves_do_not_share_the_memory_of_their_gradients() -> None:
    x, y = leaf(3), leaf(3, seed=1)
    s = x + y
    s.retain_grad()
    gradient = npmlp.ones(3, dtype=npmlp.float64)
    s.backward(gradient)
    arrays = [t.grad.numpy() for t in (x, y, s)] + [gradient.numpy()]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)


def test_deep_graphs_need_no_recursion() -> None:
    x = npmlp.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y  # freeing the chain must not recurse, either


def test_the_graph_is_freed_after_backward_and_with_its_last_tensor() -> None:
    x = leaf(3)
    product = x * npmlp.ones(3, dtype=npmlp.float64)
    y = product.exp()
    kept = weakref.ref(y.grad_fn.outs[0])
    y.sum().backward()
    assert y.grad_fn.outs == ()
    del y
    gc.collect()
    assert kept() is None
    node = weakref.ref(x)
    del x, product
    gc.collect()
    assert node() is None


# --------------------------------------------------------------------------- starting backward


def test_backward_on_what_is_not_a_scalar_needs_a_gradient() -> None:
    x = leaf(2, 3)
    y = x * 2
    with pytest.raises(GraphError, match=r"shape \(2, 3\), and only a scalar can start.*gradient="):
        y.backward()
    with pytest.raises(ShapeError, match=r"gradient has shape \(3,\), expected the tensor's"):
        y.backward(npmlp.ones(3))
    y.backward(gradient=npmlp.full((2, 3), 0.5))
    assert x.grad.tolist() == [[1.0] * 3] * 2
    assert x.grad.dtype is npmlp.float64
    one = leaf(1, 1)
    (one * 3).backward()
    assert one.grad.tolist() == [[3.0]]


def test_backward_from_a_leaf_gives_it_its_own_gradient() -> None:
    x = leaf(1)
    x.backward()
    assert x.grad.tolist() == [1.0]


def test_backward_where_nothing_was_recorded_is_refused() -> None:
    with pytest.raises(GraphError, match=r"does not require a gradient.*requires_grad=True"):
        npmlp.ones(1).backward()
    with npmlp.no_grad():
        y = leaf(1) * 2
    with pytest.raises(GraphError, match="do not compute it under no_grad"):
        y.backward()


def test_backward_twice_is_refused_unless_the_graph_is_retained() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert np.allclose(x.grad.numpy(), 4 * x.detach().numpy(), rtol=1e-15)
    with pytest.raises(GraphError, match=r"mul was already walked.*retain_graph=True"):
        y.backward()


def test_nodes_that_keep_no_arrays_may_be_walked_twice() -> None:
    def twice(lib: Any, x: Any) -> Any:
        shared = x.reshape(-1)[1:] + 1
        shared.sum().backward()
        (shared * 2).sum().backward()
        return x

    ours, theirs = (
        twice(lib, x) for lib, x in zip(LIBRARIES, both(numbers((3, 4)), True), strict=True)
    )
    assert_same(ours.grad, theirs.grad)


def test_second_derivatives_are_refused() -> None:
    x = leaf(1)
    with pytest.raises(OutsideSubsetError, match="second derivatives"):
        (x * x).backward(create_graph=True)
    with pytest.raises(GraphError, match="second derivatives"):
        autograd.grad(x * x, x, create_graph=True)


def test_retain_grad_keeps_the_gradient_of_what_is_not_a_leaf() -> None:
    ours, theirs = both(numbers((3,)), requires_grad=True)
    seen = []
    for x in (ours, theirs):
        y = x * 2
        y.retain_grad()
        y.retain_grad()
        z = y * y
        (z + y).sum().backward()
        seen.append(y.grad)
        x.retain_grad()  # a leaf does anyway
    assert_same(*seen)
    assert (ours * 2).grad is None
    with pytest.raises(GraphError, match="retain_grad: this tensor does not require"):
        npmlp.ones(2).retain_grad()


def test_a_gradient_can_be_set_if_it_fits() -> None:
    x = leaf(3)
    x.grad = npmlp.ones(3, dtype=npmlp.float64)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [3, 3, 3]
    with pytest.raises(ShapeError, match=r"grad: got shape \(2,\), expected the tensor's \(3,\)"):
        x.grad = npmlp.ones(2)
    with pytest.raises(DTypeError, match=r"grad: got torch.float32, expected"):
        x.grad = npmlp.ones(3)


# ------------------------------------------------------------------------------ autograd.grad


def test_grad_returns_gradients_and_touches_none() -> None:
    x, w = numbers((4, 3)), numbers((3,), seed=1)
    results = []
    for lib, (x_, w_) in zip(
        LIBRARIES, zip(both(x, True), both(w, True), strict=True), strict=True
    ):
        hidden = lib.tanh(x_ * w_)
        hidden.retain_grad()
        out = (hidden * hidden).sum()
        results.append(lib.autograd.grad(out, [x_, hidden, w_]))
        assert x_.grad is None
        assert w_.grad is None
    # tanh and the sums differ in the last places
    assert_same(*results, tol=1e-14)


def test_grad_takes_cotangents_of_several_outputs() -> None:
    a = numbers((3,))
    results = []
    for lib, x in zip(LIBRARIES, both(a, True), strict=True):
        outputs = [x * 2, lib.exp(x)]
        cotangents = [lib.from_numpy(numbers((3,), seed=s)) for s in (1, 2)]
        results.append(lib.autograd.grad(outputs, x, cotangents))
    assert_same(*results, tol=1e-14)


def test_grad_of_a_leaf_by_itself_and_of_one_asked_for_twice() -> None:
    x = leaf(2)
    (g,) = autograd.grad(x, x, npmlp.ones(2, dtype=npmlp.float64))
    assert g.tolist() == [1, 1]
    a, b = autograd.grad((x * 3).sum(), [x, x])
    assert a.tolist() == b.tolist() == [3, 3]


def test_grad_walks_only_where_it_must() -> None:
    x = leaf(3)
    hidden = (x * x).exp()
    out = (hidden * hidden).sum()
    (g,) = autograd.grad(out, hidden)
    assert np.allclose(g.numpy(), 2 * hidden.detach().numpy())
    hidden.sum().backward()  # what lies below hidden was not walked, and not freed
    assert x.grad is not None


def test_grad_of_what_was_not_used() -> None:
    x, unused = leaf(2), leaf(2, seed=1)
    y = (x * 2).sum()
    with pytest.raises(GraphError, match=r"not used to compute the outputs.*allow_unused"):
        autograd.grad(y, [x, unused], retain_graph=True)
    g, nothing = autograd.grad(y, [x, unused], allow_unused=True)
    assert g.tolist() == [2, 2]
    assert nothing is None
    with pytest.raises(GraphError, match="input 0 does not require a gradient"):
        autograd.grad((x * 2).sum(), npmlp.ones(2))


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
    for draw in (lambda y: y.normal_(), lambda y: y.uniform_(-1, 1)):
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
