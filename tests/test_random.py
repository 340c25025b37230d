"""The generator draws PyTorch's bits: every comparison here is of bits, without a tolerance."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from npmlp import config
from npmlp.errors import DTypeError, OutsideSubsetError, ShapeError
from npmlp.random import Generator, RandomError

SIZES = (1, 7, 15, 16, 17, 100, 78_400)
SEEDS = (0, 1, 42, 2**31 + 5, 2**63 + 3, -1, -12345678901)
DTYPES = (np.float32, np.float64)
TORCH_DTYPE = {np.float32: torch.float32, np.float64: torch.float64}

Draw = Callable[[], Any]


def assert_same_bits(ours: np.ndarray, theirs: torch.Tensor) -> None:
    expected = theirs.numpy()
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    if ours.tobytes() != expected.tobytes():  # which also tells −0.0 from 0.0
        differ = np.flatnonzero(ours.ravel() != expected.ravel())
        pytest.fail(f"{len(differ)} of {ours.size} values differ, the first at {differ[:1]}")


def assert_same_stream(ours: Generator, theirs: torch.Generator) -> None:
    """Both have drawn equally often, and keep the same cached normal."""
    assert ours.state_bytes().tobytes() == theirs.get_state().numpy().tobytes()


def both(seed: int) -> tuple[Generator, torch.Generator]:
    return Generator().manual_seed(seed), torch.Generator().manual_seed(seed)


@pytest.fixture(params=["numpy", "numba"])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    before = config.get_kernels()
    config.set_kernels(request.param)
    yield request.param
    config.set_kernels(before)


# --- each draw, at every size and seed -------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_is_torchs_rand(seed: int, dtype: type) -> None:
    ours, theirs = both(seed)
    for n in SIZES:
        expected = torch.rand(n, generator=theirs, dtype=TORCH_DTYPE[dtype])
        assert_same_bits(ours.uniform(n, dtype=dtype), expected)
    assert_same_stream(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-0.1, 0.1),
        (0.1, 0.3),
        (-1 / 28, 1 / 3),  # not symmetric: the fused multiply-add matters
        (1.0, 1.0 + 1e-6),  # so narrow that results reach `high`, which becomes `low`
        (1e6 + 0.3, 1e6 + 0.9),
        (-3e-39, 2e-39),  # subnormal in float32
        (2.5, 2.5),
        (-1e38, 1e38),
        (0, 2),
    ],
)
def test_uniform_with_bounds_is_torchs_uniform_(low: float, high: float, dtype: type) -> None:
    for seed in SEEDS:
        ours, theirs = both(seed)
        for n in (1, 17, 3000):
            expected = torch.empty(n, dtype=TORCH_DTYPE[dtype])
            expected.uniform_(low, high, generator=theirs)
            assert_same_bits(ours.uniform(n, low, high, dtype), expected)
        assert_same_stream(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_normal_is_torchs_randn(seed: int, dtype: type) -> None:
    ours, theirs = both(seed)
    for n in SIZES:
        expected = torch.randn(n, generator=theirs, dtype=TORCH_DTYPE[dtype])
        assert_same_bits(ours.normal(n, dtype=dtype), expected)
    assert_same_stream(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("mean", "std"),
    [(0.1, 0.7), (-3.3, 1e-3), (0.0, 0.051), (1.0, 0.0), (1e5 + 0.1, 1 / 3), (0.0, 1e-39)],
)
def test_normal_with_mean_and_std_is_torchs_normal_(mean: float, std: float, dtype: type) -> None:
    for seed in SEEDS:
        ours, theirs = both(seed)
        for n in (1, 4, 15, 16, 33, 2000):
            expected = torch.empty(n, dtype=TORCH_DTYPE[dtype])
            expected.normal_(mean, std, generator=theirs)
            assert_same_bits(ours.normal(n, mean, std, dtype), expected)
        assert_same_stream(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_takes_infinities_and_nan_as_torch_does(dtype: type) -> None:
    inf, nan = float("inf"), float("nan")
    for mean, std in [(0.0, inf), (nan, 1.0), (inf, 1.0), (1.5, inf), (-inf, inf), (1e300, 1.0)]:
        ours, theirs = both(5)
        for n in (3, 40):
            expected = torch.empty(n, dtype=TORCH_DTYPE[dtype])
            expected.normal_(mean, std, generator=theirs)
            # Values, not bits: the sign of a NaN is not something that arithmetic defines.
            np.testing.assert_array_equal(ours.normal(n, mean, std, dtype), expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_fills_a_non_contiguous_tensor_in_the_order_of_its_memory(dtype: type) -> None:
    ours, theirs = both(3)
    expected = torch.empty(9, 5, dtype=TORCH_DTYPE[dtype]).t()
    expected.normal_(0.2, 1.7, generator=theirs)
    drawn = ours.normal((9, 5), 0.2, 1.7, dtype, contiguous=False)
    assert_same_bits(drawn, expected.t())
    assert_same_stream(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_randperm_is_torchs(seed: int, kernels: str) -> None:
    ours, theirs = both(seed)
    for n in (0, 2, *SIZES):
        assert_same_bits(ours.randperm(n), torch.randperm(n, generator=theirs))
    assert_same_stream(ours, theirs)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 10),
        (-7, 3),
        (0, 2**28 - 1),  # the last range of one draw each
        (0, 2**28),  # the first of two
        (-5, 2**40),
        (-(2**63), 2**63 - 1),
        (2**63 - 2, 2**63 - 1),
    ],
)
def test_randint_is_torchs(low: int, high: int) -> None:
    for seed in SEEDS:
        ours, theirs = both(seed)
        for n in SIZES[:-1]:
            expected = torch.randint(low, high, (n,), generator=theirs)
            assert_same_bits(ours.randint(low, high, n), expected)
        assert_same_stream(ours, theirs)


@pytest.mark.parametrize("p", [0.0, 1.0, 0.5, 0.1, 1 / 3, 0.7, 2.0**-53, 1e-300, 1 - 2.0**-53])
def test_bernoulli_is_torchs_bernoulli_(p: float) -> None:
    for seed in SEEDS:
        ours, theirs = both(seed)
        for n in (1, 7, 16, 5000):
            expected = torch.empty(n, dtype=torch.bool).bernoulli_(p, generator=theirs)
            assert_same_bits(ours.bernoulli(n, p), expected)
        assert_same_stream(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 1 / 3, 0.5, 0.9, 1.0])
def test_dropout_keeps_what_torchs_dropout_keeps(p: float, dtype: type) -> None:
    for seed in SEEDS:
        ours = Generator().manual_seed(seed)
        torch.manual_seed(seed)
        for shape in [(1,), (0,), (17,), (100, 50)]:
            expected = F.dropout(torch.ones(shape, dtype=TORCH_DTYPE[dtype]), p)
            assert_same_bits(ours.dropout_mask(shape, p), expected != 0)
        assert_same_stream(ours, torch.default_generator)


def test_random63_is_the_seed_that_a_dataloader_draws() -> None:
    for seed in SEEDS:
        ours, theirs = both(seed)
        for _ in range(5):
            expected = torch.empty((), dtype=torch.int64).random_(generator=theirs).item()
            assert ours.random63() == expected
        assert_same_stream(ours, theirs)


@pytest.mark.parametrize("shape", [(), (3, 4), (2, 3, 5), [4, 4]])
def test_shapes_are_filled_in_row_order(shape: Any) -> None:
    ours, theirs = both(9)
    assert_same_bits(ours.uniform(shape), torch.rand(shape, generator=theirs))
    assert_same_bits(ours.normal(shape), torch.randn(shape, generator=theirs))
    assert_same_bits(ours.randint(0, 9, shape), torch.randint(0, 9, shape, generator=theirs))
    assert_same_bits(
        ours.bernoulli(shape, 0.4), torch.empty(shape).bool().bernoulli_(0.4, generator=theirs)
    )


def test_empty_shapes_draw_nothing() -> None:
    g = Generator()
    before = g.state_bytes()
    draws = [g.uniform(0), g.normal((3, 0)), g.normal((0,), contiguous=False), g.randperm(0)]
    draws += [
        g.randint(0, 5, (0, 2)),
        g.bernoulli(0, 0.5),
        g.dropout_mask((0,), 0.5),
        g.randperm(1),
    ]
    draws += [g.raw_uint32(0), g.raw_uint64(0)]
    assert [d.size for d in draws] == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    np.testing.assert_array_equal(g.state_bytes(), before)


def _state_that_draws(value: int) -> np.ndarray:
    """A state whose next 623 draws all are `value`: its words with MT19937's tempering undone."""
    y = value ^ (value >> 18)
    y ^= (y << 15) & 0xEFC60000
    word = y
    for _ in range(5):  # each round finds seven more bits
        word = y ^ ((word << 7) & 0x9D2C5680)
    y = word
    for _ in range(3):
        word = y ^ (word >> 11)
    g = Generator()
    g.raw_uint32(1)
    state = g.state_bytes()
    state[24:5016].view("<u8")[:] = word
    return state


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF, 0x00FFFFFF, 0x80000000, 0x00100000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rarest_draws_become_torchs_numbers_too(value: int, dtype: type) -> None:
    state = _state_that_draws(value)
    ours, theirs = Generator(), torch.Generator()
    single = {"generator": theirs, "dtype": TORCH_DTYPE[dtype]}

    def restart() -> None:
        ours.set_state(state)
        theirs.set_state(torch.from_numpy(state))

    restart()
    assert set(ours.raw_uint32(623).tolist()) == {value}
    restart()
    for n in (1, 1, 17, 32):  # −0.0 and the largest radius are among these
        assert_same_bits(ours.normal(n, dtype=dtype), torch.randn(n, **single))
    restart()
    assert_same_bits(ours.uniform(2, dtype=dtype), torch.rand(2, **single))
    expected = torch.empty(2, dtype=TORCH_DTYPE[dtype]).uniform_(0.1, 0.3, generator=theirs)
    assert_same_bits(ours.uniform(2, 0.1, 0.3, dtype), expected)
    for p in (0.0, 1e-300, 2.0**-53, 2.0**-52, 0.5, 1 - 2.0**-53, 1.0):
        picked = torch.empty(1, dtype=torch.bool).bernoulli_(p, generator=theirs)
        assert_same_bits(ours.bernoulli(1, p), picked)
    assert_same_stream(ours, theirs)


# --- one stream under all of them ------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_of_draws_gives_torchs_numbers(seed: int) -> None:
    """Odd counts put the stream at every position, and odd normals leave one in the cache."""
    ours, theirs = both(seed)
    single = {"generator": theirs}
    double = {"generator": theirs, "dtype": torch.float64}

    def kept(n: int) -> torch.Tensor:
        return torch.empty(n).bernoulli_(1 - 0.4, **single).bool()

    def bounded(n: int) -> torch.Tensor:
        return torch.empty(n).uniform_(-0.3, 0.5, **single)

    pairs: list[tuple[Callable[[int], np.ndarray], Callable[[int], torch.Tensor]]] = [
        (lambda n: ours.uniform(n), lambda n: torch.rand(n, **single)),
        (lambda n: ours.uniform(n, -0.3, 0.5), bounded),
        (lambda n: ours.uniform(n, dtype=np.float64), lambda n: torch.rand(n, **double)),
        (lambda n: ours.normal(n), lambda n: torch.randn(n, **single)),
        (lambda n: ours.normal(n, dtype=np.float64), lambda n: torch.randn(n, **double)),
        (lambda n: ours.randperm(n), lambda n: torch.randperm(n, **single)),
        (lambda n: ours.randint(-3, 9, n), lambda n: torch.randint(-3, 9, (n,), **single)),
        (lambda n: ours.randint(0, 2**33, n), lambda n: torch.randint(0, 2**33, (n,), **single)),
        (lambda n: ours.dropout_mask(n, 0.4), kept),
    ]
    order = np.random.default_rng(0)
    for _ in range(150):
        draw, expected = pairs[order.integers(len(pairs))]
        n = int(order.choice([1, 1, 2, 3, 5, 15, 16, 19, 32, 300]))
        assert_same_bits(draw(n), expected(n))
    assert_same_stream(ours, theirs)


def test_a_cached_normal_waits_through_other_draws_and_serves_either_dtype() -> None:
    ours, theirs = both(11)
    assert_same_bits(ours.normal(1), torch.randn(1, generator=theirs))
    after_one = ours.state_bytes()
    assert_same_bits(ours.uniform(5), torch.rand(5, generator=theirs))
    assert_same_bits(
        ours.normal(40), torch.randn(40, generator=theirs)
    )  # neither takes nor leaves one
    before = ours.state_bytes()[16:5016].tobytes()
    second = ours.normal(1, dtype=np.float64)
    assert_same_bits(second, torch.randn(1, generator=theirs, dtype=torch.float64))
    assert ours.state_bytes()[16:5016].tobytes() == before  # it came from the cache: no draw
    cached = np.frombuffer(after_one[5024:5032].tobytes(), np.float64)
    np.testing.assert_array_equal(second, cached)


def test_manual_seed_forgets_the_cached_normal() -> None:
    ours, theirs = both(4)
    ours.normal(3)
    torch.randn(3, generator=theirs)
    ours.manual_seed(4)
    theirs.manual_seed(4)
    assert_same_stream(ours, theirs)
    assert_same_bits(ours.normal(3), torch.randn(3, generator=theirs))


# --- bad arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "torchs"),
    [
        (lambda g: g.uniform(3, 1.0, 0.0), lambda: torch.empty(3).uniform_(1, 0)),
        (lambda g: g.uniform(3, 0, 1e39), lambda: torch.empty(3).uniform_(0, 1e39)),
        (lambda g: g.uniform(3, -3e38, 3e38), lambda: torch.empty(3).uniform_(-3e38, 3e38)),
        (lambda g: g.uniform(3, float("nan"), 1), lambda: torch.empty(3).uniform_(float("nan"), 1)),
        (lambda g: g.normal(3, 0, -1), lambda: torch.empty(3).normal_(0, -1)),
        (lambda g: g.normal(0, 0, float("nan")), lambda: torch.empty(0).normal_(0, float("nan"))),
        (lambda g: g.bernoulli(3, 1.5), lambda: torch.empty(3).bernoulli_(1.5)),
        (lambda g: g.dropout_mask(3, -0.1), lambda: F.dropout(torch.ones(3), -0.1)),
        (lambda g: g.randint(5, 5, 3), lambda: torch.randint(5, 5, (3,))),
        (lambda g: g.randint(0, 2**63, 3), lambda: torch.randint(0, 2**63, (3,))),
        (lambda g: g.randperm(-1), lambda: torch.randperm(-1)),
    ],
)
def test_what_torch_refuses_is_refused_and_draws_nothing(draw: Any, torchs: Draw) -> None:
    with pytest.raises((ValueError, RuntimeError)) as theirs:
        torchs()
    g = Generator()
    before = g.state_bytes()
    with pytest.raises(theirs.type, match=r"^\w+: got .*, expected") as ours:
        draw(g)
    assert ours.type is RandomError
    np.testing.assert_array_equal(g.state_bytes(), before)


def test_dtypes_shapes_and_devices_outside_the_subset_are_refused() -> None:
    g = Generator()
    with pytest.raises(DTypeError, match="uniform: got dtype float16, expected float32 or float64"):
        g.uniform(3, dtype=np.float16)
    with pytest.raises(DTypeError, match="normal: got dtype int64"):
        g.normal(3, dtype=np.int64)
    with pytest.raises(ShapeError, match=r"uniform: got shape \(2, -1\), expected no negative"):
        g.uniform((2, -1))
    with pytest.raises(OutsideSubsetError, match="randperm: got n=214748364"):
        g.randperm(214_748_364)
    assert str(Generator("cpu").device) == "cpu"
    with pytest.raises(OutsideSubsetError, match="device 'cuda'"):
        Generator("cuda")


# --- what is loaded --------------------------------------------------------------------------


def test_numpy_kernels_load_nothing_compiled() -> None:
    code = (
        "import sys, npmlp.random as r\n"
        "g = r.manual_seed(0); g.randperm(5000); g.normal(20); g.bernoulli(9, 0.5)\n"
        "assert 'numba' not in sys.modules and 'torch' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "NPMLP_KERNELS": "numpy"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=root)
