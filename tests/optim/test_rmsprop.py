"""RMSprop beside torch.optim.RMSprop: every option, 60 steps, the parameters and the state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch_twins import (
    Twins,
    array,
    assert_within_rounding,
    states,
    to_npmlp,
    to_torch,
)

import npmlp
from npmlp.errors import CheckpointError, OutsideSubsetError

OPTIONS = [
    {
        "alpha": alpha,
        "eps": eps,
        "weight_decay": decay,
        "momentum": momentum,
        "maximize": maximize,
    }
    for (alpha, eps), decay, momentum, maximize in itertools.product(
        [(0.99, 1e-8), (0.5, 1e-3)], (0, 0.1), (0, 0.9), (False, True)
    )
]


def name(options):
    return ",".join(map(str, options.values()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_rmsprop_follows_pytorch(options, dtype, kernels):
    twins = Twins(dtype)
    optimizer = npmlp.optim.RMSprop(twins.ours, lr=0.005, **options)
    twin = torch.optim.RMSprop(twins.theirs, lr=0.005, **options)
    twins.train(optimizer, twin)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)
    for _, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        assert_within_rounding(entry, expected)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_centered_follows_pytorch(momentum):
    """The variance v − m² cancels, and eps keeps its root from deciding: with eps = 1 the rounding
    of v and m enters the step as it is, not magnified."""
    twins = Twins(np.float64)
    options = {"lr": 0.05, "eps": 1.0, "momentum": momentum, "centered": True}
    optimizer = npmlp.optim.RMSprop(twins.ours, **options)
    twin = torch.optim.RMSprop(twins.theirs, **options)
    for _ in range(60):  # gradients of one size: of many, v − m² keeps too few digits
        for p, q in zip(twins.ours, twins.theirs, strict=True):
            g = np.asarray(twins.rng.standard_normal(q.shape) + 0.5, p._data.dtype)
            p.grad, q.grad = npmlp.from_numpy(g.copy()), torch.from_numpy(g.copy())
        optimizer.step()
        twin.step()
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)
    keys = set()
    for key, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        keys.add(key)
        assert_within_rounding(entry, expected)
    assert keys == {"step", "square_avg", "grad_avg"} | ({"momentum_buffer"} if momentum else set())


def test_groups_differ_and_can_be_edited_by_hand():
    twins = Twins(np.float64)

    def groups(params):
        return [{"params": params[:2], "lr": 0.02, "alpha": 0.9}, {"params": params[2:]}]

    optimizer = npmlp.optim.RMSprop(groups(twins.ours), lr=0.003, momentum=0.5)
    twin = torch.optim.RMSprop(groups(twins.theirs), lr=0.003, momentum=0.5)
    for change in ({}, {"lr": 0.001, "alpha": 0.5}, {"weight_decay": 0.1, "momentum": 0.8}):
        for side in (optimizer, twin):
            side.param_groups[0].update(change)
        twins.train(optimizer, twin, 15)
        for p, q in zip(twins.ours, twins.theirs, strict=True):
            assert_within_rounding(p, q)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}], ids=str)
def test_its_state_goes_to_pytorch_and_back(options):
    twins = Twins(np.float64)
    optimizer = npmlp.optim.RMSprop(twins.ours, **options)
    twin = torch.optim.RMSprop(twins.theirs, **options)
    assert repr(optimizer) == repr(twin)
    twins.train(optimizer, twin, 5)
    ours, theirs = optimizer.state_dict(), twin.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    optimizer.load_state_dict(to_npmlp(theirs))
    twin.load_state_dict(to_torch(ours))
    twins.train(optimizer, twin, 20)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)
    sgd = npmlp.optim.SGD(twins.ours, lr=0.1, momentum=0.9)
    with pytest.raises(CheckpointError, match="no 'alpha'; was it saved by another optimizer"):
        optimizer.load_state_dict(sgd.state_dict())


def test_options_out_of_their_range_are_refused_by_both():
    for wrong in ({"lr": -1.0}, {"eps": -1.0}, {"momentum": -1.0}, {"alpha": -1.0},
                  {"weight_decay": -1.0}):  # fmt: skip
        for lib in (npmlp, torch):
            with pytest.raises(ValueError):
                lib.optim.RMSprop([lib.ones(2, requires_grad=True)], **wrong)
    for outside in ({"capturable": True}, {"differentiable": True}):
        with pytest.raises(OutsideSubsetError, match="leave it False"):
            npmlp.optim.RMSprop([npmlp.ones(2, requires_grad=True)], **outside)


def test_infinite_and_nan_gradients_pass_through_as_in_pytorch():
    start = np.array([1.0, 2.0, 3.0], np.float32)
    grad = np.array([np.inf, np.nan, 0.0], np.float32)
    p, q = npmlp.from_numpy(start.copy()).requires_grad_(), torch.from_numpy(start.copy())
    p.grad, q.grad = npmlp.from_numpy(grad), torch.from_numpy(grad)
    npmlp.optim.RMSprop([p]).step()
    torch.optim.RMSprop([q]).step()
    np.testing.assert_array_equal(array(p), array(q))
