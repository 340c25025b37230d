"""Module keeps, lists, converts and prints what it consists of as PyTorch's does."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import arrays, assert_same_bits, both, error_of

import npmlp
from npmlp import nn
from npmlp.errors import NpmlpError, ShapeError


def net(m: Any) -> Any:
    """A network with nesting, a shared layer, a shared parameter, a None and two buffers."""

    class Block(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = m.nn.Linear(4, 4)
            self.act = m.nn.ReLU()
            self.absent = None
            self.register_parameter("scale", None)
            self.register_module("nothing", None)

        def forward(self, x: Any) -> Any:
            return self.act(self.fc(x))

    class Net(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Block()
            self.blocks = m.nn.ModuleList([Block(), Block(), self.first])
            self.head = m.nn.Linear(4, 3, bias=False)
            self.gain = m.nn.Parameter(m.ones(1))
            self.tied = self.gain
            self.register_buffer("mean", m.zeros(2))
            self.register_buffer("scratch", m.ones(2), persistent=False)
            self.register_buffer("none", None)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x) * self.gain

    return Net()


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


# --------------------------------------------------------------------------------- attributes


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


# ------------------------------------------------------------------------------ load_state_dict


def test_a_pytorch_state_goes_in_and_ours_goes_back() -> None:
    ours, theirs = net(npmlp), net(torch)
    memory = ours.head.weight._data
    result = ours.load_state_dict(theirs.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert tuple(result) == ([], [])
    assert_same_bits(ours.state_dict(), theirs.state_dict())
    assert ours.head.weight._data is memory  # copied in place
    other = net(torch)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in arrays(ours.state_dict()).items()})
    assert_same_bits(ours.state_dict(), other.state_dict())


@pytest.mark.parametrize("kind", [npmlp.tensor, np.array])
def test_loading_converts_to_the_dtype_of_the_module(kind: Any) -> None:
    def lines(m: Any) -> Any:
        module = m.nn.Module()
        module.w = m.nn.Parameter(m.zeros(3))
        module.register_buffer("n", m.tensor(0))
        values = {"w": np.array([1e300, 0.1, -2.0]), "n": np.array(2.7)}
        make = kind if m is npmlp else torch.tensor
        module.load_state_dict({name: make(value) for name, value in values.items()})
        return module

    ours, theirs = both(lines)
    assert_same_bits(ours.state_dict(), theirs.state_dict())


def broken_state(m: Any) -> tuple[Any, Any]:
    module = net(m)
    state = module.state_dict()
    del state["head.weight"], state["first.fc.bias"]
    state["blocks.1.fc.weight"] = m.zeros(2, 4)
    state["mean"] = m.zeros(())
    state["gain"] = 3
    state["blocks.7.fc.weight"] = m.zeros(1)
    state["first.fc.extra"] = m.zeros(1)
    state["unknown"] = m.zeros(1)
    state["gain.inner"] = m.zeros(1)
    return module, state


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_that_does_not_fit_is_told_with_pytorchs_text(strict: bool) -> None:
    def lines(m: Any) -> None:
        module, state = broken_state(m)
        module.load_state_dict(state, strict=strict)

    ours, theirs = error_of(lines, npmlp), error_of(lines, torch)
    assert str(ours) == str(theirs)
    assert isinstance(ours, RuntimeError)
    assert isinstance(ours, NpmlpError)


def test_without_strict_missing_and_unexpected_keys_are_returned_as_in_pytorch() -> None:
    def lines(m: Any) -> Any:
        module, state = broken_state(m)
        for name in ("blocks.1.fc.weight", "mean", "gain"):
            del state[name]
        return module.load_state_dict(state, strict=False)

    ours, theirs = both(lines)
    assert ours.missing_keys == theirs.missing_keys
    assert ours.unexpected_keys == theirs.unexpected_keys
    assert repr(ours) == repr(theirs)


def test_a_state_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(TypeError, match="dict-like"):
        nn.ReLU().load_state_dict([1])


def test_assign_takes_the_tensors_themselves() -> None:
    def lines(m: Any) -> Any:
        module = m.nn.Linear(2, 1)
        module.bias.requires_grad_(False)
        module.load_state_dict(
            {"weight": m.ones(1, 2, dtype=m.float64), "bias": m.zeros(1)}, assign=True
        )
        return module

    ours, theirs = both(lines)
    assert_same_bits(ours.state_dict(), theirs.state_dict())
    for name, p in ours.named_parameters():
        assert p.requires_grad == theirs.get_parameter(name).requires_grad


def test_loading_is_seen_by_a_graph_that_needs_the_old_weights() -> None:
    layer = nn.Linear(2, 2)
    x = npmlp.ones(1, 2, requires_grad=True)
    loss = layer(x).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(NpmlpError, match="changed in place"):
        loss.backward()


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
