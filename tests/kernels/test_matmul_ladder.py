"""The matmul ladder: every rung against float64 NumPy, within the bound that rounding gives."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from npmlp.kernels import ladder, matmul, panels, scratch, threads
from npmlp.kernels.ladder import Matrix

RUNGS = ["three_loops", "right_order", "blocked", "multiply", "multiply_transposed"]
# Sizes on both sides of tiles of 4, 8 and 16 rows, of vectors of 4 to 16 lanes, and of strips of 3.
EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 65, 97]
DTYPES = [np.float32, np.float64]


def shapes():
    rng = np.random.default_rng(0)
    yield from ((n, 3, 5) for n in (0, 1, 4, 9))
    yield from ((5, k, 6) for k in (0, 1, 127, 128, 129, 261))
    yield from ((6, 5, m) for m in (0, 1, 3, 100))
    for _ in range(40):
        yield tuple(int(s) for s in rng.choice(EDGES, 3))
    yield 64, 784, 100
    yield 10, 64, 100
    yield 5, 70000, 9  # a panel of b is one tile wide
    yield 67, 515, 1100  # large: blocks of k, of columns, and one of rows
    yield 250, 300, 920


def run(rung, a, b, out, bias=None):
    """`a b` (+ bias) by a rung, into an `out` that holds NaN before."""
    out.fill(np.nan)
    if rung == "multiply":
        matmul.multiply(a, b, out, bias)
    elif rung == "multiply_transposed":
        specs = scratch.panels(len(a), *b.shape, b.dtype)
        packed = [np.full(shape, np.nan, dtype) for shape, dtype in specs]
        matmul.multiply_transposed(a, np.ascontiguousarray(b.T), out, packed, bias)
    elif rung == "blocked":
        start = np.zeros(out.shape[1], out.dtype) if bias is None else bias
        a_, b_, start_, out_ = matrices(a, b, start, out)
        floor = out.dtype.type(-np.inf)
        ladder.blocked(a_, b_, start_, floor, out_, *a.shape, out.shape[1])
    else:
        getattr(ladder, rung)(a, b, out)
    return out


def matrices(a, b, start, out):
    """The four as compiled code takes them."""
    flat, down, along = matmul.memory(a)
    m = out.shape[1]
    return (
        Matrix(flat, 0, down, along), Matrix(b.reshape(-1), 0, m, 1), Matrix(start, 0, 0, 1),
        Matrix(out.reshape(-1), 0, m, 1),
    )  # fmt: skip


def assert_within_rounding(got, a, b, bias=0.0):
    """|got - ab| ≤ 2 k eps |a||b|, entry by entry.

    A sum of k products rounds to within k eps |a||b| in any order, with or without fused
    multiply-adds (Higham, Accuracy and Stability of Numerical Algorithms, 2002, equation 3.5;
    eps/2 is its unit roundoff, which leaves a factor 2 for second-order terms); twice that for
    the reference's own error, where it is of the same precision; one term more for the bias.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    terms = a.shape[1] + 1
    bound = 2 * terms * np.finfo(got.dtype).eps * (np.abs(a) @ np.abs(b) + np.abs(bias))
    assert np.all(np.abs(got - (a @ b + bias)) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_equals_the_product_to_rounding_at_every_edge(rung, dtype):
    rng = np.random.default_rng(1)
    for n, k, m in shapes():
        a = rng.standard_normal((n, k)).astype(dtype)
        b = rng.standard_normal((k, m)).astype(dtype)
        assert_within_rounding(run(rung, a, b, np.empty((n, m), dtype)), a, b)


@pytest.mark.parametrize("rung", ["blocked", "multiply", "multiply_transposed"])
def test_bias_is_added_to_every_row(rung):
    rng = np.random.default_rng(2)
    for n, k, m in [(0, 3, 4), (3, 5, 2), (6, 0, 5), (9, 17, 33)]:
        a, b, bias = (
            rng.standard_normal((n, k)),
            rng.standard_normal((k, m)),
            rng.standard_normal(m),
        )
        assert_within_rounding(run(rung, a, b, np.empty((n, m)), bias), a, b, bias)


def test_multiply_reads_a_through_any_strides():
    rng = np.random.default_rng(3)
    b = rng.standard_normal((21, 18))
    big = rng.standard_normal((50, 60))
    for a in (big[:21, :10].T, big[3:30:2, 5:47:2], np.broadcast_to(big[0, :21], (7, 21))):
        got = run("multiply", a, b, np.empty((a.shape[0], 18)))
        assert_within_rounding(got, a, b)


def test_nan_and_infinity_go_through():
    a, b = np.ones((5, 6)), np.ones((6, 7))
    a[2, 3], b[1, 4] = np.nan, np.inf
    for rung in RUNGS:
        got = run(rung, a, b, np.empty((5, 7)))
        assert np.isnan(got[2]).all()
        assert np.isinf(np.delete(got, 2, axis=0)[:, 4]).all()
        assert np.isfinite(np.delete(np.delete(got, 2, axis=0), 4, axis=1)).all()


@pytest.fixture
def two_threads():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one processor")
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", ["multiply", "multiply_transposed"])
def test_results_are_the_same_bits_for_one_and_two_threads(rung, dtype, two_threads, monkeypatch):
    monkeypatch.setattr(matmul, "_THREADS_FROM", 1 << 20)
    monkeypatch.setattr(matmul, "_PACKING_ON_THREADS_FROM", 0)
    rng = np.random.default_rng(4)
    for n, k, m in [(64, 784, 100), (9, 1001, 121), (21, 333, 177), (101, 130, 100), (67, 401, 40)]:
        a = rng.standard_normal((n, k)).astype(dtype)
        b = rng.standard_normal((k, m)).astype(dtype)
        out = np.empty((n, m), dtype)
        assert n * k * m >= matmul._THREADS_FROM
        numba.set_num_threads(1)
        one = run(rung, a, b, out).copy()
        numba.set_num_threads(2)
        two = run(rung, a, b, out)
        assert one.tobytes() == two.tobytes()


def test_a_floor_is_a_relu_and_leaves_nan():
    rng = np.random.default_rng(8)
    for n, k, m in [(9, 17, 33), (70, 300, 20), (3, 0, 5), (64, 515, 1100)]:
        a, bt = rng.standard_normal((n, k)), rng.standard_normal((m, k))
        bias = rng.standard_normal(m)
        bias[1] = np.nan
        panels_ = [np.empty(*spec) for spec in scratch.panels(n, k, m, a.dtype)]
        plain, relu = np.empty((n, m)), np.empty((n, m))
        matmul.multiply_transposed(a, bt, plain, panels_, bias)
        matmul.multiply_transposed(a, bt, relu, panels_, bias, relu=True)
        assert np.isnan(relu[:, 1]).all()
        assert np.array_equal(relu, np.where(plain <= 0, 0, plain), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_gives_the_bits_of_the_rung_below(dtype):
    rng = np.random.default_rng(5)
    for n, k, m in shapes():
        a = rng.standard_normal((n, k)).astype(dtype)
        b = rng.standard_normal((k, m)).astype(dtype)
        bias = rng.standard_normal(m).astype(dtype)
        below = run("blocked", a, b, np.empty((n, m), dtype), bias).copy()
        for rung in ("multiply", "multiply_transposed"):
            if rung == "multiply" or not scratch.are_dots(n, k, m):  # these add in another order
                assert run(rung, a, b, np.empty((n, m), dtype), bias).tobytes() == below.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [512, 513, 784, 1001])
def test_dot_products_of_rows(k, dtype):
    rng = np.random.default_rng(k)
    for n, m in [(1, 1), (2, 3), (7, 4), (8, 100), (20, 5), (97, 2), (256, 13)]:
        assert scratch.are_dots(n, k, m)
        # whole numbers whose sums are exact, so that they do not depend on an order
        a, bt = (rng.integers(-4, 5, (rows, k)).astype(dtype) for rows in (n, m))
        bias = rng.integers(-50, 50, m).astype(dtype)
        out = np.full((n, m), np.nan, dtype)
        matmul.multiply_transposed(a, bt, out, (), bias)
        np.testing.assert_array_equal(out, a @ bt.T + bias)
        matmul.multiply_transposed(np.asfortranarray(a), bt, out, (), bias, relu=True)
        np.testing.assert_array_equal(out, np.maximum(0, a @ bt.T + bias))
        # in whichever tile an entry falls, it has the same bits
        a, bt = (rng.standard_normal(x.shape).astype(dtype) for x in (a, bt))
        matmul.multiply_transposed(a, bt, out, ())
        for i, j in [(0, 0), (n - 1, m - 1), (n // 2, m // 2)]:
            alone = np.empty((1, 1), dtype)
            matmul.multiply_transposed(a[i : i + 1], bt[j : j + 1], alone, ())
            assert alone.tobytes() == out[i : i + 1, j : j + 1].tobytes()


def test_dot_products_in_many_blocks_have_the_bits_of_those_in_one():
    """They are computed in another order of tiles, each entry as ever."""
    rng = np.random.default_rng(6)
    a, bt = rng.standard_normal((20, 2100)), rng.standard_normal((2100, 2100))
    assert bt.nbytes > 100 * panels._DOT_COLUMN_BYTES and bt[:9].nbytes < panels._DOT_COLUMN_BYTES
    whole, part = np.empty((20, 2100)), np.empty((2, 9))
    matmul.multiply_transposed(a, bt, whole, [])
    matmul.multiply_transposed(a[7:9].copy(), bt[1500:1509].copy(), part, [])
    assert whole[7:9, 1500:1509].tobytes() == part.tobytes()
    np.testing.assert_allclose(whole, a @ bt.T, rtol=1e-9, atol=1e-9)


def test_a_part_is_computed_and_nothing_around_it_is_touched():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((23, 9)), rng.standard_normal((9, 40))
    for first, last, left, right in [(0, 23, 0, 40), (4, 12, 8, 40), (20, 23, 3, 30), (4, 4, 0, 9)]:
        for function in (panels.product, panels._portable):
            out = np.full((23, 40), np.nan)
            a_, b_, start, out_ = matrices(a, b, np.zeros(40), out)
            part = last - first, 9, right - left
            function(ladder.moved(a_, first, 0), ladder.moved(b_, 0, left), False, start, -np.inf,
                     ladder.moved(out_, first, left), *part)  # fmt: skip
            inside = out[first:last, left:right]
            assert_within_rounding(inside, a[first:last], b[:, left:right])
            assert np.isnan(out).sum() == out.size - inside.size


def test_a_product_is_added_to_what_is_there():
    rng = np.random.default_rng(7)
    a, b, before = (rng.standard_normal(s) for s in ((21, 9), (9, 50), (21, 50)))
    for function in (panels.product, panels._portable):
        out = before.copy()
        a_, b_, _, out_ = matrices(a, b, before, out)
        function(a_, b_, False, out_, -np.inf, out_, 21, 9, 50)
        assert_within_rounding(
            out, np.hstack([a, before]), np.vstack([b, np.zeros((50, 50))]), before
        )


def test_portions_cover_every_row_once_and_leave_tiles_whole():
    for size in range(1, 200):
        for count in range(1, 9):
            for unit in (8, 16):
                chunk, chunks = threads.portions(size, count, unit)
                assert chunk % unit == 0
                assert chunks <= count
                assert (chunks - 1) * chunk < size <= chunks * chunk


def test_a_second_caller_runs_alone_while_threads_are_taken(two_threads):
    numba.set_num_threads(2)
    a, b = np.ones((64, 784)), np.ones((784, 100))
    out = run("multiply", a, b, np.empty((64, 100)))  # the first run settles the layer
    if not threads._state["usable"]:
        pytest.skip("Numba's threading layer here is not used")
    assert threads.take()
    try:
        assert not threads.take()
        np.testing.assert_array_equal(run("multiply", a, b, out), 784.0)
    finally:
        threads.give_back()


AFTER_A_FORK = """
import os, numba, numpy as np
from npmlp.kernels import matmul
numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
matmul._THREADS_FROM = 1
a, b, out = np.ones((64, 784)), np.ones((784, 100)), np.empty((64, 100))
matmul.multiply(a, b, out)
child = os.fork()
out.fill(0)
matmul.multiply(a, b, out)
assert (out == 784).all()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_without_the_threads_it_does_not_have():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", AFTER_A_FORK], timeout=60)
    assert done.returncode == 0
