"""The compiled draws are NumPy's, bit for bit, and leave the same state."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npmlp import config
from npmlp.kernels import random as kernels
from npmlp.random import Generator

# The compiled loops begin at 2048 numbers. 624 words are renewed at a time and numbers made 1024 at
# a time: around their multiples, odd numbers of draws, and more than a few of each.
SIZES = [2048, 2049, 2495, 2496, 2497, 3072, 3119, 3121, 4096, 10_001, 100_000]
Draw = Callable[[Generator, int], Any]
DRAWS: dict[str, Draw] = {
    "u32": lambda g, n: g.raw_uint32(n),
    "float32": lambda g, n: g.uniform(n),
    "float64": lambda g, n: g.uniform(n, dtype=np.float64),
    "bounds": lambda g, n: g.uniform(n, -0.3, 0.1),
    "bounds in float64": lambda g, n: g.uniform(n, -0.3, 0.1, np.float64),
    "bounds far from 0": lambda g, n: g.uniform(n, 1000, 1000.01),
    "no span": lambda g, n: g.uniform(n, 0.7, 0.7, np.float64),
    "normal": lambda g, n: g.normal(n),
    "bernoulli": lambda g, n: g.bernoulli(n, 0.9),
    "rarely": lambda g, n: g.bernoulli(n, 1e-4),
    "always": lambda g, n: g.bernoulli(n, 1),
    "never": lambda g, n: g.bernoulli(n, 0),
    "randperm": lambda g, n: g.randperm(n),
}


@pytest.mark.parametrize("name", DRAWS)
def test_compiled_draws_are_numpys_wherever_in_the_stream_they_begin(name: str) -> None:
    for first in (0, 1, 227, 622, 623, 624):
        results = []
        for setting in ("numpy", "numba"):
            config.set_kernels("numpy")
            g = Generator().manual_seed(7)
            g.raw_uint32(first)
            config.set_kernels(setting)  # type: ignore[arg-type]
            drawn = []
            for n in SIZES:
                drawn += [DRAWS[name](g, n), g.state_bytes()]
            results.append(drawn)
        for expected, got in zip(*results, strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("n", [0, 1, 226, 227, 228, 396, 397, 398, 623, 624, 625, 1247, 1249])
def test_any_number_of_draws_leaves_numpys_words_and_position(n: int) -> None:
    ours, numpys = np.random.MT19937(3), np.random.MT19937(3)
    for _ in range(3):
        state = ours.state["state"]
        words, out = np.append(state["key"], np.uint32(state["pos"])), np.empty(n, np.uint32)
        kernels.draw(words, out)
        ours.state = {
            "bit_generator": "MT19937",
            "state": {"key": words[:624], "pos": int(words[624])},
        }
        np.testing.assert_array_equal(out, numpys.random_raw(n))
        expected = numpys.state["state"]
        np.testing.assert_array_equal(words[:624], expected["key"])
        assert words[624] == expected["pos"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_reaches_the_upper_bound_is_the_lower(dtype: Any) -> None:
    low, high = dtype(1), np.nextafter(dtype(1), dtype(2))  # every draw rounds to one of the two
    drawn = Generator().manual_seed(2).uniform(5000, low, high, dtype)
    assert (drawn == low).all()


def test_copies_of_a_generator_go_on_by_themselves() -> None:
    g = Generator().manual_seed(1)
    g.raw_uint32(5000)
    copies = [copy.deepcopy(g), pickle.loads(pickle.dumps(g))]
    expected = g.raw_uint32(5000)
    for other in copies:
        np.testing.assert_array_equal(other.raw_uint32(5000), expected)
    following = g.raw_uint32(5000)
    for other in copies:
        np.testing.assert_array_equal(other.raw_uint32(5000), following)
