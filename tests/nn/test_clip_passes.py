"""Gradient clipping in two compiled passes: as exact as NumPy's way or more so, with the same
factor, and NumPy's way where gradients cannot be walked over.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from layers_beside_torch import both

import npmlp
from npmlp import config
from npmlp.nn import utils

SIZES = [(100, 784), (100,), (), (0, 3), (1023,), (1024,), (1025,), (6, 1, 5, 5)]


@pytest.fixture(autouse=True)
def compiled() -> None:
    """Unless a test takes both kernels in turn."""
    config.set_kernels("numba")


BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def gradients(dtype: Any, seed: int = 0, scale: float = 1.0) -> list[npmlp.Tensor]:
    rng = np.random.default_rng(seed)
    return [npmlp.from_numpy(np.asarray(rng.standard_normal(s) * scale, dtype)) for s in SIZES]


def parameters(grads: list[npmlp.Tensor]) -> list[npmlp.Tensor]:
    made = [npmlp.zeros_like(g) for g in grads]
    for p, g in zip(made, grads, strict=True):
        p.grad = g
    return made


def exact(grads: list[npmlp.Tensor]) -> float:
    """The norm in extended precision."""
    return float(np.sqrt(sum((g.numpy().astype(np.longdouble) ** 2).sum() for g in grads)))


@BOTH
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_norm_is_exact_to_a_few_roundings(dtype: Any, scale: float) -> None:
    grads = gradients(dtype, scale=scale)
    total = utils.clip_grad_norm_(parameters(grads), 1e30).item()
    # Of a tensor's norm and of the total, the sum is rounded by eps / 2, which the root halves, and
    # the root by eps / 2: 1.5 eps. As much again is for the sums within chunks, whose errors have
    # either sign and average out over the lanes and chunks.
    assert total == pytest.approx(exact(grads), rel=3 * float(np.finfo(dtype).eps))


def test_a_long_gradient_keeps_its_digits() -> None:
    """Equal squares are rounded in one direction once their sum is large: in one chain, or a few,
    the error would be of the order of their number times eps."""
    grads = [npmlp.from_numpy(np.full(1 << 21, 0.7, np.float32))]
    total = utils.get_total_norm(grads).item()
    # With four lanes, the fewest, a lane adds 256 squares, each time rounding by eps / 2 of half
    # their sum on average: 64 eps, which the root halves. NumPy's dot is off by 1475 eps here.
    assert total == pytest.approx(exact(grads), rel=32 * float(np.finfo(np.float32).eps))


@BOTH
def test_gradients_are_scaled_to_the_bits_that_numpy_gives(dtype: Any) -> None:
    results = []
    for kernels in ("numpy", "numba"):
        config.set_kernels(kernels)  # type: ignore[arg-type]
        grads = gradients(dtype)
        norm = npmlp.tensor(283.7, dtype=npmlp.float64)  # its factor is rounded to the gradients'
        utils.clip_grads_with_norm_(parameters(grads), 1.7, norm)
        results.append([g.numpy().tobytes() for g in grads])
    assert results[0] == results[1] != [g.numpy().tobytes() for g in gradients(dtype)]


@BOTH
def test_gradients_in_any_order_of_memory_are_clipped(dtype: Any, kernels: str) -> None:
    straight, turned = gradients(dtype), gradients(dtype)
    turned[0] = npmlp.from_numpy(np.asfortranarray(turned[0].numpy()))
    turned[1] = npmlp.from_numpy(np.repeat(turned[1].numpy(), 2)[::2])
    totals = [utils.clip_grad_norm_(parameters(grads), 0.5).item() for grads in (straight, turned)]
    # the norm of `turned` is NumPy's, which rounds as described in test_clip.py
    tolerance = 3e-6 if dtype == np.float32 else 1e-12
    assert totals[0] == pytest.approx(totals[1], rel=tolerance)
    for a, b in zip(straight, turned, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance)


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_norms_out_of_float32s_range_are_pytorchs(size: float, kernels: str) -> None:
    def lines(m: Any) -> Any:
        p = m.zeros(2000)
        p.grad = m.from_numpy(np.full(2000, size, np.float32))
        total = m.nn.utils.clip_grad_norm_(p, 1.0)
        return total.item(), p.grad.numpy()

    (total, ours), (total_there, theirs) = both(lines)
    assert total == total_there
    np.testing.assert_array_equal(ours, theirs)


def test_a_gradient_that_two_parameters_share_is_scaled_twice_as_in_pytorch(kernels: str) -> None:
    def lines(m: Any) -> Any:
        p, q = m.zeros(2), m.zeros(2)
        p.grad = q.grad = m.tensor([3.0, 4.0])
        total = m.nn.utils.clip_grad_norm_([p, q], 1.0)
        return total.item(), p.grad.tolist()

    (total, ours), (total_there, theirs) = both(lines)
    # √2 · 5 and its square, rounded some times
    np.testing.assert_allclose([total, *ours], [total_there, *theirs], rtol=1e-6)


@BOTH
def test_a_table_of_gradients_is_good_for_the_next_ones_in_the_same_arrays(dtype: Any) -> None:
    kept = gradients(dtype)
    table = utils._table_of(kept)
    assert table is not None
    for seed in (1, 2):
        for a, b in zip(kept, gradients(dtype, seed), strict=True):
            a.numpy()[...] = b.numpy()
        versions = [g._storage.version for g in kept]
        total = utils._clip(kept, table, 0.25)
        expected = gradients(dtype, seed)
        assert total.item() == utils.clip_grad_norm_(parameters(expected), 0.25).item()
        for a, b in zip(kept, expected, strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()
        assert [g._storage.version for g in kept] == [v + 1 for v in versions]


@BOTH
def test_clipping_has_the_same_bits_for_any_number_of_threads(dtype: Any) -> None:
    before = numba.get_num_threads()
    results = []
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            grads = gradients(dtype)
            total = utils.clip_grad_norm_(parameters(grads), 0.5)
            results.append([total.item(), *(g.numpy().tobytes() for g in grads)])
    finally:
        numba.set_num_threads(before)
    assert all(result == results[0] for result in results)
