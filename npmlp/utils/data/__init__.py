"""Datasets, samplers and the DataLoader, with PyTorch's names and random draws."""

from typing import Any

from npmlp.outside import outside
from npmlp.utils.data.collate import default_collate, default_convert
from npmlp.utils.data.dataset import (
    Batch,
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    random_split,
)
from npmlp.utils.data.loader import DataLoader, DataLoaderIter
from npmlp.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
)

__all__ = [
    "Batch",
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "DataLoaderIter",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "default_collate",
    "default_convert",
    "random_split",
]


def __getattr__(name: str) -> Any:
    # PyTorch's names; anything else is a plain AttributeError
    if name[:1].isupper() or name == "get_worker_info":
        raise outside(f"npmlp.utils.data.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
