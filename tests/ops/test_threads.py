"""The same bits for any number of threads, over every operation that has a kernel."""

from __future__ import annotations

import importlib
import pkgutil

import numba
import numpy as np
import pytest

import npmlp.kernels
from npmlp.ops.registry import OPS
from tests.ops.checks import cases, cast, every_kernel, floats, kernels_for, random_dout, run


@pytest.fixture
def threads_for_everything(monkeypatch):
    """Work of any size is divided, so that the samples' few rows are."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one processor")
    for module in pkgutil.iter_modules(npmlp.kernels.__path__, "npmlp.kernels."):
        kernels = importlib.import_module(module.name)
        if hasattr(kernels, "_THREADS_FROM"):
            monkeypatch.setattr(kernels, "_THREADS_FROM", 0)
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@every_kernel
@floats
def test_the_bits_do_not_depend_on_the_number_of_threads(name, dtype, threads_for_everything):
    spec = OPS[name]
    for case in cases(name):
        inputs = cast(case.inputs, dtype)
        for kernel in kernels_for(spec, inputs, case.attrs).values():
            results = []
            for threads in (1, 2):
                numba.set_num_threads(threads)
                ran = run(spec, inputs, case.attrs, kernel=kernel)
                grads = ()
                if any(ran.needs):
                    grads = ran.backward(random_dout(case, ran.outs[0].shape, dtype))
                results.append([None if x is None else x.tobytes() for x in (*ran.outs, *grads)])
            assert results[0] == results[1], case


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_trains_to_the_same_bits_on_one_thread_and_two(dtype, threads_for_everything):
    from npmlp import nn, optim

    results = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        npmlp.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(432, 70),
            nn.BatchNorm1d(70), nn.GELU(), nn.Dropout(0.3), nn.Linear(70, 40), nn.ReLU(),
            nn.Linear(40, 10),
        ).to(getattr(npmlp, dtype))  # fmt: skip
        optimizer = optim.AdamW(model.parameters())

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

        plan = npmlp.capture(step)
        rng = np.random.default_rng(0)
        x = npmlp.from_numpy(rng.standard_normal((33, 1, 28, 28)).astype(dtype))
        y = npmlp.from_numpy(rng.integers(0, 10, 33))
        losses = [plan(x, y).item() for _ in range(4)]
        results.append((losses, [v.numpy().tobytes() for v in model.state_dict().values()]))
    assert results[0] == results[1]
