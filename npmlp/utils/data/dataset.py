"""Datasets: things with a length and samples by index, and ways to cut and join them.

A dataset may have `__getitems__(indices)`, which returns the samples of a whole batch. Where these
can be gathered as stacked Tensors in one go, it returns them as a Batch.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np

from npmlp import random
from npmlp.creation import from_numpy
from npmlp.errors import ShapeError
from npmlp.tensor import Tensor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Base of datasets: give it `__getitem__(index)` and `__len__()`.

    Source: torch.utils.data.Dataset.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(index)")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class Batch(Sequence[Any]):
    """The samples of a batch, gathered at once: stacked Tensors that read as a list of samples.

    `default_collate` takes the columns as they are; everyone else sees a sequence of samples, so
    that a custom collate_fn, or a dataset around this one, works as with a list.

    Parameters
    ----------
    columns: what default_collate would make of the samples, a Tensor (N, …) for each field.
    sample: from a position in the batch to the sample; the columns' rows where it is None.
    """

    def __init__(
        self, columns: tuple[Tensor, ...], sample: Callable[[int], Any] | None = None
    ) -> None:
        self.columns = columns
        self._sample = sample

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]  # negative ones too, and IndexError beyond the end
        if self._sample is not None:
            return self._sample(position)
        return tuple(column[position] for column in self.columns)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Samples are the rows of some Tensors: (t[index] for each t).

    Raises
    ------
    ShapeError: the Tensors differ in their first size.

    Source: torch.utils.data.TensorDataset.
    """

    def __init__(self, *tensors: Tensor) -> None:
        sizes = [t.shape[0] for t in tensors]
        if any(size != sizes[0] for size in sizes):
            raise ShapeError(
                f"TensorDataset: got Tensors of {', '.join(map(str, sizes))} rows, expected as "
                "many rows in each"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> Sequence[tuple[Tensor, ...]]:
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return [self[i] for i in indices]
        index = np.asarray(indices, np.int64)
        return Batch(tuple(_rows(t, index) for t in self.tensors))

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


def _rows(tensor: Tensor, index: np.ndarray[Any, Any]) -> Tensor:
    if tensor.requires_grad:
        return tensor[from_numpy(index)]  # the gradient goes back to the rows taken
    return from_numpy(tensor.numpy().take(index, axis=0))


class Subset(Dataset[T_co]):
    """The samples of a dataset at some indices.

    Raises
    ------
    NotImplementedError: a subclass has a __getitem__ of its own but no __getitems__.

    Source: torch.utils.data.Subset.
    """

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        cls = type(self)
        if cls.__getitem__ is not Subset.__getitem__ and cls.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{cls.__name__}: it has its own __getitem__ but not __getitems__, which "
                "DataLoader calls; add `def __getitems__(self, indices): "
                "return [self[i] for i in indices]`"
            )

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[T_co]:
        return samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def samples(dataset: Dataset[T], indices: Sequence[int]) -> Sequence[T]:
    """The samples at some indices, at once where the dataset has __getitems__."""
    at_once = getattr(dataset, "__getitems__", None)
    if at_once:
        return cast(Sequence[T], at_once(indices))
    return [dataset[i] for i in indices]


class ConcatDataset(Dataset[T_co]):
    """Datasets one after another.

    Source: torch.utils.data.ConcatDataset.
    """

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: got no datasets, expected at least one")
        lengths = [len(cast(Any, d)) for d in self.datasets]
        self.cumulative_sizes = list(itertools.accumulate(lengths))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T_co:
        if idx < 0:
            if -idx > len(self):
                raise ValueError(f"ConcatDataset: got index {idx}, it has {len(self)} samples")
            idx += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, idx)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][idx - before]


def random_split(
    dataset: Dataset[T],
    lengths: Sequence[int | float],
    generator: random.Generator | None = None,
) -> list[Subset[T]]:
    """Cut a dataset at random into subsets that do not overlap.

    Parameters
    ----------
    lengths: their numbers of samples, or fractions with the sum 1; what fractions leave over goes
        to the subsets in turn.
    generator: gives one randperm; the default generator where it is None.

    Raises
    ------
    ValueError: the lengths do not add up to the dataset's, or a fraction is outside 0…1.

    Source: torch.utils.data.random_split.
    """
    total = len(cast(Any, dataset))
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"random_split: fraction {i} is {fraction}, expected 0 to 1")
        counts = [math.floor(total * fraction) for fraction in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"random_split: split {i} has no samples", stacklevel=2)
    elif sum(lengths) == total and all(length >= 0 for length in lengths):
        counts = [int(length) for length in lengths]
    else:
        raise ValueError(
            f"random_split: got lengths={list(lengths)}, which add up to {sum(lengths)}, expected "
            f"the {total} samples of the dataset, or fractions that add up to 1"
        )
    order = (generator or random.default_generator).randperm(total).tolist()
    ends = itertools.accumulate(counts)
    return [
        Subset(dataset, order[end - count : end]) for end, count in zip(ends, counts, strict=True)
    ]
