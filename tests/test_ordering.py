"""Order and selection beside PyTorch: sort, topk, gather, scatter, masks, reversed dimensions."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools

import numpy as np
import pytest
from beside_torch import (
    DTYPES,
    assert_same_gradients,
    assert_same_outcome,
    both,
    numbers,
)

import npmlp
from npmlp.errors import DTypeError, OutsideSubsetError, ShapeError

TIED = np.array([[1.0, 3.0, 3.0, np.nan], [2.0, 2.0, np.inf, 2.0]])


def test_sort_and_argsort_along_any_dimension() -> None:
    for dtype, shape in itertools.product(DTYPES, [(3, 4), (5,), (), (0, 2)]):
        x = numbers(shape, dtype)
        for dim, descending in itertools.product((0, -1, 1, 2), (False, True)):
            options = {"dim": dim, "descending": descending, "stable": True}
            assert_same_outcome(lambda lib, x: tuple(lib.sort(x, **options)), x)
            assert_same_outcome(lambda lib, x: x.argsort(**options), x)
    for descending in (False, True):
        stable = {"descending": descending, "stable": True}
        assert assert_same_outcome(lambda lib, x: tuple(x.sort(**stable)), TIED)
        assert_same_gradients(lambda lib, x: x.sort(0, descending).values, numbers((3, 4)))


def test_the_k_largest_or_smallest() -> None:
    for dtype in ("float32", "float64", "int64", "uint8"):
        x = np.random.default_rng(1).permutation(12).reshape(3, 4).astype(dtype)
        for k, dim, largest in itertools.product((0, 1, 3, 4, 5), (0, 1, -1), (True, False)):
            assert_same_outcome(lambda lib, x: tuple(lib.topk(x, k, dim, largest)), x)
    assert assert_same_outcome(lambda lib, x: tuple(x.topk(1)), np.float64(3.0))
    assert_same_gradients(lambda lib, x: lib.topk(x, 2, 0)[0], numbers((3, 4)))
    with pytest.raises(ShapeError, match="topk: k is 5, expected 0 to 4"):
        npmlp.ones(2, 4).topk(5)


def test_pairs_of_values_and_indices_print_as_in_pytorch() -> None:
    ours, theirs = both(numbers((2, 3)))
    for call in (
        lambda x: x.sort(),
        lambda x: x.topk(2),
        lambda x: x.max(dim=1),
        lambda x: x.min(0),
        lambda x: x.max(1, keepdim=True),
    ):
        assert repr(call(ours)) == repr(call(theirs))
    values, indices = ours.sort()
    assert npmlp.equal(values, ours.sort().values) and npmlp.equal(indices, ours.sort().indices)


def test_gather_reads_and_scatter_writes_along_a_dimension() -> None:
    x, src = numbers((4, 5)), numbers((4, 5), seed=1)
    for index, dim in [
        (np.array([[0, 4], [1, 1]]), 1),
        (np.array([[3, 0, 1, 2, 2]]), 0),
        (np.array([[2, 0], [0, 1], [1, 2], [3, 3]]), -2),
        (np.zeros((0, 3), np.int64), 0),
    ]:
        assert_same_gradients(lambda lib, x: x.gather(dim, lib.from_numpy(index)), x)
        assert assert_same_outcome(lambda lib, x, i: lib.gather(x, dim, i), x, index)
        assert assert_same_outcome(lambda lib, x, i: x.scatter(dim, i, 2.5), x, index)
        assert assert_same_outcome(lambda lib, x, i: x.scatter_(dim, i, value=-1), x, index)
    places = np.array([[1, 0, 3], [2, 4, 0]])
    assert assert_same_outcome(lambda lib, x, s, i: lib.scatter(x, 1, i, s), x, src, places)
    assert_same_gradients(
        lambda lib, x, s: x.scatter(1, lib.from_numpy(places), s), x, numbers((2, 3))
    )
    assert_same_gradients(lambda lib, x: (x * 1).scatter_(1, lib.from_numpy(places), 3.0), x)


def test_gather_and_scatter_take_a_number_for_one_entry() -> None:
    one, three = np.asarray(4), np.array(3.0)
    assert assert_same_outcome(lambda lib, x, i: x.scatter_(0, i, value=1), np.zeros(10), one)
    assert assert_same_outcome(lambda lib, x, i, s: x.scatter(0, i, s), np.zeros(10), one, three)
    assert assert_same_outcome(lambda lib, x, i: x.gather(0, i), numbers((6,)), one)
    zero = np.asarray(0)
    assert assert_same_outcome(lambda lib, x, i: x.gather(0, i), three, zero)
    assert assert_same_outcome(lambda lib, x, i: x.scatter(0, i, 7.0), three, zero)
    assert_same_gradients(lambda lib, x: x.gather(0, lib.tensor(4)), numbers((6,)))


def test_what_gather_and_scatter_refuse() -> None:
    x = np.ones((2, 3))
    for index in (np.array([[0, 3]]), np.array([[-1]]), np.array([0]), np.array([[0.0]]),
                  np.zeros((3, 1), np.int64)):  # fmt: skip
        assert not assert_same_outcome(lambda lib, x, i: x.gather(1, i), x, index)
        assert not assert_same_outcome(lambda lib, x, i: x.scatter(1, i, 1.0), x, index)
    index = np.array([[0, 1]])
    small, whole = np.ones((1, 1)), np.ones((1, 2), np.int64)
    for src in (small, whole):
        assert not assert_same_outcome(lambda lib, x, i, s: x.scatter(1, i, s), x, index, src)
    ours = npmlp.from_numpy(x)
    with pytest.raises(DTypeError, match="neither or both of src and value"):
        ours.scatter(1, npmlp.from_numpy(index))
    with pytest.raises(OutsideSubsetError, match="reduce="):
        ours.scatter_(1, npmlp.from_numpy(index), 1.0, reduce="add")


def test_slices_at_positions() -> None:
    x = numbers((3, 4))
    for dim, index in ((0, np.array([2, 0, 2])), (1, np.array([3])), (-1, np.asarray(1))):
        assert_same_gradients(lambda lib, x: x.index_select(dim, lib.from_numpy(index)), x)
    for wrong in (np.array([3]), np.array([-1]), np.array([[0]]), np.array([0.5])):
        assert not assert_same_outcome(lambda lib, x, i: lib.index_select(x, 0, i), x, wrong)
    assert assert_same_outcome(
        lambda lib, x, i: x.index_select(0, i), np.asarray(2.0), np.array([0])
    )


def test_reversed_dimensions() -> None:
    x = numbers((3, 4))
    assert_same_gradients(lambda lib, x: lib.flip(x, [0]), x)
    assert_same_gradients(lambda lib, x: x.flip(0, -1), x)
    assert assert_same_outcome(lambda lib, x: x.flip((1,)), numbers((0, 3), "int64"))
    for dims in ([0, 0], [2], []):
        assert_same_outcome(lambda lib, x: lib.flip(x, dims), x)


def test_triangles_of_matrices() -> None:
    for op, diagonal in itertools.product(("tril", "triu"), (0, 1, -1, 9)):
        for dtype, shape in itertools.product(DTYPES, [(3, 4), (2, 3, 3), (0, 2)]):
            x = numbers(shape, dtype)
            assert assert_same_outcome(lambda lib, x: getattr(lib, op)(x, diagonal), x)
        assert_same_gradients(lambda lib, x: getattr(x, op)(diagonal), numbers((3, 4)))
    assert not assert_same_outcome(lambda lib, x: x.tril(), numbers((3,)))


def test_masks_fill_and_select() -> None:
    x, mask = numbers((3, 4)), numbers((3, 4), "bool")
    for dtype, value in itertools.product(DTYPES, (2, -1.5, 300, True, float("inf"))):
        y = numbers((3, 4), dtype)
        assert_same_outcome(lambda lib, y, m: lib.masked_fill(y, m, value), y, mask)
    assert_same_gradients(
        lambda lib, x: x.masked_fill(lib.from_numpy(mask), float("-inf")).softmax(1), x, tol=1e-14
    )
    assert_same_gradients(lambda lib, x, v: x.masked_fill(lib.from_numpy(mask), v), x, numbers(()))
    assert_same_gradients(lambda lib, x: (x * 1).masked_fill_(lib.from_numpy(mask[0]), 0), x)
    assert_same_gradients(lambda lib, x: lib.masked_select(x, lib.from_numpy(mask)), x)
    assert_same_gradients(lambda lib, x: x.masked_select(lib.from_numpy(mask[:1])), x)
    for wrong in (mask.astype(np.int64), mask[:, :3]):
        assert not assert_same_outcome(lambda lib, x, m: x.masked_select(m), x, wrong)
        assert not assert_same_outcome(lambda lib, x, m: x.masked_fill(m, 1.0), x, wrong)
