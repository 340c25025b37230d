"""A module's attributes: what is assigned, replaced, deleted, refused and copied, as in PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from layers_beside_torch import assert_same_bits, both, error_of, net

import npmlp
from npmlp import nn
from npmlp.errors import NpmlpError


def assignments(m: Any) -> list[Any]:
    """After each assignment: the names of parameters, buffers and children, and the state."""
    module, seen = m.nn.Module(), []

    def note() -> None:
        seen.append(
            (
                [n for n, _ in module.named_parameters()],
                [n for n, _ in module.named_buffers()],
                [n for n, _ in module.named_children()],
                list(module.state_dict()),
                list(module._parameters),
                list(module._buffers),
                list(module._modules),
            )
        )

    p = m.nn.Parameter(m.ones(2))
    steps = [
        lambda: setattr(module, "a", 3),
        lambda: setattr(module, "a", p),
        lambda: setattr(module, "b", m.nn.Parameter(m.zeros(1))),
        lambda: setattr(module, "a", m.nn.Parameter(m.zeros(3))),
        lambda: setattr(module, "a", None),
        lambda: setattr(module, "a", p),
        lambda: delattr(module, "a"),
        lambda: setattr(module, "a", m.ones(2)),  # a plain attribute
        lambda: setattr(module, "a", m.nn.ReLU()),
        lambda: setattr(module, "a", None),
        lambda: setattr(module, "a", m.nn.Tanh()),
        lambda: setattr(module, "a", p),  # a parameter takes a module's place
        lambda: delattr(module, "a"),
        lambda: module.register_buffer("c", m.ones(1), persistent=False),
        lambda: setattr(module, "c", m.zeros(4)),  # stays a buffer, not in the state
        lambda: setattr(module, "c", None),
        lambda: setattr(module, "c", m.zeros(1)),
        lambda: module.register_buffer("c", m.zeros(1)),
        lambda: setattr(module, "c", m.nn.Linear(1, 1)),
        lambda: module.register_parameter("d", None),
        lambda: setattr(module, "d", m.nn.Parameter(m.zeros(1))),
        lambda: module.add_module("e", None),
        lambda: module.add_module("e", m.nn.ReLU()),
        lambda: delattr(module, "e"),
        lambda: delattr(module, "c"),
        lambda: setattr(module, "b", module.d),
    ]
    for step in steps:
        step()
        note()
    return seen


def test_assignment_and_deletion_move_names_as_in_pytorch() -> None:
    ours, theirs = both(assignments)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a == b, f"after step {i}"


def test_what_is_read_is_what_was_assigned_last() -> None:
    module = nn.Module()
    first, second = nn.Parameter(npmlp.ones(1)), nn.Parameter(npmlp.zeros(1))
    module.w = first
    assert module.w is first
    module.w = second
    assert module.w is second
    assert list(module.parameters()) == [second]
    del module.w
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'w'"):
        _ = module.w
    with pytest.raises(AttributeError):
        del module.w


def named_module(m: Any) -> Any:
    module = m.nn.Module()
    module.p = m.nn.Parameter(m.ones(1))
    module.register_buffer("b", m.ones(1))
    module.child = m.nn.ReLU()
    module.plain = 1
    return module


REFUSED = {
    "a tensor as a parameter": lambda m: setattr(named_module(m), "p", m.ones(1)),
    "a number as a parameter": lambda m: setattr(named_module(m), "p", 1),
    "a module as a parameter": lambda m: setattr(named_module(m), "p", m.nn.ReLU()),
    "a number as a module": lambda m: setattr(named_module(m), "child", 1),
    "a number as a buffer": lambda m: setattr(named_module(m), "b", 1),
    "a parameter over an attribute": lambda m: named_module(m).register_parameter("plain", None),
    "a buffer over a parameter": lambda m: named_module(m).register_buffer("p", m.ones(1)),
    "a module over a buffer": lambda m: named_module(m).add_module("b", m.nn.ReLU()),
    "a parameter over a method": lambda m: setattr(named_module(m), "train", named_module(m).p),
    "a dot in a name": lambda m: named_module(m).register_buffer("a.b", m.ones(1)),
    "an empty name": lambda m: named_module(m).register_parameter("", None),
    "a name that is no string": lambda m: named_module(m).register_buffer(1, m.ones(1)),
    "no module": lambda m: named_module(m).add_module("x", 3),
    "no parameter": lambda m: named_module(m).register_parameter("x", m.ones(1)),
    "no buffer": lambda m: named_module(m).register_buffer("x", [1]),
    "train of a number": lambda m: named_module(m).train(1),
    "to an integer dtype": lambda m: named_module(m).to(m.int64),
    "an attribute that is missing": lambda m: named_module(m).nothing,
    "a submodule that is missing": lambda m: named_module(m).get_submodule("child.x"),
    "a submodule that is none": lambda m: named_module(m).get_submodule("plain"),
    "a parameter that is none": lambda m: named_module(m).get_parameter("b"),
    "a buffer that is none": lambda m: named_module(m).get_buffer("p"),
    "no forward": lambda m: named_module(m)(m.ones(1)),
    "an argument to Module": lambda m: m.nn.Module(3),
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused_with_an_error_of_its_type(lines: Any) -> None:
    ours, theirs = error_of(lines, npmlp), error_of(lines, torch)
    assert isinstance(ours, type(theirs)), (ours, theirs)


@pytest.mark.parametrize("value", ["nn.Parameter(npmlp.ones(1))", "nn.ReLU()"])
def test_assigning_before_super_init_says_what_is_missing(value: str) -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.thing = eval(value)

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call.*Early.__init__"):
        Early()


def test_calling_a_module_without_super_init_says_what_is_missing() -> None:
    class Never(nn.Module):
        def __init__(self) -> None:
            self.size = 3

        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Never()(npmlp.ones(1))


def test_what_is_outside_the_subset_says_so() -> None:
    with pytest.raises(NpmlpError, match="LSTM"):
        _ = nn.LSTM
    with pytest.raises(NpmlpError, match="cuda"):
        nn.ReLU().cuda()
    assert not hasattr(nn.ReLU(), "half")


def test_get_submodule_and_its_kin_find_by_dotted_name() -> None:
    model = net(npmlp)
    assert model.get_submodule("") is model
    assert model.get_submodule("blocks.1.fc") is model.blocks[1].fc
    assert model.get_parameter("blocks.1.fc.weight") is model.blocks[1].fc.weight
    assert model.get_buffer("mean") is model.mean


def test_copies_deep_and_shallow() -> None:
    model = net(npmlp)
    model.gain.grad = npmlp.ones(1)
    deep = copy.deepcopy(model)
    assert_same_bits(deep.state_dict(), model.state_dict())
    assert deep.first is deep.blocks[2]  # what was shared is shared in the copy
    assert deep.tied is deep.gain
    assert deep.gain is not model.gain
    assert type(deep.gain) is nn.Parameter
    assert deep.gain.grad is None
    deep.gain.detach().fill_(3.0)
    assert model.gain.item() == 1.0

    shallow = copy.copy(model)
    assert shallow.head is model.head
    shallow.extra = nn.Linear(1, 1)
    assert "extra" not in dict(model.named_children())
    assert not hasattr(model, "extra")
