"""What all optimizers share: groups, gradients, steps, and what they refuse."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
from parameters import KINDS, parameter, with_gradient
from torch_twins import Twins, assert_same_bits

import npmlp
from npmlp.errors import GraphError, OutsideSubsetError, ShapeError
from npmlp.optim import SGD, Adam, AdamW, Optimizer

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
