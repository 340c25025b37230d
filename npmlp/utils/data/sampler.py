"""Samplers: in which order the samples come. Their random draws are PyTorch's, in its order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from npmlp import random

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Base of samplers: give it `__iter__()`, and `__len__()` where the number is known.

    Source: torch.utils.data.Sampler.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, … Source: torch.utils.data.SequentialSampler."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All indices in random order, or with replacement random ones.

    Parameters
    ----------
    data_source: anything with a length.
    replacement: whether an index may come more than once.
    num_samples: how many; the length of the data where it is None.
    generator: what to draw from. Where it is None, the first index draws a 63-bit seed from the
        default generator, and a new generator with that seed gives the order.

    Raises
    ------
    TypeError: replacement is no bool. ValueError: num_samples is not a positive integer.

    Source: torch.utils.data.RandomSampler.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: random.Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"RandomSampler: got replacement={replacement!r}, expected a bool")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                f"RandomSampler: got num_samples={self.num_samples!r}, expected a positive "
                "integer; is the dataset empty?"
            )

    @property
    def num_samples(self) -> int:
        """How many indices one pass gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        lists = (order.tolist() for order in self.orders())
        return itertools.chain.from_iterable(lists)  # five times as fast as to yield each

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """What one pass gives, array after array; nothing is drawn before it is asked for."""
        n = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = random.Generator().manual_seed(random.default_generator.random63())
        whole, rest = divmod(self.num_samples, 32 if self.replacement else n)
        if self.replacement:
            for _ in range(whole):
                yield generator.randint(0, n, 32)
            yield generator.randint(0, n, rest)
            return
        for _ in range(whole):
            yield generator.randperm(n)
        # PyTorch draws one more order, of which it takes the rest, also where the rest is nothing.
        # That shows in a generator that was given; in one of our own nobody would see it.
        if rest or self.generator is not None:
            yield generator.randperm(n)[:rest]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Some indices in random order. Source: torch.utils.data.SubsetRandomSampler."""

    def __init__(self, indices: Sequence[int], generator: random.Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        generator = self.generator or random.default_generator
        for i in generator.randperm(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class BatchSampler(Sampler[list[int]]):
    """The indices of another sampler, in lists of batch_size.

    Parameters
    ----------
    sampler: any iterable of indices.
    drop_last: whether to leave out a last batch that is not full.

    Raises
    ------
    ValueError: batch_size is not a positive integer, or drop_last no bool.

    Source: torch.utils.data.BatchSampler.

    Examples
    --------
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"BatchSampler: got batch_size={batch_size!r}, expected a positive integer"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(f"BatchSampler: got drop_last={drop_last!r}, expected a bool")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def arrays(self) -> Iterator[NDArray[np.int64]] | None:
        """The same as arrays, where they are cut of one random order for a pass; else None."""
        sampler = self.sampler
        if type(self) is not BatchSampler or type(sampler) is not RandomSampler:
            return None
        if sampler.replacement or sampler.num_samples != len(sampler.data_source):
            return None
        return itertools.chain.from_iterable(map(self._cut, sampler.orders()))

    def _cut(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """An order in batches."""
        size = self.batch_size
        last = len(order) - len(order) % size if self.drop_last else len(order)
        return (order[first : first + size] for first in range(0, last, size))

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
