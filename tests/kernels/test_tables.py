"""Tables: addresses that lead to arrays, their parts for threads, and the loops over them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numba import njit

from npmlp.kernels.addresses import array_at
from npmlp.kernels.optim import adam_rates, adam_step
from npmlp.kernels.rmsprop import rmsprop_table
from npmlp.kernels.tables import Table, place_of
from npmlp.optim.rmsprop import rmsprop_update

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def doubled(address, length, like):
    a = array_at(address, length, like)
    for i in range(a.size):
        a[i] *= 2
    return a.sum()


@BOTH
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 4), (2, 1, 3, 2)])
def test_an_address_leads_to_the_array_itself(shape, dtype):
    rng = np.random.default_rng(0)
    a = np.asarray(rng.standard_normal(shape), dtype)
    before = a.copy()
    total = doubled(place_of(a, a.dtype), a.size, np.empty(0, dtype))
    np.testing.assert_array_equal(a, 2 * before)
    # a sum of at most 15 terms below 4, rounded 15 times
    np.testing.assert_allclose(total, a.sum(), rtol=0, atol=15 * 30 * np.finfo(dtype).eps)


@BOTH
def test_an_address_may_begin_within_an_array(dtype):
    a = np.arange(10, dtype=dtype)
    doubled(place_of(a, a.dtype) + 4 * a.itemsize, 3, a)
    assert a.tolist() == [0, 1, 2, 3, 8, 10, 12, 7, 8, 9]


def test_arrays_that_a_loop_could_not_walk_over_have_no_place():
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    a = np.zeros((4, 4), np.float32)
    assert place_of(a, single) == a.ctypes.data
    assert place_of(a, double) == 0
    assert place_of(a.astype(">f4"), single) == 0
    assert place_of(a.T[:, :3], single) == place_of(a[:, ::2], single) == 0
    assert place_of(np.broadcast_to(np.float32(1), (3,)), single) == 0
    misplaced = np.frombuffer(bytearray(17), np.float32, count=4, offset=1)
    assert place_of(misplaced, single) == 0
    a.setflags(write=False)
    assert place_of(a, single) == 0


LENGTHS = [0, 1, 63, 64, 65, 1000, 130]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_have_every_entry_once(count):
    arrays = [np.zeros((2, n), np.float32) for n in LENGTHS]
    lines = [[a.shape[1], 0, *(place_of(b, b.dtype) for b in a)] for a in arrays]
    table = Table(lines, np.dtype(np.float32), ())
    parts = table.parts(count)
    assert parts.shape == (count, len(LENGTHS), 4)
    for column in (2, 3):
        for i, a in enumerate(arrays):
            found = np.zeros(a.shape[1], int)
            for length, place in parts[:, i, [0, column]]:
                start = (place - table.rows[i, column]) // 4
                found[start : start + length] += 1
            assert (found == 1).all()
    np.testing.assert_array_equal(table.rows, lines)


def test_a_table_whose_parameters_share_memory_is_not_divided():
    memory = np.zeros(30)
    place = place_of(memory, memory.dtype)

    def overlap(*ranges):
        lines = [[last - first, 0, place + 8 * first, 0] for first, last in ranges]
        return Table(lines, memory.dtype, ()).overlaps

    assert not overlap((20, 30), (0, 10), (10, 20))
    assert overlap((20, 30), (0, 11), (10, 20))
    assert overlap((5, 6), (0, 30))


# ------------------------------------------------------------------------------------------ rules


RMSPROP = [
    (alpha, eps, decay, momentum, maximize, centered)
    for (alpha, eps), decay, momentum, maximize, centered in itertools.product(
        [(0.99, 1e-8), (0.3, 1e-3)], (0.0, 0.1), (0.0, 0.9), (False, True), (False, True)
    )
]


@BOTH
@pytest.mark.parametrize("options", RMSPROP, ids=lambda o: ",".join(map(str, o)))
def test_rmsprop_has_the_bits_of_its_numpy_text(options, dtype):
    alpha, eps, decay, momentum, maximize, centered = options
    rng = np.random.default_rng(3)
    numbers = (0.005, alpha, eps, decay, momentum, maximize)
    sides = []
    for shape in [(5, 11), (64,), ()]:
        param, grad, buf = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(3))
        square_avg, mean = np.asarray(rng.random(shape), dtype), np.asarray(buf * 0.1, dtype)
        arrays = [param, grad, square_avg, buf if momentum else None, mean if centered else None]
        sides.append([[None if a is None else a.copy() for a in arrays] for _ in range(2)])
    kept = (True, momentum > 0, centered)
    lines = [
        [ours[0].size, 0, *(0 if a is None else place_of(a, a.dtype) for a in ours)]
        for ours, _ in sides
    ]
    table = Table(lines, np.dtype(dtype), kept)
    # centered, v - m² may be below zero, and its root NaN on both sides
    with np.errstate(invalid="ignore"):
        for _ in range(3):
            rmsprop_table(table, np.array([numbers], np.float64))
            for _, text in sides:
                rmsprop_update(*text, *numbers)
    for ours, text in sides:
        for a, b in zip(ours, text, strict=True):
            if a is not None:
                np.testing.assert_array_equal(a, b, strict=True)
                np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


@BOTH
@pytest.mark.parametrize("step", [1.0, 7.0, 5000.0])
def test_adam_divides_as_exactly_as_numpy(step, dtype):
    """The kernel multiplies with an inverse in double precision where NumPy divides. With β₁ = 0
    the first moment is the gradient, and from a parameter of 0 the step is all that is left."""
    rng = np.random.default_rng(4)
    largest = 38 if dtype == np.float32 else 300
    grad = rng.standard_normal(50_000).astype(dtype)
    exp_avg_sq = (10.0 ** rng.uniform(-largest, largest, 50_000)).astype(dtype)
    exp_avg_sq[:3] = 0, np.inf, np.finfo(dtype).smallest_subnormal
    grad[:3] = 0
    param, exp_avg = np.zeros_like(grad), np.zeros_like(grad)
    numbers = (1e-3, 0.0, 0.999, 1e-8, 0.0, False, False)
    adam_step(param, grad, exp_avg, exp_avg_sq, None, step, *numbers)
    down, root, eps = (dtype(adam_rates(step, *numbers)[i]) for i in (0, 4, 5))
    with np.errstate(all="ignore"):
        expected = down * grad / (np.sqrt(exp_avg_sq) / root + eps)
    assert param.tobytes() == (np.zeros_like(grad) + expected).tobytes()
