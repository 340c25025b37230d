"""DataLoader: batches of a dataset, in the order and with the random draws of PyTorch's.

`iter(loader)` draws a 63-bit seed that nothing here uses (PyTorch gives it to its workers), so that
every draw after it is PyTorch's. The order of the samples is drawn at the first `next`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

from npmlp import random
from npmlp.errors import OutsideSubsetError
from npmlp.utils.data.collate import default_collate, default_convert
from npmlp.utils.data.dataset import Batch, Dataset, samples
from npmlp.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

T_co = TypeVar("T_co", covariant=True)


class DataLoader(Generic[T_co]):
    """Iterate over a dataset in batches.

    Parameters
    ----------
    dataset: has `__getitem__` and `__len__`; with `__getitems__`, whole batches are gathered.
    batch_size: samples per batch; None gives single samples.
    shuffle: a new random order for each pass.
    sampler: an iterable of indices in place of shuffle.
    batch_sampler: an iterable of lists of indices in place of batch_size, shuffle, sampler and
        drop_last.
    collate_fn: makes a batch of a list of samples; `default_collate` where it is None.
    drop_last: whether to leave out a last batch that is not full.
    generator: what the order is drawn from; the default generator where it is None.
    num_workers, pin_memory, timeout, worker_init_fn, multiprocessing_context, prefetch_factor,
    persistent_workers, pin_memory_device, in_order: accepted and checked as in PyTorch, and without
        effect: everything happens in this process, whole batches at a time. The random draws are
        those of PyTorch with num_workers=0.

    Raises
    ------
    ValueError: arguments that exclude each other, or are negative.
    OutsideSubsetError: the dataset can only be iterated over.

    Source: torch.utils.data.DataLoader.

    Examples
    --------
    >>> from npmlp.utils.data import DataLoader, TensorDataset
    >>> import npmlp
    >>> data = TensorDataset(npmlp.arange(5))
    >>> [x for x, in DataLoader(data, batch_size=2)]
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: random.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"DataLoader: got num_workers={num_workers}, expected 0 or more")
        if timeout < 0:
            raise ValueError(f"DataLoader: got timeout={timeout}, expected 0 or more")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("DataLoader: prefetch_factor needs num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError(f"DataLoader: got prefetch_factor={prefetch_factor}, expected >= 0")
        if persistent_workers and num_workers == 0:
            raise ValueError("DataLoader: persistent_workers needs num_workers > 0")
        if multiprocessing_context is not None and num_workers == 0:
            raise ValueError("DataLoader: multiprocessing_context needs num_workers > 0")
        if not hasattr(dataset, "__getitem__"):
            raise OutsideSubsetError(
                f"DataLoader: {type(dataset).__name__} has no __getitem__; datasets that can only "
                "be iterated over are outside the subset, give it __getitem__ and __len__"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle exclude each other")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "DataLoader: batch_size=None makes no batches, so drop_last is of no use"
            )

        if sampler is None:
            if shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self._initialized = True

    _FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED and getattr(self, "_initialized", False):
            raise ValueError(f"DataLoader: {name} cannot be set any more; make a new DataLoader")
        super().__setattr__(name, value)

    @property
    def index_sampler(self) -> Iterable[Any]:
        """What one step takes its index or list of indices from."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> DataLoaderIter:
        return DataLoaderIter(self)

    def __len__(self) -> int:
        return len(self.index_sampler)  # type: ignore[arg-type]


class DataLoaderIter(Iterator[Any]):
    """One pass over a DataLoader. `skip(n)` goes on from the middle of a pass.

    To continue a pass after k batches with the same data order and random numbers, keep the
    generator's state from before `iter(loader)` and from the moment of interruption, then:

        generator.load_state_bytes(state_before_iter)
        batches = iter(loader)
        batches.skip(k)
        generator.load_state_bytes(state_at_interruption)

    The last line is there because the skipped samples are not computed, so that what augmentation
    and dropout drew meanwhile is not drawn again. With `generator=g` the loader's order comes from
    g, and both g and the default generator are to be kept.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        sampler = loader.index_sampler
        arrays = sampler.arrays() if isinstance(sampler, BatchSampler) else None
        self._in_arrays = arrays is not None  # of our own making
        self._indices: Iterator[Any] = iter(sampler) if arrays is None else arrays
        (loader.generator or random.default_generator).random63()  # PyTorch's seed for workers
        self.position = 0  # batches given or skipped

    def __iter__(self) -> Self:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        index = next(self._indices)
        if self._in_arrays:
            index = index.tolist()  # what a dataset of one's own expects
        loader = self._loader
        if loader.batch_sampler is None:
            data: Any = loader.dataset[index]
        else:
            data = samples(loader.dataset, index)
            if isinstance(data, Batch) and loader.collate_fn is not default_collate:
                data = list(data)
        self.position += 1
        return loader.collate_fn(data)

    def indices(self) -> Iterator[Any]:
        """What is left of the pass: of each batch its indices, as a list or an array. The samples
        are not computed.
        """
        for index in self._indices:
            self.position += 1
            yield index

    def skip(self, n_batches: int) -> None:
        """Leave out the next batches: their indices are drawn, their samples are not computed.

        Raises
        ------
        ValueError: n_batches is negative, or more than are left.
        """
        if n_batches < 0:
            raise ValueError(f"skip: got n_batches={n_batches}, expected 0 or more")
        for skipped in range(n_batches):
            try:
                next(self._indices)
            except StopIteration:
                raise ValueError(f"skip: got n_batches={n_batches}, {skipped} were left") from None
            self.position += 1
