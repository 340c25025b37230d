"""TWINS: for every operation of npmlp, by the same name, the PyTorch function that computes it.

A twin takes torch tensors (None for an absent optional input) and the operation's attributes as
keywords, and returns the first output, or a tuple where there are several. It imports nothing of
npmlp: what the attributes mean is read from their names, so that the two can disagree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Twin = Callable[..., Any]


def cast(x: Tensor, dtype: str) -> Tensor:
    return x.to(getattr(torch, dtype))


def var(x: Tensor, dim: Any, keepdim: bool, correction: float) -> Tensor:
    with warnings.catch_warnings():  # it counts the degrees of freedom of an empty batch as 0/0
        warnings.filterwarnings("ignore", message=r"var\(\): degrees of freedom is <= 0")
        return torch.var(x, dim=dim, keepdim=keepdim, correction=correction)


def max_dim(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Any:
    return tuple(torch.max(x, dim[0], keepdim=keepdim))


def min_dim(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Any:
    return tuple(torch.min(x, dim[0], keepdim=keepdim))


def argmax(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.argmax(x, dim=dim[0] if len(dim) == 1 else None, keepdim=keepdim)


def permute(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.permute(dims)


def expand(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.expand(shape)


def _index(index: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(torch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in index)


def getitem(x: Tensor, index: tuple[Any, ...]) -> Tensor:
    return x[_index(index)]


def index_put(x: Tensor, value: Tensor, index: tuple[Any, ...]) -> Tensor:
    out = x.clone()
    out[_index(index)] = value
    return out


def cat(*xs: Tensor, dim: int) -> Tensor:
    return torch.cat(xs, dim=dim)


def stack(*xs: Tensor, dim: int) -> Tensor:
    return torch.stack(xs, dim=dim)


_TWINS: dict[str, Twin] = {
    # two inputs, entry by entry
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": torch.where,
    # one input, entry by entry
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "clamp": torch.clamp,
    "cast": cast,
    "clone": torch.clone,
    # comparisons
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    # reductions
    "sum": torch.sum,
    "mean": torch.mean,
    "var": var,
    "amax": torch.amax,
    "amin": torch.amin,
    "max_dim": max_dim,
    "min_dim": min_dim,
    "argmax": argmax,
    # shapes
    "reshape": torch.reshape,
    "permute": permute,
    "expand": expand,
    "slice": getitem,
    "gather": getitem,
    "index_put": index_put,
    "cat": cat,
    "stack": stack,
    # products
    "matmul": torch.matmul,
    "linear": F.linear,
    # activations
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
}

TWINS: Mapping[str, Twin] = MappingProxyType(_TWINS)
