"""Optimizer kernels beside torch.optim, fed the same gradients for 60 steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from npmlp.kernels.optim import adam_step, sgd_step

STEPS = 60
# PyTorch's CPU code fuses multiply-adds in its AVX2 and AVX-512 builds, which it chooses by the
# machine, and so do the kernels on such a machine.
FUSES = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def gradients(shape, dtype, rng):
    """Gradients of several scales, with exact zeros among them."""
    for _ in range(STEPS):
        g = rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 1, shape)
        yield np.where(rng.random(shape) < 0.1, 0, g).astype(dtype)


def with_grad(twin, grad, optimizer):
    twin.grad = torch.from_numpy(grad.copy())
    optimizer.step()


@pytest.mark.skipif(not FUSES, reason="PyTorch's CPU code here does not fuse multiply-adds")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_equals_pytorch_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    options = [
        (momentum, dampening, decay, nesterov, maximize)
        for momentum, dampening, decay, nesterov, maximize in itertools.product(
            (0, 0.9), (0, 0.3), (0, 0.01), (False, True), (False, True)
        )
        if not (nesterov and (momentum == 0 or dampening != 0))  # PyTorch refuses these
    ]
    for momentum, dampening, decay, nesterov, maximize in options:
        param = rng.standard_normal((7, 13)).astype(dtype)
        twin = torch.nn.Parameter(torch.from_numpy(param.copy()))
        optimizer = torch.optim.SGD(
            [twin], 0.05, momentum, dampening, decay, nesterov, maximize=maximize, foreach=False
        )
        buf = np.full_like(param, np.nan) if momentum else None
        for step, grad in enumerate(gradients(param.shape, dtype, rng)):
            with_grad(twin, grad, optimizer)
            sgd_step(
                param, grad, buf, step == 0, 0.05, momentum, dampening, decay, nesterov, maximize
            )
        assert param.tobytes() == twin.detach().numpy().tobytes()
        if buf is not None:
            expected = optimizer.state[twin]["momentum_buffer"].numpy()
            assert buf.tobytes() == expected.tobytes()


@pytest.mark.skipif(not FUSES, reason="PyTorch's CPU code here does not fuse multiply-adds")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_equals_pytorch_in_its_moments_and_to_a_rounding_in_its_steps(decoupled, dtype):
    rng = np.random.default_rng(1)
    for betas, amsgrad, maximize, decay in itertools.product(
        [(0.9, 0.999), (0.3, 0.9)], (False, True), (False, True), (0, 0.1)
    ):
        # Adam with coupled decay puts the parameter into the moments, so there they differ by
        # what the parameter differs; in all other cases they are the same function of grad.
        exact = decoupled or decay == 0
        param = rng.standard_normal((7, 13)).astype(dtype)
        twin = torch.nn.Parameter(torch.from_numpy(param.copy()))
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        optimizer = kind(
            [twin], 1e-3, betas, 1e-8, decay, amsgrad=amsgrad, maximize=maximize, foreach=False
        )
        m, v = np.zeros_like(param), np.zeros_like(param)
        peak = np.zeros_like(param) if amsgrad else None
        for step, grad in enumerate(gradients(param.shape, dtype, rng), 1):
            with_grad(twin, grad, optimizer)
            adam_step(param, grad, m, v, peak, step, 1e-3, *betas, 1e-8, decay, decoupled, maximize)
        state = optimizer.state[twin]
        # √v differs by at most one unit in the last place, which moves a step by at most 2 eps of
        # its size lr = 10⁻³. Such a shift can turn the rounding of a parameter (below 4: one unit
        # is at most 2 eps) the other way, but only where it lies within it of a tie, so in one
        # step of some hundreds. Measured: 1 eps in 60 steps; 4 allows for two such turns.
        eps = np.finfo(dtype).eps
        assert np.abs(param - twin.detach().numpy()).max() <= 4 * eps
        for ours, name in ((m, "exp_avg"), (v, "exp_avg_sq"), (peak, "max_exp_avg_sq")):
            if ours is not None and exact:
                assert ours.tobytes() == state[name].numpy().tobytes()


def test_a_single_adam_step_differs_from_pytorch_in_few_last_bits():
    rng = np.random.default_rng(2)
    grad, start = rng.standard_normal((2, 10_000))
    twin = torch.nn.Parameter(torch.from_numpy(start.copy()))
    with_grad(twin, grad, torch.optim.Adam([twin], 1e-3, foreach=False))
    param, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    adam_step(param, grad, m, v, None, 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, False)
    # the square root is off by a unit in about 1.3 % of the arguments, which the step, a thousandth
    # of the parameter, seldom shows
    assert np.mean(param == twin.detach().numpy()) > 0.99
    np.testing.assert_allclose(param, twin.detach().numpy(), rtol=0, atol=1e-15)


def test_steps_update_parameters_and_state_in_place_whatever_their_order_in_memory():
    rng = np.random.default_rng(3)
    start, grad, state = rng.standard_normal((3, 5, 3))

    def sgd(p, g, a, b, c):
        sgd_step(p, g, a, False, 0.1, 0.9, 0, 0.01, False, False)

    def adam(p, g, a, b, c):
        adam_step(p, g, a, b, c, 1, 0.1, 0.9, 0.999, 1e-8, 0, False, False)

    for step in (sgd, adam):
        straight = [start.copy(), grad, state.copy(), state**2, state**4]
        turned = [np.asfortranarray(a) for a in straight]
        step(*straight)
        step(*turned)
        assert (straight[0] != start).all()
        for a, b in zip(straight, turned, strict=True):
            np.testing.assert_array_equal(a, b)


def test_weight_decay_of_zero_is_left_out_and_not_multiplied_by_zero():
    param = np.array([np.inf, 1.0])
    sgd_step(param, np.zeros(2), None, True, 0.1, 0, 0, 0, False, False)
    np.testing.assert_array_equal(param, [np.inf, 1.0])
