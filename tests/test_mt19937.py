"""Seeds and states are PyTorch's, byte for byte, and travel between the two generators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from npmlp import random
from npmlp.errors import CheckpointError, DTypeError
from npmlp.random import Generator, RandomError

SEEDS = (0, 1, 42, 2**31 + 5, 2**63 + 3, -1, -12345678901)


def assert_same_bits(ours: np.ndarray, theirs: torch.Tensor) -> None:
    assert ours.dtype == theirs.numpy().dtype
    assert ours.tobytes() == theirs.numpy().tobytes()


def assert_same_stream(ours: Generator, theirs: torch.Generator) -> None:
    """Both have drawn equally often, and keep the same cached normal."""
    assert_same_bits(ours.state_bytes(), theirs.get_state())


def both(seed: int) -> tuple[Generator, torch.Generator]:
    return Generator().manual_seed(seed), torch.Generator().manual_seed(seed)


# --- the state -------------------------------------------------------------------------------


def test_the_state_has_torchs_bytes_at_every_position() -> None:
    ours, theirs = both(2**63 + 3)
    assert_same_stream(ours, theirs)
    for n in (1, 1, 621, 1, 1, 623, 624, 1, 1247):  # across, and exactly at, the renewal of words
        ours.raw_uint32(n)
        torch.rand(n, generator=theirs)
        assert_same_stream(ours, theirs)
    ours.normal(1)
    torch.randn(1, generator=theirs)
    assert_same_stream(ours, theirs)


def test_the_state_is_laid_out_as_documented() -> None:
    g = Generator().manual_seed(-2)
    g.normal(1)  # two uniforms of two draws each, and a cached normal
    state = g.state_bytes()
    assert (state.dtype, state.shape) == (np.uint8, (5056,))
    assert state[0:8].view("<u8")[0] == 2**64 - 2 == g.initial_seed()
    assert state[8:16].view("<i4").tolist() == [624 + 1 - 4, 1]
    assert state[16:24].view("<u8")[0] == 4
    assert state[24:5016].view("<u8").max() < 2**32
    assert state[5040:5044].view("<i4")[0] == 1
    assert g.normal(1, dtype=np.float64)[0] == state[5024:5032].view("<f8")[0]


@pytest.mark.parametrize("drawn", [0, 1, 100, 623, 624, 625])
@pytest.mark.parametrize("cached", [False, True])
def test_a_state_travels_to_torch_and_back(drawn: int, cached: bool) -> None:
    ours, theirs = Generator().manual_seed(8), torch.Generator()
    if cached:
        ours.normal(1)
    ours.raw_uint32(drawn)
    theirs.set_state(torch.from_numpy(ours.state_bytes()))
    assert theirs.initial_seed() == 8
    assert_same_bits(ours.normal(5), torch.randn(5, generator=theirs))
    assert_same_bits(ours.uniform(700), torch.rand(700, generator=theirs))

    other = Generator()
    other.load_state_bytes(theirs.get_state().numpy())
    assert other.initial_seed() == 8
    assert_same_stream(other, theirs)
    assert_same_bits(other.normal(5), torch.randn(5, generator=theirs))
    assert_same_bits(other.uniform(700), torch.rand(700, generator=theirs))


def test_a_state_that_was_taken_does_not_change_with_later_draws() -> None:
    g = Generator().manual_seed(1)
    state = g.state_bytes()
    first = g.uniform(10)
    g.set_state(state)
    np.testing.assert_array_equal(g.uniform(10), first)


def _state_with(offset: int, dtype: str, value: int) -> np.ndarray:
    state = Generator().state_bytes()
    state[offset : offset + np.dtype(dtype).itemsize] = np.array([value], dtype).view(np.uint8)
    return state


@pytest.mark.parametrize(
    "state",
    [
        np.zeros(5056, np.uint8),
        np.zeros(10, np.uint8),
        Generator().state_bytes().reshape(2, -1),
        _state_with(8, "<i4", 0),  # left
        _state_with(8, "<i4", 625),
        _state_with(8, "<i4", 600),  # does not fit next
        _state_with(12, "<i4", 0),  # seeded
        _state_with(16, "<u8", 5000),  # next
        _state_with(24, "<u8", 2**32),  # a word of more than 32 bits
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(state: np.ndarray) -> None:
    g = Generator().manual_seed(6)
    g.normal(1)
    before = g.state_bytes()
    with pytest.raises(CheckpointError, match="set_state"):
        g.set_state(state)
    np.testing.assert_array_equal(g.state_bytes(), before)


def test_a_state_of_another_dtype_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"set_state: got dtype float64, expected uint8"):
        Generator().load_state_bytes(np.zeros(5056))


def test_raw_draws_are_the_mersenne_twister_of_the_standard() -> None:
    # The 10,000th draw of std::mt19937 with its default seed, from the C++ standard, [rand.predef].
    assert Generator().manual_seed(5489).raw_uint32(10_000)[-1] == 4123659995
    words = Generator().manual_seed(5489).raw_uint32(8).astype(np.uint64)
    pairs = Generator().manual_seed(5489).raw_uint64(4)
    np.testing.assert_array_equal(pairs, words[0::2] * 2**32 + words[1::2])


# --- seeds, and the default generator --------------------------------------------------------


@pytest.mark.parametrize("seed", [*SEEDS, 2**64 - 1, -(2**63)])
def test_initial_seed_is_torchs(seed: int) -> None:
    ours, theirs = both(seed)
    assert ours.initial_seed() == theirs.initial_seed()
    assert_same_stream(ours, theirs)


def test_only_the_low_32_bits_of_a_seed_matter() -> None:
    low = Generator().manual_seed(77).raw_uint32(5)
    np.testing.assert_array_equal(Generator().manual_seed(77 + 2**40).raw_uint32(5), low)
    np.testing.assert_array_equal(Generator().manual_seed(77 - 2**35).raw_uint32(5), low)


def test_numpys_integers_are_seeds_too() -> None:
    assert Generator().manual_seed(np.int64(-5)).initial_seed() == 2**64 - 5
    assert Generator().manual_seed(np.uint8(200)).initial_seed() == 200


def test_an_unseeded_generator_has_torchs_default_seed() -> None:
    assert Generator().initial_seed() == torch.Generator().initial_seed() == 67280421310721
    assert_same_stream(Generator("cpu"), torch.Generator())


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 1.5, "a", None, True])
def test_a_seed_that_torch_refuses_is_refused(seed: Any) -> None:
    with pytest.raises((ValueError, RuntimeError)) as theirs:
        torch.Generator().manual_seed(seed)
    with pytest.raises(theirs.type, match=r"manual_seed: got .*, expected") as ours:
        Generator().manual_seed(seed)
    assert ours.type is RandomError


def test_seed_draws_a_new_one_each_time_and_returns_it() -> None:
    g = Generator()
    seeds = {g.seed() for _ in range(5)}
    assert len(seeds) == 5
    assert g.initial_seed() in seeds
    assert_same_stream(g, torch.Generator().manual_seed(g.initial_seed()))


def test_the_default_generator_follows_the_module_functions() -> None:
    before = random.default_generator.state_bytes()
    try:
        assert random.manual_seed(123) is random.default_generator
        torch.manual_seed(123)
        assert random.initial_seed() == torch.initial_seed() == 123
        assert_same_bits(random.default_generator.normal(50), torch.randn(50))
        state = torch.get_rng_state()
        random.default_generator.uniform(3)
        random.set_rng_state(state.numpy())
        assert_same_stream(random.default_generator, torch.default_generator)
        assert random.seed() == random.initial_seed()
        assert random.manual_seed(7.0).initial_seed() == 7  # torch.manual_seed calls int() as well
        bad_seeds: list[Any] = ["a", None, float("inf"), 2**64]
        for bad in bad_seeds:
            with pytest.raises(RandomError, match="manual_seed"):
                random.manual_seed(bad)
    finally:
        random.set_rng_state(before)


def test_get_state_is_a_tensor_of_the_same_bytes() -> None:
    g = Generator().manual_seed(5)
    state = g.get_state()
    np.testing.assert_array_equal(state.numpy(), g.state_bytes())
    first = g.uniform(4)
    np.testing.assert_array_equal(g.set_state(state).uniform(4), first)
    np.testing.assert_array_equal(
        random.get_rng_state().numpy(), random.default_generator.state_bytes()
    )
