"""Images, and what compares npmlp's transforms of them with torchvision's."""

from __future__ import annotations

import numpy as np
import torch

import npmlp
from reference_torch.torchvision_cpu import import_torchvision

theirs = import_torchvision().transforms
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (40, 28, 28), np.uint8)
WIDE = RNG.integers(0, 256, (40, 9, 14), np.uint8)


def same_stream():
    """Whether both default generators stand at the same place."""
    return np.array_equal(npmlp.get_rng_state().numpy(), torch.get_rng_state().numpy())


def seed(value):
    npmlp.manual_seed(value)
    torch.manual_seed(value)


def assert_same(mine, reference):
    if isinstance(reference, torch.Tensor):
        assert isinstance(mine, npmlp.Tensor) and str(mine.dtype) == str(reference.dtype)
        mine, reference = mine.numpy(), reference.numpy()
    else:
        assert type(mine) is type(reference) and mine.mode == reference.mode
        mine, reference = np.asarray(mine), np.asarray(reference)
    assert mine.shape == reference.shape
    np.testing.assert_array_equal(mine, reference)
