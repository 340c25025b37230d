"""From a list of samples to one batch: the fields of the samples, each stacked."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from npmlp.creation import from_numpy, tensor
from npmlp.dtypes import float64
from npmlp.functions import stack
from npmlp.tensor import Tensor
from npmlp.utils.data.dataset import Batch


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack the fields of the samples along a new first dimension.

    Tensors, arrays and numbers become Tensors (a float becomes float64, as in PyTorch); strings and
    bytes stay as they are; mappings, named tuples and sequences are gone into; a tuple becomes a
    list.

    Parameters
    ----------
    batch: the samples, all of one kind.

    Raises
    ------
    TypeError: samples of another type. RuntimeError: sequences of different lengths.
    ShapeError: Tensors of different shapes.

    Source: torch.utils.data.default_collate.

    Examples
    --------
    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    if isinstance(batch, Batch):
        return list(batch.columns)
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch, 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(_refusal(first.dtype))
        return stack([from_numpy(array) for array in batch], 0)
    if isinstance(first, (np.bool_, np.number)):
        return from_numpy(np.array(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _rebuild_mapping(
            first, {key: default_collate([sample[key] for sample in batch]) for key in first}
        )
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("default_collate: the samples have different numbers of fields")
        fields = [default_collate(values) for values in zip(*batch, strict=True)]
        return _rebuild_sequence(first, fields)
    raise TypeError(_refusal(type(first)))


def default_convert(data: Any) -> Any:
    """Arrays in a sample become Tensors; what a DataLoader does to samples without batching.

    Source: torch.utils.data.default_convert.
    """
    if isinstance(data, (np.ndarray, np.bool_, np.number)):
        array = np.asarray(data)
        return data if array.dtype.kind in "SUO" else from_numpy(array)
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [default_convert(value) for value in data])
    return data


Collate = Callable[[Any], Any]


def _rebuild_mapping(like: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of the same type with other values; a dict where the type does not allow that."""
    with contextlib.suppress(TypeError):
        if not isinstance(like, MutableMapping):
            return type(like)(values)  # type: ignore[call-arg]
        clone = copy.copy(like)  # it may carry more than its items
        clone.update(values)
        return clone
    return values


def _rebuild_sequence(like: Sequence[Any], values: list[Any]) -> Any:
    """A sequence of the same type with other values; a list for tuples, as PyTorch has it."""
    if isinstance(like, tuple):
        return type(like)(*values) if hasattr(like, "_fields") else values
    with contextlib.suppress(TypeError):
        if not isinstance(like, MutableSequence):
            return type(like)(values)  # type: ignore[call-arg]
        clone = copy.copy(like)
        for i, value in enumerate(values):
            clone[i] = value
        return clone
    return values


def _refusal(found: Any) -> str:
    return (
        f"default_collate: got samples with {found}, expected Tensors, NumPy arrays, numbers, "
        "dicts or lists; put ToTensor() into the transform, or give the DataLoader a collate_fn"
    )
