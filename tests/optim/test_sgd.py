"""SGD beside torch.optim.SGD: every option, 60 steps, the parameters and all of the state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch_twins import (
    FUSES,
    Twins,
    array,
    assert_same_bits,
    assert_within_rounding,
    states,
)

import npmlp
from npmlp.kernels.optim import sgd_step
from npmlp.optim.sgd import sgd_update

OPTIONS = [
    {
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    for momentum, dampening, decay, nesterov, maximize in itertools.product(
        (0, 0.9), (0, 0.3), (0, 0.01), (False, True), (False, True)
    )
    if not (nesterov and (momentum == 0 or dampening != 0))  # refused, here and there
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(map(str, o.values())))
def test_sgd_follows_pytorch(options, dtype, kernels):
    twins = Twins(dtype)
    optimizer = npmlp.optim.SGD(twins.ours, lr=0.05, **options)
    twin = torch.optim.SGD(twins.theirs, lr=0.05, **options)
    twins.train(optimizer, twin)
    # the compiled kernel fuses what PyTorch fuses; the oracle does not
    check = assert_same_bits if kernels == "numba" and FUSES else assert_within_rounding
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        check(p, q)
    for key, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        assert key == "momentum_buffer"
        check(entry, expected)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(map(str, o.values())))
@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)
def test_the_oracle_has_pytorchs_order_of_operations_exactly(options, kernels):
    # With factors that are powers of two a product is exact, so a fused multiply-add rounds as the
    # two operations do, and any other order of operations would show in the last bits.
    exact = {"momentum": 0.5, "dampening": 0.5, "weight_decay": 0.125}
    options = {k: exact[k] if k in exact and v else v for k, v in options.items()}
    twins = Twins(np.float32)
    optimizer = npmlp.optim.SGD(twins.ours, lr=0.25, **options)
    twin = torch.optim.SGD(twins.theirs, lr=0.25, **options)
    twins.train(optimizer, twin)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_same_bits(p, q)
    for _, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
        assert_same_bits(entry, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(map(str, o.values())))
def test_the_kernel_computes_what_the_oracle_says(options, dtype):
    rng = np.random.default_rng(1)
    param, grad, buf = (rng.standard_normal((5, 11)).astype(dtype) for _ in range(3))
    if not options["momentum"]:
        buf = None
    for first in (True, False):
        sides = [[None if a is None else a.copy() for a in (param, grad, buf)] for _ in range(2)]
        for update, arrays in zip((sgd_update, sgd_step), sides, strict=True):
            update(*arrays, first, 0.1, **options)
        for got, expected in zip(*sides, strict=True):
            if expected is not None:
                # 1 step of at most 3 fused operations: 3 half units of entries of about 4
                np.testing.assert_allclose(got, expected, rtol=0, atol=6 * np.finfo(dtype).eps)
        assert sides[0][1].tobytes() == grad.tobytes()  # the gradient is not changed


def test_a_tensor_as_learning_rate_is_read_at_every_step(kernels):
    twins = Twins(np.float64)
    lr, their_lr = npmlp.tensor(0.1), torch.tensor(0.1)
    optimizer, twin = npmlp.optim.SGD(twins.ours, lr), torch.optim.SGD(twins.theirs, their_lr)
    twins.train(optimizer, twin, 20)
    lr.fill_(0.03)
    their_lr.fill_(0.03)
    twins.train(optimizer, twin, 40)
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        assert_within_rounding(p, q)


def test_groups_differ_and_can_be_edited_by_hand(kernels):
    twins = Twins(np.float32)

    def groups(params):
        return [
            {"params": params[:2], "lr": 0.2, "momentum": 0.5},
            {"params": params[2:], "weight_decay": 0.1, "maximize": True},
        ]

    optimizer = npmlp.optim.SGD(groups(twins.ours), lr=0.03)
    twin = torch.optim.SGD(groups(twins.theirs), lr=0.03)
    for change in ({}, {"lr": 0.01, "momentum": 0.7}, {"nesterov": True}, {"momentum": 0}):
        for side in (optimizer, twin):
            side.param_groups[0].update(change)
            side.param_groups[1].update(change)
        twins.train(optimizer, twin, 15)
        for p, q in zip(twins.ours, twins.theirs, strict=True):
            assert_within_rounding(p, q)
        for _, entry, expected in states(optimizer, twin, twins.ours, twins.theirs):
            assert_within_rounding(entry, expected)


def test_infinite_and_nan_gradients_pass_through_as_in_pytorch(kernels):
    start = np.array([1.0, 2.0, 3.0], np.float32)
    grad = np.array([np.inf, np.nan, 1e38], np.float32)
    p, q = npmlp.from_numpy(start.copy()).requires_grad_(), torch.from_numpy(start.copy())
    p.grad, q.grad = npmlp.from_numpy(grad), torch.from_numpy(grad)
    for expected in ([-np.inf, np.nan, -np.inf], [np.nan, np.nan, np.nan]):
        npmlp.optim.SGD([p], lr=10.0, weight_decay=0.1).step()
        torch.optim.SGD([q], lr=10.0, weight_decay=0.1).step()
        np.testing.assert_array_equal(array(p), expected)
        np.testing.assert_array_equal(array(q), expected)
