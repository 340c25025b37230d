"""DataLoader and samplers beside torch's: the same indices, the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from both_sides import SIDES, Numbers, lists, on_both

import npmlp
from npmlp.errors import OutsideSubsetError
from npmlp.utils import data as ours

# ---- the order of the samples ----------------------------------------------------------------


@pytest.mark.parametrize("seed_value", [0, 42, -3, 2**63 + 3])
@pytest.mark.parametrize("n", [1, 7, 100, 3000])
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": False}])
def test_indices_over_epochs_are_torchs(seed_value, n, options):
    def run(data, module):
        loader = data.DataLoader(Numbers(n), batch_size=8, **options)
        return [lists(loader) for _ in range(3)]

    mine, reference = on_both(run, seed_value)
    assert mine == reference


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 11])
def test_with_a_generator_the_order_comes_from_it(shuffle, drop_last, batch_size):
    def run(data, module):
        g = module.Generator().manual_seed(5)
        loader = data.DataLoader(Numbers(10), batch_size, shuffle, drop_last=drop_last, generator=g)
        epochs = [lists(loader) for _ in range(3)]
        return epochs, len(loader), module.rand(3, generator=g).tolist()

    mine, reference = on_both(run)
    assert mine == reference


def test_draws_between_iter_next_and_the_end_interleave_as_torchs():
    def run(data, module):
        drawn = [module.rand(1).item()]
        for epoch in range(2):
            batches = iter(data.DataLoader(Numbers(7), 2, shuffle=True))
            drawn.append(module.rand(1).item())
            for batch in batches:
                drawn += [*batch.tolist(), module.rand(1).item()]
            drawn.append((epoch, module.randperm(4).tolist()))
        return drawn

    mine, reference = on_both(run, 8)
    assert mine == reference


def test_an_epoch_that_is_broken_off_leaves_the_stream_where_torch_leaves_it():
    def run(data, module):
        g = module.Generator().manual_seed(1)
        for loader in (
            data.DataLoader(Numbers(20), 4, shuffle=True),
            data.DataLoader(Numbers(20), 4, shuffle=True, generator=g),
        ):
            iter(loader)  # without next
            for _, batch in zip(range(2), loader, strict=False):
                last = batch.tolist()
        return last, module.rand(2).tolist(), module.rand(2, generator=g).tolist()

    mine, reference = on_both(run)
    assert mine == reference


def test_two_passes_at_once_are_independent():
    def run(data, module):
        loader = data.DataLoader(Numbers(9), 2, shuffle=True)
        return [(a.tolist(), b.tolist()) for a, b in zip(loader, loader, strict=True)]

    mine, reference = on_both(run)
    assert mine == reference


# ---- samplers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_samples": 4},
        {"num_samples": 10},
        {"num_samples": 25},
        {"replacement": True},
        {"replacement": True, "num_samples": 64},
        {"replacement": True, "num_samples": 70},
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_random_sampler_is_torchs(options, given):
    def run(data, module):
        g = module.Generator().manual_seed(3) if given else None
        sampler = data.RandomSampler(Numbers(10), generator=g, **options)
        drawn = [list(sampler) for _ in range(2)], len(sampler), sampler.num_samples
        return drawn, g and module.rand(1, generator=g).item()

    mine, reference = on_both(run)
    assert mine == reference


def test_sequential_and_subset_random_samplers_are_torchs():
    def run(data, module):
        subset = data.SubsetRandomSampler([5, 9, 2, 2])
        return list(data.SequentialSampler(Numbers(4))), list(subset), list(subset), len(subset)

    mine, reference = on_both(run)
    assert mine == reference


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("n", [0, 5, 6])
def test_batch_sampler_is_torchs(drop_last, n):
    def run(data, module):
        sampler = data.BatchSampler(range(n), 3, drop_last)
        return list(sampler), len(sampler), list(sampler)

    mine, reference = on_both(run)
    assert mine == reference


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": [3, 1, 1, 0], "batch_size": 3},
        {"sampler": [3, 1, 1, 0], "batch_size": 3, "drop_last": True},
        {"batch_sampler": [[1, 2], [0], [3, 3, 3]]},
        {"sampler": [3, 1], "batch_size": None},
        {"batch_size": None},
        {"batch_size": None, "shuffle": True},
    ],
)
def test_custom_samplers_and_no_batching_are_torchs(options):
    def run(data, module):
        loader = data.DataLoader(Numbers(4), **options)
        return [lists(loader) for _ in range(2)], len(loader), loader.batch_size, loader.drop_last

    mine, reference = on_both(run)
    assert mine == reference


def test_a_sampler_object_that_draws_at_iter_draws_before_the_seed_for_workers():
    class Eager:
        def __init__(self, module):
            self.module = module

        def __iter__(self):
            return iter(self.module.randperm(6).tolist())

        def __len__(self):
            return 6

    def run(data, module):
        loader = data.DataLoader(Numbers(6), sampler=Eager(module), batch_size=None)
        return lists(loader), module.rand(1).item()

    mine, reference = on_both(run)
    assert mine == reference


# ---- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -1}, ValueError),
        ({"batch_size": 2.5}, ValueError),
        ({"batch_size": True}, ValueError),
        ({"batch_size": 2, "drop_last": 1}, ValueError),
        ({"num_workers": -1}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"prefetch_factor": 2}, ValueError),
        ({"num_workers": 1, "prefetch_factor": -2}, ValueError),
        ({"persistent_workers": True}, ValueError),
        ({"multiprocessing_context": "spawn"}, ValueError),
        ({"sampler": [1], "shuffle": True}, ValueError),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError),
        ({"batch_sampler": [[1]], "shuffle": True}, ValueError),
        ({"batch_sampler": [[1]], "sampler": [1]}, ValueError),
        ({"batch_sampler": [[1]], "drop_last": True}, ValueError),
        ({"batch_size": None, "drop_last": True}, ValueError),
    ],
)
def test_wrong_arguments_raise_what_torch_raises(options, error):
    for data, _ in SIDES:
        with pytest.raises(error):
            data.DataLoader(Numbers(4), **options)


def test_wrong_arguments_of_samplers_raise_what_torch_raises():
    for data, _ in SIDES:
        with pytest.raises(TypeError):
            data.RandomSampler(Numbers(3), replacement=1)
        with pytest.raises(ValueError):
            data.RandomSampler(Numbers(3), num_samples=0)
        with pytest.raises(ValueError):
            data.DataLoader(Numbers(0), shuffle=True)
        with pytest.raises(ValueError):
            data.DataLoader(Numbers(3)).batch_size = 2


def test_what_is_for_worker_processes_is_accepted_and_changes_nothing():
    loader = ours.DataLoader(
        Numbers(5),
        2,
        num_workers=3,
        pin_memory=True,
        timeout=1,
        worker_init_fn=print,
        prefetch_factor=4,
        persistent_workers=True,
        in_order=False,
    )
    assert lists(loader) == [[0, 1], [2, 3], [4]]


def test_a_dataset_that_can_only_be_iterated_over_is_outside_the_subset():
    with pytest.raises(OutsideSubsetError, match="has no __getitem__"):
        ours.DataLoader(iter([1, 2, 3]))


def test_what_torch_has_and_npmlp_has_not_is_named():
    with pytest.raises(OutsideSubsetError, match=r"utils\.data\.IterableDataset: npmlp does not"):
        ours.IterableDataset()
    with pytest.raises(OutsideSubsetError, match=r"utils\.data\.get_worker_info: npmlp does not"):
        ours.get_worker_info()


# ---- how samples are asked for ---------------------------------------------------------------


class Recording(Numbers):
    """Has __getitems__, and keeps what it was asked for."""

    def __init__(self, n):
        super().__init__(n)
        self.asked = []

    def __getitems__(self, indices):
        self.asked.append(indices)
        return [self[i] for i in indices]


def test_getitems_is_asked_once_for_each_batch():
    def run(data, module):
        dataset = Recording(5)
        return lists(data.DataLoader(dataset, 2)), dataset.asked

    mine, reference = on_both(run)
    assert mine == reference == ([[0, 1], [2, 3], [4]], [[0, 1], [2, 3], [4]])


def test_a_custom_collate_fn_gets_the_list_and_its_result_is_the_batch():
    def run(data, module):
        tensors = [module.arange(6), module.arange(6) * 2]

        def collate(samples):
            assert isinstance(samples, list)
            return [tuple(value.item() for value in sample) for sample in samples]

        return list(data.DataLoader(data.TensorDataset(*tensors), 4, collate_fn=collate))

    mine, reference = on_both(run)
    assert mine == reference


def test_errors_of_the_dataset_come_through():
    with pytest.raises(IndexError, match="9"):
        list(ours.DataLoader(Numbers(4), sampler=[0, 9]))


# ---- going on in the middle of a pass --------------------------------------------------------


class Noisy(Numbers):
    """Each sample draws a random number, as augmentation does."""

    def __init__(self, n, module):
        super().__init__(n)
        self.module = module

    def __getitem__(self, i):
        return i + self.module.rand(1).item()


@pytest.mark.parametrize("done", [0, 1, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pass_resumed_with_skip_gives_the_rest_of_the_batches(done, shuffle):
    loader = ours.DataLoader(Noisy(17, npmlp), 4, shuffle=shuffle)
    g = npmlp.random.default_generator
    npmlp.manual_seed(4)
    whole = lists(loader) + [npmlp.rand(2).tolist()]

    npmlp.manual_seed(4)
    before = g.state_bytes()
    batches = iter(loader)
    for _ in range(done):
        next(batches)
    assert batches.position == done
    at_interruption = g.state_bytes()

    npmlp.manual_seed(999)
    g.load_state_bytes(before)
    batches = iter(loader)
    batches.skip(done)
    assert batches.position == done
    g.load_state_bytes(at_interruption)
    assert lists(batches) + [npmlp.rand(2).tolist()] == whole[done:]


def test_skip_computes_no_samples_and_counts_what_is_left():
    dataset = Recording(10)
    batches = iter(ours.DataLoader(dataset, 3))
    batches.skip(2)
    assert dataset.asked == [] and next(batches).tolist() == [6, 7, 8]
    with pytest.raises(ValueError, match="got n_batches=2, 1 were left"):
        batches.skip(2)
    with pytest.raises(ValueError, match="expected 0 or more"):
        batches.skip(-1)
    assert len(batches) == 4


# ---- the order without the samples ---------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"shuffle": True, "drop_last": True},
        {"shuffle": False},
        {"shuffle": True, "generator": True},
        {"sampler": lambda data: ours.RandomSampler(data, replacement=True, num_samples=70)},
        {"sampler": lambda data: ours.RandomSampler(data, num_samples=150)},
        {"sampler": lambda data: ours.RandomSampler(data, num_samples=13)},
        {"sampler": lambda data: [3, 1, 4, 1, 5, 9, 2, 6]},
    ],
    ids=[
        "shuffled", "no last", "in order", "generator", "replacement", "thrice", "some", "given",
    ],
)  # fmt: skip
@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_indices_alone_are_those_of_the_samples(options, skipped):
    data = Numbers(50)
    kept = dict(options)

    def batches(indices):
        npmlp.manual_seed(7)
        g = npmlp.Generator().manual_seed(8)
        if "generator" in kept:
            kept["generator"] = g
        if "sampler" in kept:
            kept["sampler"] = options["sampler"](data)
        found = []
        for _ in range(2):
            batches = iter(ours.DataLoader(data, batch_size=4, **kept))
            batches.skip(skipped)
            some = batches.indices() if indices else batches
            found += [[int(i) for i in batch] for batch in some]
        return found, npmlp.rand(3).tolist(), npmlp.rand(3, generator=g).tolist()

    assert batches(True) == batches(False)


@pytest.mark.parametrize("whole_batches", [True, False])
def test_arrays_of_ones_own_sampler_reach_the_dataset_as_they_are(whole_batches):
    order = [np.array([2, 0]), np.array([1, 3])]

    class Data(Numbers):
        def __getitem__(self, index):
            seen.append(type(index))
            return index

        def __getitems__(self, indices):
            seen.append(type(indices))
            return [0] * len(indices)

    seen: list = []
    options = {"batch_sampler" if whole_batches else "sampler": order}
    list(ours.DataLoader(Data(4), **options, **({} if whole_batches else {"batch_size": None})))
    assert seen == [np.ndarray, np.ndarray]
