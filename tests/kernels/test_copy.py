"""Copies of arrays that lie in another order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from npmlp.kernels import copy as copies
from npmlp.kernels.cache import numba


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(33, 40), (1, 17), (5, 33, 18), (3, 16, 2, 35), (2, 3, 1, 4, 5)])
def test_every_transpose(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for order in itertools.permutations(range(len(shape))):
        view = x.transpose(order)
        out = np.full(view.shape, np.nan, dtype)
        copies.copy(view, out)
        assert out.tobytes() == np.ascontiguousarray(view).tobytes()


def test_strides_of_every_sign_and_none():
    x = np.random.default_rng(1).standard_normal((20, 34, 18))
    for view in (
        x[::-1], x[:, ::2], x[..., ::-3], x[3:4, 5:, 2:], x[:0], np.broadcast_to(x[0, 0], (7, 18)),
        np.broadcast_to(x[:, :1], x.shape), x[2, 3, 4:5],
    ):  # fmt: skip
        out = np.full(view.shape, np.nan)
        copies.copy(view, out)
        np.testing.assert_array_equal(out, view)


def test_dimensions_that_one_stride_covers_become_one():
    x = np.zeros((4, 5, 6, 7))
    assert copies.merged(x) == (840,)
    assert copies.merged(x[:, :, :, :3]) == (120, 3)
    assert copies.merged(x.transpose(2, 3, 0, 1)) == (42, 20)
    assert copies.merged(x[:1, 2:3]) == (42,)


@pytest.mark.parametrize("shape", [(700, 400), (9, 200, 170)])
def test_threads_copy_the_same(shape):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("a processor with one core")
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32).swapaxes(-1, -2)
    assert x.size >= copies._THREADS_FROM
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        out = np.empty(x.shape, np.float32)
        copies.copy(x, out)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(out, x)
