"""load_state_dict takes what PyTorch's takes, and tells what does not fit in its words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import arrays, assert_same_bits, both, error_of, net

import npmlp
from npmlp import nn
from npmlp.errors import NpmlpError


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
