"""Stopping and going on: through a file, and from one library to the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_twins import (
    Twins,
    assert_same_bits,
    assert_within_rounding,
    states,
    to_npmlp,
    to_torch,
)

import npmlp

RECIPES = [
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95)}),
]


def groups(params):
    return [{"params": params[:3]}, {"params": params[3:], "lr": 0.01, "weight_decay": 0.2}]


def build(module, kind, params, options):
    optimizer = getattr(module.optim, kind)(groups(params), **options)
    schedules = module.optim.lr_scheduler
    return optimizer, [
        schedules.LinearLR(optimizer, total_iters=9),
        schedules.CosineAnnealingLR(optimizer, T_max=23, eta_min=1e-4),
    ]


def advance(twins, steps, *sides):
    for _ in range(steps):
        twins.draw_gradients()
        for optimizer, schedulers in sides:
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()


@pytest.mark.parametrize("kind, options", RECIPES)
def test_going_on_from_a_file_is_bitwise_the_same_as_never_stopping(
    kind, options, kernels, tmp_path
):
    twins = Twins(np.float32)
    optimizer, schedulers = build(npmlp, kind, twins.ours, options)
    advance(twins, 25, (optimizer, schedulers))
    npmlp.save(
        {
            "params": [p.detach() for p in twins.ours],
            "optimizer": optimizer.state_dict(),
            "schedulers": [s.state_dict() for s in schedulers],
        },
        tmp_path / "stopped",
    )

    saved = npmlp.load(tmp_path / "stopped")
    resumed = [p.requires_grad_() for p in saved["params"]]
    fresh, fresh_schedulers = build(npmlp, kind, resumed, {"lr": 9.0})
    for scheduler, state in zip(fresh_schedulers, saved["schedulers"], strict=True):
        scheduler.load_state_dict(state)
    fresh.load_state_dict(saved["optimizer"])

    for _ in range(35):
        twins.draw_gradients()
        for p, q in zip(twins.ours, resumed, strict=True):
            q.grad = p.grad
        for o, ss in ((optimizer, schedulers), (fresh, fresh_schedulers)):
            o.step()
            for s in ss:
                s.step()
    for p, q in zip(twins.ours, resumed, strict=True):
        assert_same_bits(p, q)
        assert list(optimizer.state[p]) == list(fresh.state[q])
        for key, value in optimizer.state[p].items():
            assert_same_bits(value, fresh.state[q][key])
    for s, t in zip(schedulers, fresh_schedulers, strict=True):
        assert s.state_dict() == t.state_dict()
    for group, expected in zip(fresh.param_groups, optimizer.param_groups, strict=True):
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: v for k, v in expected.items() if k != "params"
        }


@pytest.mark.parametrize("kind, options", RECIPES)
def test_a_run_of_pytorch_goes_on_here(kind, options, kernels):
    twins = Twins(np.float64)
    twin, their_schedulers = build(torch, kind, twins.theirs, options)
    advance(twins, 25, (twin, their_schedulers))
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        p.data = npmlp.from_numpy(q.detach().numpy().copy())
    optimizer, schedulers = build(npmlp, kind, twins.ours, {"lr": 9.0})
    for scheduler, theirs in zip(schedulers, their_schedulers, strict=True):
        scheduler.load_state_dict(theirs.state_dict())
    optimizer.load_state_dict(to_npmlp(twin.state_dict()))
    advance(twins, 35, (optimizer, schedulers), (twin, their_schedulers))
    assert [s.state_dict() for s in schedulers] == [s.state_dict() for s in their_schedulers]
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q, 35)
    for _, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        assert_within_rounding(entry, expected, 35)


@pytest.mark.parametrize("kind, options", RECIPES)
def test_a_run_from_here_goes_on_in_pytorch(kind, options):
    twins = Twins(np.float64)
    optimizer, schedulers = build(npmlp, kind, twins.ours, options)
    advance(twins, 25, (optimizer, schedulers))
    with torch.no_grad():
        for p, q in zip(twins.ours, twins.theirs, strict=True):
            q.copy_(torch.from_numpy(p.detach().numpy()))
    twin, their_schedulers = build(torch, kind, twins.theirs, {"lr": 9.0})
    for scheduler, theirs in zip(schedulers, their_schedulers, strict=True):
        theirs.load_state_dict(scheduler.state_dict())
    twin.load_state_dict(to_torch(optimizer.state_dict()))
    advance(twins, 35, (optimizer, schedulers), (twin, their_schedulers))
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q, 35)
