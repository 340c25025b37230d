"""The same call on npmlp.utils.data and on torch.utils.data, from one seed."""

from __future__ import annotations

import torch
from torch.utils import data as theirs

import npmlp
from npmlp.utils import data as ours


class Numbers:
    """A plain dataset of n numbers for both sides: anything with a length and samples."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i


SIDES = ((ours, npmlp), (theirs, torch))


def seed(value):
    npmlp.manual_seed(value)
    torch.manual_seed(value)


def state(module):
    return module.get_rng_state().numpy().tobytes()


def assert_same_stream():
    assert state(npmlp) == state(torch)


def on_both(run, seed_value=0):
    """The results of run(data module, tensor module) on both sides, from one seed."""
    seed(seed_value)
    results = [run(data, module) for data, module in SIDES]
    assert_same_stream()
    return results


def lists(batches):
    return [batch.tolist() if hasattr(batch, "tolist") else batch for batch in batches]
