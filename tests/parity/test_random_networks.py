"""Networks, optimizers, schedules and batches drawn at random train as in PyTorch, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.utils.data
from random_training import drawn, train

import npmlp
import npmlp.utils.data

TRAININGS = 60


@pytest.fixture(autouse=True)
def default_dtype_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)  # npmlp's is put back by conftest


@pytest.mark.parametrize("seed", range(TRAININGS))
def test_a_random_training_is_that_of_pytorch(seed: int) -> None:
    t = drawn(seed)
    theirs = train(t, torch, torch.utils.data)
    ours = train(t, npmlp, npmlp.utils.data)
    assert len(ours.losses) == len(theirs.losses) > 3
    # the bound. A rounding is 1.1e-16 of its sum, a loss is some hundred sums deep, and
    # twenty steps at these rates amplify an early one by some powers of ten
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-11, atol=0)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-14, atol=0)
    largest = max(np.abs(g).max() for g in theirs.gradients.values())
    for name, weights in theirs.weights.items():
        if np.abs(theirs.gradients[name]).max() < 1e-13 * largest:
            continue  # a bias in front of BatchNorm: its gradient is 0 but for rounding
        scale = np.abs(weights).max()
        assert np.abs(ours.weights[name] - weights).max() <= 1e-9 * scale, name
    assert np.array_equal(ours.predictions, theirs.predictions)


def test_the_draws_cover_what_they_are_meant_to() -> None:
    seen: Counter[str] = Counter()
    for seed in range(TRAININGS):
        t = drawn(seed)
        seen.update({layer[0] for layer in t.layers})
        seen.update([t.optimizer[0], t.scheduler[0] if t.scheduler else "no scheduler"])
        seen["drop_last"] += t.drop_last
        seen["ragged last batch"] += t.count % t.batch_size != 0 and not t.drop_last
        seen["clipped"] += t.clip_norm is not None
        seen["smoothed"] += t.smoothing > 0
    wanted = [
        "Linear",
        "Conv2d",
        "BatchNorm1d",
        "BatchNorm2d",
        "LayerNorm",
        "Dropout",
        "MaxPool2d",
        "AvgPool2d",
        "ReLU",
        "GELU",
        "SiLU",
        "Tanh",
        "Sigmoid",
        "LeakyReLU",
        "SGD",
        "Adam",
        "AdamW",
        "StepLR",
        "ExponentialLR",
        "CosineAnnealingLR",
        "LinearLR",
        "MultiStepLR",
        "ReduceLROnPlateau",
        "drop_last",
        "clipped",
        "smoothed",
    ]
    assert all(seen[name] >= 2 for name in [*wanted, "no scheduler", "ragged last batch"]), seen
