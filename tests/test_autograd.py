"""The tape beside PyTorch's: what is recorded, how gradients meet, and what is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import LIBRARIES, assert_same, assert_same_gradients, both, leaf, numbers

import npmlp
from npmlp import autograd
from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError

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
