"""Sequential, ModuleList and ModuleDict hold, number and print modules as PyTorch's do."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from layers_beside_torch import assert_same_bits, both, error_of

import npmlp
from npmlp import nn


def sequential(m: Any, *names: str) -> Any:
    return m.nn.Sequential(OrderedDict((name, m.nn.Linear(2, 2)) for name in names))


def three(m: Any, kind: str = "Sequential") -> Any:
    layers = [m.nn.Linear(2, 3), m.nn.ReLU(), m.nn.Linear(3, 1)]
    return m.nn.Sequential(*layers) if kind == "Sequential" else m.nn.ModuleList(layers)


def without(container: Any, index: Any) -> Any:
    del container[index]
    return container


def replaced(container: Any, index: int, module: Any) -> Any:
    container[index] = module
    return container


def inserted(container: Any, index: int, module: Any) -> Any:
    container.insert(index, module)
    return container


def popped(container: Any, index: Any) -> Any:
    return [container.pop(index), container]


def added(container: Any, others: Any) -> Any:
    container += others
    return container


NUMBERED = {
    "append": lambda m, c: c.append(m.nn.Tanh()).append(m.nn.ReLU()),
    "extend": lambda m, c: c.extend([m.nn.Tanh(), m.nn.ReLU()]),
    "insert": lambda m, c: inserted(c, 1, m.nn.Tanh()),
    "insert at the end": lambda m, c: inserted(c, 3, m.nn.Tanh()),
    "set": lambda m, c: replaced(c, -1, m.nn.Tanh()),
    "delete": lambda m, c: without(c, 0),
    "delete the last": lambda m, c: without(c, -1),
    "delete a slice": lambda m, c: without(c, slice(0, 2)),
    "pop": lambda m, c: popped(c, 1),
    "pop a slice": lambda m, c: popped(c, slice(1, 3)),
    "index": lambda m, c: [c[0], c[-1], len(c)],
    "iterate": lambda m, c: list(c),
}


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
@pytest.mark.parametrize("lines", NUMBERED.values(), ids=NUMBERED.keys())
def test_a_numbered_container_changes_as_in_pytorch(lines: Any, kind: str) -> None:
    ours, theirs = both(lambda m: lines(m, three(m, kind)))
    assert repr(ours) == repr(theirs)
    if hasattr(ours, "state_dict"):
        assert_same_bits(ours.state_dict(), theirs.state_dict())


SEQUENTIAL = {
    "slice": lambda m: three(m)[1:],
    "slice of names": lambda m: sequential(m, "a", "b", "c")[::2],
    "by name": lambda m: sequential(m, "a", "b").b,
    "set in names": lambda m: replaced(sequential(m, "a", "b"), 1, m.nn.ReLU()),
    "delete in names": lambda m: without(sequential(m, "a", "b", "c"), 1),
    "insert before": lambda m: three(m).insert(-1, m.nn.Tanh()),
    "plus": lambda m: three(m) + three(m),
    "plus in place": lambda m: added(three(m), three(m)),
    "times": lambda m: three(m) * 2,
    "times from the left": lambda m: 2 * three(m),
    "empty": lambda m: m.nn.Sequential(),
    "one": lambda m: m.nn.Sequential(m.nn.ReLU()),
    "nested": lambda m: m.nn.Sequential(three(m), m.nn.Sequential(m.nn.ReLU())),
    "repeated layers": lambda m: m.nn.Sequential(*[m.nn.ReLU() for _ in range(3)]),
}


@pytest.mark.parametrize("lines", SEQUENTIAL.values(), ids=SEQUENTIAL.keys())
def test_sequential_is_pytorchs(lines: Any) -> None:
    ours, theirs = both(lines)
    assert repr(ours) == repr(theirs)
    assert_same_bits(ours.state_dict(), theirs.state_dict())


LISTS = {
    "empty": lambda m: m.nn.ModuleList(),
    "folded": lambda m: m.nn.ModuleList([m.nn.Linear(2, 2) for _ in range(3)] + [m.nn.ReLU()]),
    "folded nested": lambda m: m.nn.ModuleList([three(m), three(m), m.nn.ReLU(), m.nn.ReLU()]),
    "slice": lambda m: three(m, "ModuleList")[:2],
    "plus": lambda m: three(m, "ModuleList") + [m.nn.ReLU()],
    "plus in place": lambda m: added(three(m, "ModuleList"), [m.nn.ReLU()]),
    "a generator": lambda m: m.nn.ModuleList(m.nn.Linear(1, 1) for _ in range(2)),
}


@pytest.mark.parametrize("lines", LISTS.values(), ids=LISTS.keys())
def test_module_list_is_pytorchs(lines: Any) -> None:
    ours, theirs = both(lines)
    assert repr(ours) == repr(theirs)
    assert_same_bits(ours.state_dict(), theirs.state_dict())


def test_module_dict_is_pytorchs() -> None:
    def lines(m: Any) -> Any:
        d = m.nn.ModuleDict({"a": m.nn.Linear(1, 2), "b": m.nn.ReLU()})
        d["c"] = m.nn.Linear(2, 1)
        d.update([("e", m.nn.Tanh()), ("a", m.nn.Linear(1, 3))])
        texts = [repr(d), list(d), "a" in d, "x" in d, len(d), repr(d.pop("b")), repr(d["a"])]
        texts += [list(d.keys()), repr(list(d.values())), [k for k, _ in d.items()]]
        del d["e"]
        texts += [repr(d), list(d.state_dict())]
        d.clear()
        return [*texts, repr(d)]

    ours, theirs = both(lines)
    assert ours == theirs


REFUSED = {
    "index": lambda m: three(m)[3],
    "negative index": lambda m: three(m)[-4],
    "set": lambda m: replaced(three(m), 5, m.nn.ReLU()),
    "set no module": lambda m: replaced(three(m), 0, 3),
    "insert too far": lambda m: three(m).insert(4, m.nn.ReLU()),
    "no module": lambda m: m.nn.Sequential(3),
    "a list": lambda m: m.nn.Sequential([m.nn.ReLU()]),
    "plus a list": lambda m: three(m) + [m.nn.ReLU()],
    "times nothing": lambda m: three(m) * 0,
    "times a half": lambda m: three(m) * 0.5,
    "a list of no modules": lambda m: m.nn.ModuleList([1]),
    "extend by none": lambda m: m.nn.ModuleList().extend(3),
    "call a list": lambda m: m.nn.ModuleList([m.nn.ReLU()])(m.ones(1)),
    "a key that is missing": lambda m: m.nn.ModuleDict()["a"],
    "delete a key that is missing": lambda m: without(m.nn.ModuleDict(), "a"),
    "update with a number": lambda m: m.nn.ModuleDict(3),
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused_with_an_error_of_its_type(lines: Any) -> None:
    ours, theirs = error_of(lines, npmlp), error_of(lines, torch)
    assert isinstance(ours, type(theirs)), (ours, theirs)


def test_sequential_gives_each_module_what_the_one_before_gave() -> None:
    add = type("Add", (nn.Module,), {"forward": lambda self, x: x + 1})
    double = type("Double", (nn.Module,), {"forward": lambda self, x: x * 2})
    assert nn.Sequential(add(), double(), add())(npmlp.tensor(3.0)).item() == 9.0
    assert nn.Sequential()(npmlp.tensor(3.0)).item() == 3.0
