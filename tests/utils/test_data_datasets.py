"""Datasets and collation beside torch's: the same samples, batches, types and errors."""

from __future__ import annotations

from collections import OrderedDict, UserList, namedtuple
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch.utils import data as theirs

import npmlp
from npmlp.errors import ShapeError
from npmlp.utils import data as ours

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 2, 3)).astype(np.float32)
Y = RNG.integers(0, 9, 10)
SIDES = ((ours, npmlp), (theirs, torch))
Point = namedtuple("Point", ["x", "y"])


def plain(value):
    """Tensors of either side as (dtype, values), all else with its type, so that two compare."""
    if isinstance(value, (npmlp.Tensor, torch.Tensor)):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return type(value), {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, UserList)):
        return type(value), [plain(v) for v in value]
    return type(value), value


def assert_same_on_both(make):
    mine, reference = (plain(make(data, module)) for data, module in SIDES)
    assert mine == reference


# ---- datasets --------------------------------------------------------------------------------


def tensors(module):
    return module.from_numpy(X.copy()), module.from_numpy(Y.copy())


@pytest.mark.parametrize("index", [0, 9, -1, slice(2, 5), [1, 1, 3]])
def test_tensor_dataset_indexes_as_torchs(index):
    assert_same_on_both(lambda data, m: data.TensorDataset(*tensors(m))[index])


@pytest.mark.parametrize("count", [1, 2])
def test_batches_of_a_tensor_dataset_are_torchs(count):
    def make(data, m):
        return list(data.DataLoader(data.TensorDataset(*tensors(m)[:count]), 4, shuffle=True))

    npmlp.manual_seed(1)
    torch.manual_seed(1)
    assert_same_on_both(make)


def test_tensor_dataset_refuses_tensors_of_different_lengths():
    with pytest.raises(ShapeError, match="10, 9 rows"):
        ours.TensorDataset(npmlp.zeros(10, 2), npmlp.zeros(9))
    with pytest.raises(AssertionError):
        theirs.TensorDataset(torch.zeros(10, 2), torch.zeros(9))


def test_a_batch_of_a_tensor_dataset_is_a_copy():
    x, y = tensors(npmlp)
    (batch, _) = next(iter(ours.DataLoader(ours.TensorDataset(x, y), 10)))
    batch.numpy()[:] = 0
    np.testing.assert_array_equal(x.numpy(), X)


def test_gradients_flow_back_through_a_batch_to_the_rows():
    grads = []
    cotangent = RNG.normal(size=(4, 2, 3)).astype(np.float32)
    for data, module in SIDES:
        x = module.from_numpy(X.copy()).requires_grad_()
        (batch,) = next(
            iter(data.DataLoader(data.TensorDataset(x), sampler=[3, 1, 3, 0], batch_size=4))
        )
        (batch * module.from_numpy(cotangent)).sum().backward()
        grads.append(x.grad.numpy())
    np.testing.assert_array_equal(*grads)


def test_a_tensor_dataset_with_its_own_getitem_is_asked_for_single_samples():
    def make(data, m):
        class Doubled(data.TensorDataset):
            def __getitem__(self, index):
                return tuple(t * 2 for t in super().__getitem__(index))

        return list(data.DataLoader(Doubled(*tensors(m)), 5))

    assert_same_on_both(make)


@pytest.mark.parametrize("indices", [[7, 0, 0, 3], range(3, 9), np.array([4, 2]), ()])
def test_a_subset_gives_the_samples_at_its_indices(indices):
    def make(data, m):
        subset = data.Subset(data.TensorDataset(*tensors(m)), indices)
        return (
            len(subset),
            [subset[i] for i in range(len(subset))],
            list(data.DataLoader(subset, 3)),
        )

    assert_same_on_both(make)


def test_a_subset_of_a_subset_of_a_plain_list_is_torchs():
    def make(data, m):
        inner = data.Subset(["a", "b", "c", "d"], [3, 2, 0])
        return list(data.DataLoader(data.Subset(inner, [2, 0]), 2)), inner.__getitems__([1, 1])

    assert_same_on_both(make)


def test_a_subset_class_with_its_own_getitem_needs_getitems():
    for data, _ in SIDES:

        class Half(data.Subset):
            def __getitem__(self, i):
                return super().__getitem__(i) / 2

        with pytest.raises(NotImplementedError, match="__getitems__"):
            Half([1, 2], [0])

        class Whole(Half):
            def __getitems__(self, indices):
                return [self[i] for i in indices]

        assert next(iter(data.DataLoader(Whole([1, 2], [1])))).item() == 1.0


def test_concatenated_datasets_are_torchs():
    def make(data, m):
        a, b = data.TensorDataset(m.arange(3)), data.TensorDataset(m.arange(4) + 10)
        joined = data.ConcatDataset([a, b, a])
        added = a + b
        return (
            joined.cumulative_sizes,
            [joined[i] for i in (0, 2, 3, 6, 7, 9, -1, -10)],
            list(data.DataLoader(joined, 4)),
            len(added),
            added[4],
        )

    assert_same_on_both(make)
    for data, m in SIDES:
        with pytest.raises((ValueError, AssertionError)):
            data.ConcatDataset([])
        with pytest.raises(ValueError):
            data.ConcatDataset([data.TensorDataset(m.arange(3))])[-4]


def test_a_dataset_without_getitem_says_so():
    class Empty(ours.Dataset):
        def __len__(self):
            return 2

    with pytest.raises(NotImplementedError, match=r"Empty has no __getitem__\(index\)"):
        next(iter(ours.DataLoader(Empty())))


# ---- a batch that is stacked already ---------------------------------------------------------


def test_a_batch_reads_as_a_list_of_samples():
    batch = ours.TensorDataset(*tensors(npmlp)).__getitems__([4, 7, 1])
    assert isinstance(batch, ours.Batch) and len(batch) == 3
    for sample, i in zip(batch, [4, 7, 1], strict=True):
        np.testing.assert_array_equal(sample[0].numpy(), X[i])
        assert sample[1].item() == Y[i]
    assert batch[-1][1].item() == Y[1] and len(batch[1:]) == 2
    with pytest.raises(IndexError):
        batch[3]


def test_a_dataset_around_another_may_build_on_its_samples():
    class Shifted:
        def __init__(self, inner):
            self.inner = inner

        def __len__(self):
            return len(self.inner)

        def __getitem__(self, i):
            return self.__getitems__([i])[0]

        def __getitems__(self, indices):
            return [(x + 1, y) for x, y in self.inner.__getitems__(indices)]

    (x, y), *_ = ours.DataLoader(Shifted(ours.TensorDataset(*tensors(npmlp))), 4)
    np.testing.assert_array_equal(x.numpy(), X[:4] + np.float32(1))
    np.testing.assert_array_equal(y.numpy(), Y[:4])


# ---- collation -------------------------------------------------------------------------------


class Tagged(dict):
    """A dict that carries more than its items."""

    tag = None


def tagged():
    d = Tagged(a=1)
    d.tag = "kept"
    return d


SAMPLES = {
    "ints": lambda m: [0, 1, 2],
    "bools": lambda m: [True, False],
    "floats": lambda m: [0.1, 2.0],
    "strings": lambda m: ["a", "bc"],
    "bytes": lambda m: [b"a", b"bc"],
    "tensors": lambda m: [m.arange(3), m.arange(3) + 1],
    "zero-dimensional tensors": lambda m: [m.tensor(1.5), m.tensor(2.5)],
    "float32 arrays": lambda m: [X[0], X[1]],
    "int64 arrays": lambda m: [Y[:2], Y[2:4]],
    "zero-dimensional arrays": lambda m: [np.array(1.0), np.array(2.0)],
    "float32 scalars": lambda m: [np.float32(0.1), np.float32(3)],
    "float64 scalars": lambda m: [np.float64(0.1), np.float64(3)],
    "int64 scalars": lambda m: [np.int64(4), np.int64(3)],
    "bool scalars": lambda m: [np.bool_(True), np.bool_(False)],
    "tuples": lambda m: [(0, 1.0, "a"), (2, 3.0, "b")],
    "lists": lambda m: [[0, 1], [2, 3]],
    "dicts": lambda m: [{"A": 0, "B": "x"}, {"B": "y", "A": 100}],
    "ordered dicts": lambda m: [OrderedDict(a=1), OrderedDict(a=2)],
    "named tuples": lambda m: [Point(0, 0.5), Point(1, 1.5)],
    "nested": lambda m: [{"p": (m.zeros(2), [1, 2])}, {"p": (m.ones(2), [3, 4])}],
    "user lists": lambda m: [UserList([1, 2]), UserList([3, 4])],
    "ranges": lambda m: [range(2), range(2)],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_are_collated_as_torchs(kind):
    assert_same_on_both(lambda data, m: data.default_collate(SAMPLES[kind](m)))


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_without_batching_are_converted_as_torchs(kind):
    assert_same_on_both(lambda data, m: data.default_convert(SAMPLES[kind](m)))


@pytest.mark.parametrize("kind", ["tuples", "dicts", "named tuples", "strings", "nested"])
def test_a_loader_over_a_list_of_samples_is_torchs(kind):
    def make(data, m):
        samples = SAMPLES[kind](m)
        return list(data.DataLoader(samples, 2)), list(data.DataLoader(samples, batch_size=None))

    assert_same_on_both(make)


def test_a_mapping_keeps_what_it_carries_besides_its_items():
    for data, _ in SIDES:
        batch = data.default_collate([tagged(), tagged()])
        assert type(batch) is Tagged and batch.tag == "kept" and batch["a"].tolist() == [1, 1]


def test_a_mapping_that_cannot_be_copied_becomes_a_dict_or_stays_what_it_is():
    assert_same_on_both(
        lambda data, m: dict(data.default_collate([MappingProxyType({"a": i}) for i in range(2)]))
    )


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ([None, None], TypeError),
        ([object(), object()], TypeError),
        ([np.array(["a"]), np.array(["b"])], TypeError),
        ([(1, 2), (1,)], RuntimeError),
        ([[1], [1, 2]], RuntimeError),
    ],
)
def test_samples_that_do_not_make_a_batch_raise_what_torch_raises(samples, error):
    for data, _ in SIDES:
        with pytest.raises(error):
            data.default_collate(samples)


def test_tensors_and_arrays_of_different_shapes_do_not_make_a_batch():
    for make in (npmlp.zeros, np.zeros):
        with pytest.raises(ShapeError):
            ours.default_collate([make(2), make(3)])
    for make in (torch.zeros, np.zeros):
        with pytest.raises(RuntimeError):
            theirs.default_collate([make(2), make(3)])
