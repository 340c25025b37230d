"""What all optimizers share: groups, gradients, state_dict, and what they refuse."""

from __future__ import annotations

import copy
import inspect
import json

import numpy as np
import pytest
import torch
from torch_twins import Twins, assert_same_bits, to_npmlp, to_torch

import npmlp
from npmlp.errors import CheckpointError, GraphError, OutsideSubsetError, ShapeError
from npmlp.optim import SGD, Adam, AdamW, Optimizer

KINDS = ["SGD", "Adam", "AdamW", "RMSprop"]


def parameter(*values):
    return npmlp.tensor(values or [1.0, 2.0], requires_grad=True)


def with_gradient(*values):
    p = parameter(*values)
    p.grad = npmlp.ones_like(p)
    return p


# -------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("kind", KINDS)
def test_names_order_and_defaults_are_pytorchs(kind):
    def parameters(module):
        signature = inspect.signature(getattr(module, kind))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    assert parameters(npmlp.optim) == parameters(torch.optim)


@pytest.mark.parametrize("kind", KINDS)
def test_repr_groups_and_defaults_are_pytorchs(kind):
    twins = Twins(np.float32)
    ours, theirs = (
        getattr(module.optim, kind)(
            [{"params": params[:2], "lr": 0.5}, {"params": params[2:], "note": "mine"}]
        )
        for module, params in ((npmlp, twins.ours), (torch, twins.theirs))
    )
    assert repr(ours) == repr(theirs)
    assert ours.defaults == theirs.defaults
    for group, expected in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert list(group) == list(expected)
        assert len(group["params"]) == len(expected["params"])
    assert ours.state_dict() == theirs.state_dict()


# ------------------------------------------------------------------------------------------ groups


def test_named_parameters_keep_their_names():
    p, q = parameter(), parameter()
    optimizer = SGD([("weight", p), ("bias", q)])
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][1] is q
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="give names to all groups or to none"):
        optimizer.add_param_group({"params": [parameter()]})
    with pytest.raises(ValueError, match="give all or none one"):
        SGD([("weight", parameter()), parameter()])


def test_a_group_is_added_with_the_defaults_that_it_does_not_say():
    frozen = npmlp.ones(2)
    optimizer = Adam([parameter()], lr=0.1)
    group = {"params": frozen, "betas": (0.5, 0.6)}
    optimizer.add_param_group(group)
    assert optimizer.param_groups[1] is group  # as in PyTorch, so that it can be edited
    assert group["params"] == [frozen]
    assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.5, 0.6), 1e-8)


def test_a_refused_group_changes_nothing():
    optimizer = SGD([parameter()])
    group = {"params": [parameter()], "lr": -1.0}
    with pytest.raises(ValueError, match="SGD: lr is -1"):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    assert set(group) == {"params", "lr"}


# ----------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("kind", KINDS)
def test_options_out_of_range_are_refused_with_name_and_value(kind):
    cls = getattr(npmlp.optim, kind)
    bad = {"lr": [-0.1, float("nan"), npmlp.tensor(-1.0)], "weight_decay": [-1.0]}
    if kind == "SGD":
        bad["momentum"] = [-0.5]
    elif kind == "RMSprop":
        bad |= {"momentum": [-0.5], "eps": [-1e-8], "alpha": [-0.1]}
    else:
        bad["eps"] = [-1e-8]
        bad["betas"] = [(1.0, 0.9), (0.9, -0.1), (0.9,), 0.9]
    for option, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{kind}: {option}"):
                cls([parameter()], **{option: value})
    with pytest.raises(TypeError, match=f"{kind}: lr is 'fast', expected a number"):
        cls([parameter()], lr="fast")
    with pytest.raises(ValueError, match="lr is a tensor of shape"):
        cls([parameter()], lr=npmlp.ones(2))


def test_nesterov_needs_momentum_and_no_dampening():
    with pytest.raises(ValueError, match="nesterov=True with momentum 0"):
        SGD([parameter()], nesterov=True)
    with pytest.raises(ValueError, match="it needs a momentum above 0 and a dampening of 0"):
        SGD([parameter()], momentum=0.9, dampening=0.1, nesterov=True)


def test_what_is_outside_the_subset_says_so():
    with pytest.raises(OutsideSubsetError, match="SGD: differentiable=True"):
        SGD([parameter()], differentiable=True)
    with pytest.raises(OutsideSubsetError, match="Adam: capturable=True"):
        Adam([parameter()], capturable=True)
    with pytest.raises(OutsideSubsetError, match="betas as Tensors"):
        Adam([parameter()], betas=(npmlp.tensor(0.9), npmlp.tensor(0.99)))
    with pytest.raises(ValueError, match="foreach and fused cannot both be True"):
        AdamW([parameter()], foreach=True, fused=True)
    with pytest.raises(OutsideSubsetError, match=r"npmlp\.optim\.Adagrad"):
        _ = npmlp.optim.Adagrad
    with pytest.raises(OutsideSubsetError, match=r"SGD\.register_step_post_hook"):
        _ = SGD([parameter()]).register_step_post_hook


def test_wrong_parameters_are_refused_with_what_to_pass_instead():
    class Net:
        def named_parameters(self):
            return []

    p = parameter()
    with pytest.raises(TypeError, match=r"params is a Net, .* pass model\.parameters\(\)"):
        SGD(Net())
    with pytest.raises(TypeError, match="params is a Tensor, expected a list"):
        SGD(p)
    with pytest.raises(TypeError, match="a set has no fixed order"):
        SGD({p})
    with pytest.raises(TypeError, match="parameter 0 is a str"):
        SGD({"weight": p})
    with pytest.raises(TypeError, match="parameter 1 is a ndarray"):
        SGD([p, np.ones(2)])
    with pytest.raises(TypeError, match="a parameter group is a Tensor"):
        SGD([{"params": [p]}, parameter()])
    with pytest.raises(ValueError, match=r"empty list of parameters; .* used up"):
        SGD(iter([]))
    with pytest.raises(ValueError, match="was computed from other tensors"):
        SGD([p * 2])


def test_a_parameter_twice_is_refused_within_a_group_and_between_groups():
    p, q = parameter(), parameter()
    with pytest.raises(ValueError, match=r"parameter 2, of shape .* already there"):
        SGD([p, q, p])
    with pytest.raises(ValueError, match="already there and would be updated twice"):
        SGD([{"params": [p]}, {"params": [q, p]}])


# -------------------------------------------------------------------------------------------- step


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_and_unused_parameters_are_left_alone_and_have_no_state(kind, kernels):
    frozen, unused, used = npmlp.ones(2), parameter(), with_gradient()
    optimizer = getattr(npmlp.optim, kind)([frozen, unused, used], lr=0.1)
    optimizer.step()
    assert frozen.tolist() == [1.0, 1.0]
    assert unused.tolist() == [1.0, 2.0]
    assert used.tolist() != [1.0, 2.0]
    assert frozen not in optimizer.state and unused not in optimizer.state


def test_step_runs_the_closure_with_gradients_on_and_returns_its_loss():
    p = parameter(3.0)
    optimizer = SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with npmlp.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 9.0
    assert p.item() == 3.0 - 0.25 * 6.0
    assert optimizer.step() is None


def test_zero_grad_forgets_or_fills():
    p, q = with_gradient(), parameter()
    optimizer = SGD([p, q])
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0.0, 0.0]
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_backward_notices_that_a_step_changed_what_it_needs(kind, kernels):
    p = with_gradient()
    loss = (p * p).sum()
    getattr(npmlp.optim, kind)([p]).step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_replaced_data_of_another_shape_is_refused_and_not_read_out_of_bounds(kind, kernels):
    p = with_gradient()
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(npmlp.optim, kind)([p], **options)
    optimizer.step()
    p.data = npmlp.ones(100)
    with pytest.raises(ShapeError, match=r"has shape \(100,\), and its gradient or state \(2,\)"):
        optimizer.step()
    p.grad = npmlp.ones(100)
    with pytest.raises(ShapeError, match="make a new optimizer"):
        optimizer.step()


def test_an_expanded_parameter_cannot_be_written(kernels):
    p = npmlp.ones(1).expand(3).requires_grad_()
    p.grad = npmlp.ones(3)
    with pytest.raises(GraphError, match="expanded or read-only"):
        SGD([p]).step()


def test_a_subclass_in_pytorchs_style_works():
    class Sign(Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            with npmlp.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.add_(p.grad / p.grad.abs(), alpha=-group["lr"])

    p = with_gradient()
    optimizer = Sign([p], lr=0.5)
    scheduler = npmlp.optim.lr_scheduler.StepLR(optimizer, 1)
    scheduler.step()  # no warning: whether step() ran, only its author knows
    optimizer.step()
    np.testing.assert_allclose(p.tolist(), [0.95, 1.95])


def test_a_copied_optimizer_goes_on_with_copies_of_its_parameters():
    p = with_gradient()
    optimizer = Adam([p], lr=0.1)
    optimizer.step()
    q, twin = copy.deepcopy((p, optimizer))
    q.grad = npmlp.ones_like(q)
    for _ in range(3):
        optimizer.step()
        twin.step()
    assert twin.param_groups[0]["params"][0] is q
    assert_same_bits(p, q)


# -------------------------------------------------------------------------------------- state_dict


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
