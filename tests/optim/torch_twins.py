"""Two optimizers, npmlp's and PyTorch's, on equal parameters, fed the same gradients."""

from __future__ import annotations

import numpy as np
import torch

import npmlp
from npmlp.tensor import Tensor

# PyTorch fuses multiply-adds in its AVX2 and AVX-512 builds, which it chooses by the machine. Only
# there can bits be equal.
FUSES = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")

STEPS = 60
SHAPES = [(7, 13), (33,), (), (1, 3, 1), (0, 4)]


class Twins:
    """Parameters of all sorts of shapes, and one that is not contiguous, on both sides."""

    def __init__(self, dtype, seed=0):
        self.rng = np.random.default_rng(seed)
        arrays = [np.asarray(self.rng.standard_normal(s), dtype) for s in SHAPES]
        stored = self.rng.standard_normal((6, 4)).astype(dtype)
        self.ours = [npmlp.from_numpy(a.copy()) for a in arrays]
        self.ours.append(npmlp.from_numpy(stored.copy().T))
        self.theirs = [torch.from_numpy(a.copy()) for a in arrays]
        self.theirs.append(torch.from_numpy(stored.copy()).T)
        for p in self.ours + self.theirs:
            p.requires_grad_()

    def draw_gradients(self, absent=True):
        """Set a gradient of several scales, with exact zeros; one in ten is None on both sides."""
        for p, q in zip(self.ours, self.theirs, strict=True):
            scale = 10.0 ** self.rng.uniform(-6, 1, q.shape)
            g = np.asarray(self.rng.standard_normal(q.shape) * scale, p._data.dtype)
            g = np.where(self.rng.random(q.shape) < 0.1, g.dtype.type(0), g)
            none = absent and self.rng.random() < 0.1
            p.grad = None if none else npmlp.from_numpy(g.copy())
            q.grad = None if none else torch.from_numpy(g.copy())

    def train(self, optimizer, twin, steps=STEPS):
        for _ in range(steps):
            self.draw_gradients()
            optimizer.step()
            twin.step()


def array(t):
    return t.detach().numpy()


def assert_same_bits(got, expected):
    assert array(got).dtype == array(expected).dtype
    assert array(got).shape == array(expected).shape
    assert array(got).tobytes() == array(expected).tobytes()


def assert_within_rounding(got, expected, steps=STEPS):
    """√steps units in the last place of the largest entry: in a step an entry is rounded three or
    four times, by at most half a unit each, sometimes once for PyTorch where it is twice for the
    oracle. The gradients do not depend on the parameters, so these differences add up with random
    signs, as a random walk of a unit per step. Seen: 2.5 units after 60 steps, where 8 are allowed.
    """
    got, expected = array(got), array(expected)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    largest = max(1.0, np.abs(expected).max(initial=0))  # the parameters began at about 1
    assert np.abs(got - expected).max(initial=0) <= steps**0.5 * np.finfo(got.dtype).eps * largest


def states(optimizer, twin, ours, theirs):
    """(key, our entry, their entry) of every entry of every parameter's state."""
    assert [p in optimizer.state for p in ours] == [q in twin.state for q in theirs]
    for p, q in zip(ours, theirs, strict=True):
        if p in optimizer.state:
            assert list(optimizer.state[p]) == list(twin.state[q])
            for key, value in optimizer.state[p].items():
                yield key, value, twin.state[q][key]


def to_npmlp(value):
    """A nested state of PyTorch with npmlp's tensors in it."""
    if isinstance(value, torch.Tensor):
        return npmlp.from_numpy(value.detach().numpy().copy())
    if isinstance(value, dict):
        return {k: to_npmlp(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_npmlp(v) for v in value)
    return value


def to_torch(value):
    """A nested state of npmlp with PyTorch's tensors in it."""
    if isinstance(value, Tensor):
        return torch.from_numpy(value.detach().numpy().copy())
    if isinstance(value, dict):
        return {k: to_torch(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_torch(v) for v in value)
    return value
