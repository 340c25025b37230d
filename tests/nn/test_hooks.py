"""Hooks run when and as PyTorch's do; an error says in which layer it arose."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from layers_beside_torch import both

import npmlp
from npmlp import nn
from npmlp.errors import ShapeError

# ----------------------------------------------------------------------------------------- hooks


def with_hooks(m: Any) -> Any:
    """Hooks of every kind, the order in which they ran, and what came out."""
    layer, ran = m.nn.Linear(2, 2), []

    def note(name: str, result: Any = None) -> Any:
        def hook(module: Any, *args: Any) -> Any:
            assert module is layer
            ran.append((name, len(args)))
            return result(*args) if result else None

        return hook

    layer.register_forward_hook(note("after"))
    layer.register_forward_hook(note("doubles", lambda args, out: out * 2))
    layer.register_forward_hook(note("first", lambda args, out: out + 1), prepend=True)
    layer.register_forward_hook(note("keywords"), with_kwargs=True)
    layer.register_forward_pre_hook(note("before"))
    layer.register_forward_pre_hook(note("earlier", lambda args: args[0] * 3), prepend=True)
    layer.register_forward_pre_hook(
        note("changes", lambda args, kwargs: ((args[0] + 1,), kwargs)), with_kwargs=True
    )
    out = [layer(m.ones(1, 2))]
    removed = layer.register_forward_hook(note("removed"))
    removed.remove()
    removed.remove()
    with layer.register_forward_hook(note("within", lambda args, out: out - 5)):
        out.append(layer(m.ones(1, 2)))
    out.append(layer(m.ones(1, 2)))
    return ran, [o.detach().numpy() for o in out]


def test_hooks_run_in_pytorchs_order_and_change_input_and_output_as_there() -> None:
    ours, theirs = both(with_hooks)
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)  # one product of 2 terms in float32


def test_a_hook_that_is_always_called_runs_although_forward_raises() -> None:
    def lines(m: Any) -> list[str]:
        ran: list[str] = []
        layer = m.nn.Linear(2, 2)
        layer.register_forward_hook(lambda *a: ran.append("always"), always_call=True)
        layer.register_forward_hook(lambda *a: ran.append("else"))
        with pytest.raises((ShapeError, RuntimeError)):
            layer(m.ones(1, 3))
        return ran

    ours, theirs = both(lines)
    assert ours == theirs == ["always"]


def test_a_hook_that_is_always_called_runs_once_where_a_later_one_raises() -> None:
    def lines(m: Any) -> list[str]:
        ran: list[str] = []
        layer = m.nn.ReLU()
        layer.register_forward_hook(lambda *a: ran.append("always"), always_call=True)
        layer.register_forward_hook(lambda *a: 1 / 0)
        layer.register_forward_hook(lambda *a: ran.append("late"), always_call=True)
        with pytest.raises(ZeroDivisionError):
            layer(m.ones(1))
        return ran

    ours, theirs = both(lines)
    assert ours == theirs == ["always", "late"]


def test_an_error_in_a_hook_that_is_always_called_does_not_hide_the_first() -> None:
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *a: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="silenced"), pytest.raises(ShapeError):
        layer(npmlp.ones(1, 3))


# ------------------------------------------------------------------------- errors name the layer


def test_an_error_says_the_path_of_the_layer_in_which_it_arose() -> None:
    model = nn.Sequential(
        OrderedDict(a=nn.Linear(4, 4), b=nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
    )
    with pytest.raises(ShapeError) as caught:
        model(npmlp.ones(3, 4))
    assert str(caught.value) == (
        "b.1 (Linear(5, 2)): input of shape (3, 4) has 4 features in its last dimension, expected 5"
    )
    model.register_forward_hook(lambda *args: None)
    with pytest.raises(ShapeError, match=r"^b\.1 \(Linear\(5, 2\)\): input of shape"):
        model(npmlp.ones(3, 4))


def test_an_error_in_a_module_of_ones_own_says_its_class() -> None:
    class Block(nn.Module):
        def forward(self, x: Any) -> Any:
            return x @ npmlp.ones(7, 7)

    with pytest.raises(ShapeError, match=r"^1 \(Block\): matmul: shapes"):
        nn.Sequential(nn.ReLU(), Block())(npmlp.ones(3, 4))


def test_an_error_of_a_layer_alone_is_the_operations() -> None:
    with pytest.raises(ShapeError, match=r"^Linear\(2, 2\): input"):
        nn.Linear(2, 2)(npmlp.ones(1, 3))
