"""autograd.grad beside PyTorch's: gradients returned, and none written to `.grad`."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import LIBRARIES, assert_same, both, leaf, numbers

import npmlp
from npmlp import autograd
from npmlp.errors import GraphError


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
