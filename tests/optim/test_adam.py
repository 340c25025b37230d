"""Adam and AdamW beside torch.optim: every option, 60 steps, parameters and all of the state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch_twins import (
    FUSES,
    Twins,
    array,
    assert_within_rounding,
    states,
)

import npmlp
from npmlp.kernels.optim import adam_step
from npmlp.optim.adam import adam_update

OPTIONS = [
    {
        "lr": 0.02,
        "betas": betas,
        "eps": eps,
        "weight_decay": decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    for (betas, eps), decay, amsgrad, maximize in itertools.product(
        [((0.9, 0.999), 1e-8), ((0.4, 0.9), 1e-3), ((0.0, 0.0), 1e-8)],
        (0, 0.1), (False, True), (False, True),
    )
]  # fmt: skip


def name(options):
    return ",".join(map(str, options.values()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "Adam decoupled"])
@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_adam_follows_pytorch(options, kind, dtype, kernels):
    twins = Twins(dtype)
    kind, _, decoupled = kind.partition(" ")
    more = {"decoupled_weight_decay": True} if decoupled else {}
    optimizer = getattr(npmlp.optim, kind)(twins.ours, **options, **more)
    twin = getattr(torch.optim, kind)(twins.theirs, **options, **more)
    twins.train(optimizer, twin)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)
    # Weight decay in the gradient brings the parameters, and with them the rounding of the square
    # root, into the averages; without it these have PyTorch's bits, where it fuses as the kernel.
    depend = kind == "Adam" and not decoupled and options["weight_decay"] != 0
    exact = kernels == "numba" and FUSES and not depend
    keys = set()
    for key, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        keys.add(key)
        if exact or key == "step":
            # equal as numbers: for β₁ ≤ ½ the signs of PyTorch's zeros differ between the entries
            # that its vector code and its scalar code compute
            np.testing.assert_array_equal(array(entry), array(expected), strict=True)
        else:
            assert_within_rounding(entry, expected)
    assert keys == {"step", "exp_avg", "exp_avg_sq"} | (
        {"max_exp_avg_sq"} if options["amsgrad"] else set()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_the_kernel_computes_what_the_oracle_says(options, decoupled, dtype):
    rng = np.random.default_rng(1)
    param, grad, exp_avg = (rng.standard_normal((5, 11)).astype(dtype) for _ in range(3))
    exp_avg_sq, largest = (rng.random((5, 11)).astype(dtype) for _ in range(2))
    if not options["amsgrad"]:
        largest = None
    arrays = (param, grad, exp_avg, exp_avg_sq, largest)
    numbers = (options["lr"], *options["betas"], options["eps"], options["weight_decay"])
    for step in (1.0, 7.0):
        sides = [[None if a is None else a.copy() for a in arrays] for _ in range(2)]
        for update, side in zip((adam_update, adam_step), sides, strict=True):
            update(*side, step, *numbers, decoupled, options["maximize"])
        for got, expected in zip(*sides, strict=True):
            if expected is not None:
                # A step of about five operations rounded once or twice, by half a unit each,
                # relative to entries of at most 16 (the squared gradient).
                np.testing.assert_allclose(got, expected, rtol=0, atol=16 * np.finfo(dtype).eps)
        assert sides[0][1].tobytes() == grad.tobytes()  # the gradient is not changed


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("lr_dtype", ["float32", "float64"])
def test_a_tensor_as_learning_rate_rounds_as_in_pytorch(kind, lr_dtype, kernels):
    twins = Twins(np.float64)
    lr = npmlp.tensor(0.02, dtype=getattr(npmlp, lr_dtype))
    their_lr = torch.tensor(0.02, dtype=getattr(torch, lr_dtype))
    optimizer = getattr(npmlp.optim, kind)(twins.ours, lr, weight_decay=0.1)
    twin = getattr(torch.optim, kind)(twins.theirs, their_lr, weight_decay=0.1)
    twins.train(optimizer, twin, 30)
    lr.fill_(0.003)
    their_lr.fill_(0.003)
    twins.train(optimizer, twin, 30)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)


def test_groups_differ_and_can_be_edited_by_hand(kernels):
    twins = Twins(np.float64)

    def groups(params):
        return [
            {"params": params[:2], "lr": 0.2, "betas": (0.5, 0.99)},
            {"params": params[2:], "weight_decay": 0.1, "amsgrad": True},
        ]

    optimizer = npmlp.optim.AdamW(groups(twins.ours), lr=0.03)
    twin = torch.optim.AdamW(groups(twins.theirs), lr=0.03)
    for change in ({}, {"lr": 0.01, "betas": (0.8, 0.9)}, {"eps": 1e-4, "weight_decay": 0.0}):
        for side in (optimizer, twin):
            side.param_groups[0].update(change)
            side.param_groups[1].update(change)
        twins.train(optimizer, twin, 20)
        for p, q in zip(twins.ours, twins.theirs, strict=True):
            assert_within_rounding(p, q)
        for _, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
            assert_within_rounding(entry, expected)


def test_foreach_and_fused_are_accepted_and_change_no_bit(kernels):
    results = []
    for options in ({}, {"foreach": True}, {"fused": True}, {"foreach": False, "fused": False}):
        twins = Twins(np.float32)
        optimizer = npmlp.optim.AdamW(twins.ours, **options)
        twins.train(optimizer, torch.optim.AdamW(twins.theirs), 5)
        results.append([p.detach().numpy().tobytes() for p in twins.ours])
    assert all(result == results[0] for result in results)
