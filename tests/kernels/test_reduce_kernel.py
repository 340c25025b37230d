"""Sums and means over dimensions that others follow: against NumPy in double precision, and the
same bits on any number of threads.
"""

from __future__ import annotations

import numpy as np
import pytest

import npmlp
from npmlp.kernels.reduce import mean_backward, mean_forward, sum_backward, sum_forward

CASES = [  # shape, dim: lines shorter than a vector, whole tiles, tiles and a rest, one row alone
    ((3, 70, 5), (1,)), ((2, 130, 128), (1,)), ((5, 3, 7, 83), (1, 2)), ((400, 1400), (0,)),
    ((4, 9, 2, 33), (0, 1)), ((128, 49, 128), (1,)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    before = npmlp.get_num_threads()
    yield
    npmlp.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_sums_and_their_gradients(shape, dim, dtype):
    rng = np.random.default_rng(len(shape))
    x = rng.standard_normal(shape).astype(dtype)
    small = tuple(n for i, n in enumerate(shape) if i not in dim)
    count = int(np.prod([shape[i] for i in dim]))
    dout = rng.standard_normal(small).astype(dtype)
    spread = np.broadcast_to(np.expand_dims(dout, dim), shape)
    expected = x.sum(axis=dim, dtype=np.float64)
    # a sum of n terms rounds by at most n · eps of Σ|x| (Higham 2002, 3.5); then one division
    bound = (count + 1) * np.finfo(dtype).eps * np.abs(x).sum(axis=dim, dtype=np.float64)
    first = {}
    for threads in (1, 2):
        npmlp.set_num_threads(threads)
        out, mean = (np.full(small, np.nan, dtype) for _ in range(2))
        dsum, dmean = (np.full(shape, np.nan, dtype) for _ in range(2))
        sum_forward((x,), (out,), (), dim=dim, keepdim=False)
        mean_forward((x,), (mean,), (), dim=dim, keepdim=False)
        sum_backward(dout, (None,), (), (dsum,), (), dim=dim, keepdim=False)
        mean_backward(dout, (None,), (), (dmean,), (), dim=dim, keepdim=False)
        assert np.all(np.abs(out - expected) <= bound)
        assert np.array_equal(mean, out / np.dtype(dtype).type(count))
        assert np.array_equal(dsum, spread)
        assert np.array_equal(dmean, spread / np.dtype(dtype).type(count))
        found = {"sum": out, "mean": mean}
        for name, array in found.items():
            assert np.array_equal(array, first.setdefault(name, array))


def test_the_engine_uses_them_for_transposed_tensors_too():
    x = npmlp.arange(2.0 * 5 * 33).reshape(2, 5, 33).transpose(1, 2)
    assert np.array_equal(x.mean(1).numpy(), x.numpy().mean(axis=1))
