"""Module keeps, lists, converts and prints what it consists of as PyTorch's does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import assert_same_bits, both, net

import npmlp
from npmlp import nn


@pytest.mark.parametrize("remove_duplicate", [True, False])
@pytest.mark.parametrize("what", ["named_parameters", "named_buffers", "named_modules"])
def test_names_come_in_pytorchs_order_and_shared_ones_as_there(
    what: str, remove_duplicate: bool
) -> None:
    ours, theirs = both(
        lambda m: [
            name for name, _ in getattr(net(m), what)(prefix="p", remove_duplicate=remove_duplicate)
        ]
    )
    assert ours == theirs
    assert len(ours) > 1


def test_parameters_buffers_children_and_modules_agree_with_their_named_forms() -> None:
    model = net(npmlp)
    for plain, named in [("parameters", "named_parameters"), ("buffers", "named_buffers"),
                         ("children", "named_children"), ("modules", "named_modules")]:  # fmt: skip
        listed, pairs = list(getattr(model, plain)()), list(getattr(model, named)())
        assert len(listed) == len(pairs)
        assert all(a is b for a, (_, b) in zip(listed, pairs, strict=True))
    assert [n for n, _ in model.named_children()] == [n for n, _ in net(torch).named_children()]
    assert [p.shape for p in model.parameters(recurse=False)] == [(1,)]
    assert [n for n, _ in model.named_buffers(recurse=False)] == ["mean", "scratch"]


def test_a_layer_under_two_names_is_one_child_and_one_module_as_in_pytorch() -> None:
    def lines(m: Any) -> Any:
        layer = m.nn.Linear(1, 1)
        model = m.nn.Sequential(layer, m.nn.ReLU(), layer)
        called: list[str] = []
        model.apply(lambda module: called.append(type(module).__name__))
        return [n for n, _ in model.named_children()], called, list(model.state_dict()), repr(model)

    ours, theirs = both(lines)
    assert ours == theirs


def test_state_dict_has_pytorchs_keys_and_values_and_shares_memory() -> None:
    ours, theirs = both(net)
    assert_same_bits(ours.state_dict(), theirs.state_dict())
    assert list(ours.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    ours.state_dict()["gain"].fill_(5.0)
    assert ours.gain.item() == 5.0
    kept = ours.state_dict(keep_vars=True)["gain"]
    assert kept is ours.gain
    assert not ours.state_dict()["gain"].requires_grad


def test_repr_is_pytorchs() -> None:
    ours, theirs = both(net)
    assert repr(ours) == repr(theirs)
    with_lines = both(
        lambda m: type("Two", (m.nn.Module,), {"extra_repr": lambda self: "a=1\n\nb=2"})()
    )
    assert repr(with_lines[0]) == repr(with_lines[1])
    with_lines[0].child, with_lines[1].child = (m.nn.ReLU() for m in (npmlp, torch))
    assert repr(with_lines[0]) == repr(with_lines[1])


def test_a_parameter_prints_as_in_pytorch() -> None:
    ours, theirs = both(lambda m: m.nn.Linear(3, 2).weight)
    assert repr(ours) == repr(theirs)
    assert repr(nn.Parameter()) == repr(torch.nn.Parameter())


# ------------------------------------------------------------------------- changing all of them


def test_train_and_eval_reach_every_module() -> None:
    model = net(npmlp)
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.blocks.train()
    assert model.first.training  # shared with the list
    assert not model.training
    assert not model.head.training


def test_requires_grad_zero_grad_and_apply() -> None:
    model = net(npmlp)
    x = npmlp.ones(2, 4)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert model.requires_grad_(False) is model
    assert not model(x).requires_grad

    seen = both(lambda m: [])
    for names, m in zip(seen, (npmlp, torch), strict=True):
        net(m).apply(lambda module, names=names: names.append(type(module).__name__))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("how", [
    lambda module, m: module.double(), lambda module, m: module.to(m.float64),
    lambda module, m: module.to("cpu", m.float64), lambda module, m: module.to(dtype=m.float64),
    lambda module, m: module.to(m.ones(1, dtype=m.float64)),
    lambda module, m: module.double().float(), lambda module, m: module.to("cpu").cpu(),
])  # fmt: skip
def test_to_double_and_float_convert_in_place_what_has_floats(how: Any) -> None:
    def lines(m: Any) -> Any:
        module = net(m)
        module.register_buffer("count", m.tensor(3))
        module.gain.grad = m.ones(1)
        before = module.gain
        assert how(module, m) is module
        assert module.gain is before  # an optimizer holds it
        assert module.gain.grad.dtype == module.gain.dtype
        assert module.tied is before
        return module

    ours, theirs = both(lines)
    assert_same_bits(ours.state_dict(), theirs.state_dict())


# ------------------------------------------------------------------------------------ Parameter


def test_a_parameter_shares_memory_and_is_a_leaf_with_a_gradient() -> None:
    def lines(m: Any) -> Any:
        data = m.ones(2)
        computed = (m.ones(2, requires_grad=True) * 2).detach()
        p = m.nn.Parameter(data)
        data.fill_(4.0)
        with m.no_grad():
            q = m.nn.Parameter(computed)
        return [
            p.tolist(), p.is_leaf, p.requires_grad, q.requires_grad, isinstance(p, m.Tensor),
            isinstance(p.data, m.nn.Parameter), m.nn.Parameter(data, False).requires_grad,
            isinstance(p + 1, m.nn.Parameter), isinstance(p.detach(), m.nn.Parameter),
            m.nn.Parameter(m.tensor([1]), requires_grad=False).requires_grad,
        ]  # fmt: skip

    ours, theirs = both(lines)
    assert ours == theirs


@pytest.mark.parametrize("data", [np.ones(2), [1.0], npmlp.tensor([1, 2])])
def test_a_parameter_of_what_is_no_float_tensor_is_refused(data: Any) -> None:
    with pytest.raises(npmlp.errors.DTypeError, match="Parameter: data"):
        nn.Parameter(data)
