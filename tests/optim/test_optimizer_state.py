"""state_dict of all optimizers: PyTorch's format, what is loaded, and what is refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from parameters import KINDS, with_gradient
from torch_twins import Twins, to_npmlp, to_torch

import npmlp
from npmlp.errors import CheckpointError
from npmlp.optim import SGD, Adam, AdamW


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_is_in_pytorchs_format(kind):
    twins = Twins(np.float32)
    options = {"amsgrad": True} if "Adam" in kind else {"momentum": 0.9}
    optimizer = getattr(npmlp.optim, kind)(twins.ours, **options)
    twin = getattr(torch.optim, kind)(twins.theirs, **options)
    twins.train(optimizer, twin, 3)
    ours, theirs = optimizer.state_dict(), twin.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert list(ours) == list(theirs)
    assert sorted(ours["state"]) == sorted(theirs["state"])
    for i, state in ours["state"].items():
        assert list(state) == list(theirs["state"][i])
        for key, value in state.items():
            assert tuple(value.shape) == tuple(theirs["state"][i][key].shape)
            assert str(value.dtype) == str(theirs["state"][i][key].dtype)
    twin.load_state_dict(to_torch(ours))  # and PyTorch takes it
    assert sorted(twin.state_dict()["state"]) == sorted(ours["state"])


def trained(kind, params=None, **options):
    optimizer = getattr(npmlp.optim, kind)(params or [with_gradient()], **options)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_state_is_a_copy_in_the_dtype_of_the_parameter(kind):
    options = {"momentum": 0.9} if kind == "SGD" else {}
    source = trained(kind, **options)
    p = npmlp.tensor([1.0, 2.0], dtype=npmlp.float64, requires_grad=True)
    p.grad = npmlp.ones_like(p)
    optimizer = getattr(npmlp.optim, kind)([p], **options)
    saved = source.state_dict()
    before = {k: v.tolist() for k, v in saved["state"][0].items()}
    optimizer.load_state_dict(saved)
    for key, value in optimizer.state[p].items():
        assert value.dtype is (npmlp.float32 if key == "step" else npmlp.float64)
    optimizer.param_groups[0]["lr"] = 77.0
    optimizer.step()
    assert {k: v.tolist() for k, v in saved["state"][0].items()} == before
    assert source.param_groups[0]["lr"] != 77.0


def test_one_saved_state_can_be_loaded_into_several_optimizers():
    saved = trained("Adam").state_dict()
    optimizers = [Adam([with_gradient()]) for _ in range(2)]
    for optimizer in optimizers:
        optimizer.load_state_dict(saved)
    optimizers[0].param_groups[0]["lr"] = 77.0
    assert saved["param_groups"][0]["params"] == [0]
    assert saved["param_groups"][0]["lr"] == optimizers[1].param_groups[0]["lr"] == 1e-3


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    adam = trained("Adam")
    before = json.dumps(adam.state_dict(), default=lambda t: t.tolist())

    def refused(state, match):
        with pytest.raises(CheckpointError, match=match):
            adam.load_state_dict(state)
        assert json.dumps(adam.state_dict(), default=lambda t: t.tolist()) == before

    refused(trained("SGD", momentum=0.9).state_dict(), "no 'betas'; was it saved by another")
    refused({"weight": npmlp.ones(2)}, "pass a state_dict")
    refused(trained("Adam", [with_gradient(), with_gradient()]).state_dict(), r"have \[2\] param")
    groups = [{"params": [with_gradient()]}, {"params": [with_gradient()]}]
    refused(trained("Adam", groups).state_dict(), r"\[1, 1\] parameters, and this .* \[1\]")
    refused(trained("Adam", [with_gradient(1.0)]).state_dict(), r"has shape \(1,\), expected")
    broken = copy.deepcopy(adam.state_dict())
    del broken["state"][0]["exp_avg_sq"]
    refused(broken, "parameter 0 has no 'exp_avg_sq'")
    broken = copy.deepcopy(adam.state_dict())
    broken["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match="lr is -1"):
        adam.load_state_dict(broken)


def test_the_state_of_an_older_pytorch_is_completed():
    optimizer = trained("AdamW")
    old = copy.deepcopy(optimizer.state_dict())
    for option in ("foreach", "maximize", "capturable", "differentiable", "fused"):
        del old["param_groups"][0][option]
    del old["param_groups"][0]["decoupled_weight_decay"]
    old["state"][0]["step"] = 1  # a plain number then
    fresh = AdamW([with_gradient()])
    fresh.load_state_dict(old)
    assert fresh.param_groups[0] == {
        **optimizer.param_groups[0],
        "params": fresh.param_groups[0]["params"],
    }
    (state,) = fresh.state.values()
    assert repr(state["step"].dtype) == "torch.float32" and state["step"].item() == 1.0

    sgd = SGD([with_gradient()], momentum=0.9)
    state = sgd.state_dict()
    state["state"] = {0: {"momentum_buffer": None}}  # what SGD once saved before its first step
    sgd.load_state_dict(state)
    sgd.step()
    (state,) = sgd.state.values()
    assert state["momentum_buffer"].tolist() == [1.0, 1.0]


def test_the_state_of_adam_loads_into_adamw_and_stays_decoupled():
    adamw = AdamW([with_gradient()])
    adamw.load_state_dict(trained("Adam").state_dict())
    assert adamw.param_groups[0]["decoupled_weight_decay"] is True


def test_the_step_count_has_the_default_dtype():
    before = npmlp.get_default_dtype()
    npmlp.set_default_dtype(npmlp.float64)
    try:
        (state,) = trained("Adam").state.values()
    finally:
        npmlp.set_default_dtype(before)
    assert state["step"].dtype is npmlp.float64


def test_a_group_of_pytorchs_state_without_names_keeps_ours():
    p, q = with_gradient(), torch.ones(2)
    q.grad = torch.ones(2)
    twin = torch.optim.SGD([q], momentum=0.5)
    twin.step()
    optimizer = SGD([("weight", p)], momentum=0.5)
    optimizer.load_state_dict(to_npmlp(twin.state_dict()))
    assert optimizer.param_groups[0]["param_names"] == ["weight"]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1.0, 1.0]
