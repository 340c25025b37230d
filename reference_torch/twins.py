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


def std(x: Tensor, dim: Any, keepdim: bool, correction: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"std\(\): degrees of freedom is <= 0")
        return torch.std(x, dim=dim, keepdim=keepdim, correction=correction)


def vector_norm(x: Tensor, dim: Any, keepdim: bool, ord: float) -> Tensor:
    return torch.linalg.vector_norm(x, ord, dim=dim, keepdim=keepdim)


def prod(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    if len(dim) == 1:
        return torch.prod(x, dim[0], keepdim=keepdim)
    return torch.prod(x)


def sort(x: Tensor, dim: int, descending: bool) -> Any:
    return tuple(torch.sort(x, dim=dim, descending=descending, stable=True))


def topk(x: Tensor, dim: int, k: int, largest: bool) -> Any:
    return tuple(torch.topk(x, k, dim=dim, largest=largest))


def max_dim(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Any:
    return tuple(torch.max(x, dim[0], keepdim=keepdim))


def min_dim(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Any:
    return tuple(torch.min(x, dim[0], keepdim=keepdim))


def argmax(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.argmax(x, dim=dim[0] if len(dim) == 1 else None, keepdim=keepdim)


def argmin(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.argmin(x, dim=dim[0] if len(dim) == 1 else None, keepdim=keepdim)


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


def gather_dim(x: Tensor, index: Tensor, dim: int) -> Tensor:
    return torch.gather(x, dim, index)


def scatter(x: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    return torch.scatter(x, dim, index, src if src.ndim else src.expand(index.shape))


def cat(*xs: Tensor, dim: int) -> Tensor:
    return torch.cat(xs, dim=dim)


def stack(*xs: Tensor, dim: int) -> Tensor:
    return torch.stack(xs, dim=dim)


def pad2d(x: Tensor, padding: tuple[int, ...], mode: str, value: float) -> Tensor:
    return F.pad(x, padding, mode, value if mode == "constant" else None)


def max_pool2d(x: Tensor, **attrs: Any) -> Any:
    return F.max_pool2d(x, **attrs, return_indices=True)


def batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    # not F.batch_norm, which refuses a single value per channel
    out = torch.batch_norm(x, weight, bias, None, None, True, 0.1, eps, False)
    axes = (0, *range(2, x.ndim))
    mean = x.sum(axes) / (x.numel() // x.shape[1])  # of an empty batch: nan, without a warning
    return (
        out,
        mean,
        (x - mean.reshape(-1, *(1,) * (x.ndim - 2))).square().sum(axes) / (x.numel() // x.shape[1]),
    )


def batch_norm_inference(
    x: Tensor, weight: Any, bias: Any, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)


def layer_norm(x: Tensor, weight: Any, bias: Any, normalized_ndim: int, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[x.ndim - normalized_ndim :], weight, bias, eps)


def batch_norm_gelu(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, keep: Tensor | None, eps: float,
    scale: float,
) -> Any:  # fmt: skip
    normal, mean, var = batch_norm(x, weight, bias, eps)
    out = F.gelu(normal)
    return out if keep is None else dropout(out, keep, scale), mean, var


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.relu(F.linear(x, weight, bias))


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    z = F.linear(x, weight, bias)
    return F.gelu(z), z


def conv_relu_pool(x: Tensor, weight: Tensor, bias: Tensor | None, **attrs: Any) -> Any:
    return F.max_pool2d(F.relu(F.conv2d(x, weight, bias, **attrs)), 2, return_indices=True)


def dropout(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    return x * (keep.to(x.dtype) * scale)


def distance(function: Twin) -> Twin:
    """A loss of two tensors, without the warning for shapes that differ."""

    def twin(x: Tensor, y: Tensor, reduction: str) -> Any:
        return function(*torch.broadcast_tensors(x, y), reduction=reduction)

    return twin


def bce_with_logits(
    x: Tensor, target: Tensor, weight: Any, pos_weight: Any, reduction: str
) -> Tensor:
    return F.binary_cross_entropy_with_logits(
        x, target, weight, pos_weight=pos_weight, reduction=reduction
    )


def bce(x: Tensor, target: Tensor, weight: Any, reduction: str) -> Tensor:
    return F.binary_cross_entropy(x, target, weight, reduction=reduction)


_TWINS: dict[str, Twin] = {
    # two inputs, entry by entry
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "floor_divide": torch.floor_divide,
    "remainder": torch.remainder,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": torch.where,
    # one input, entry by entry
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "clamp": torch.clamp,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "round": torch.round,
    "sign": torch.sign,
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
    "std": std,
    "vector_norm": vector_norm,
    "prod": prod,
    "cumsum": torch.cumsum,
    "amax": torch.amax,
    "amin": torch.amin,
    "max_dim": max_dim,
    "min_dim": min_dim,
    "argmax": argmax,
    "argmin": argmin,
    "sort": sort,
    "topk": topk,
    # shapes
    "reshape": torch.reshape,
    "permute": permute,
    "expand": expand,
    "slice": getitem,
    "gather": getitem,
    "index_put": index_put,
    "gather_dim": gather_dim,
    "scatter": scatter,
    "masked_fill": torch.masked_fill,
    "cat": cat,
    "stack": stack,
    # products
    "matmul": torch.matmul,
    "linear": F.linear,
    # activations
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "hardtanh": F.hardtanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
    # images
    "conv2d": F.conv2d,
    "pad2d": pad2d,
    "max_pool2d": max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    # normalisation and noise
    "batch_norm": batch_norm,
    "batch_norm_inference": batch_norm_inference,
    "layer_norm": layer_norm,
    "dropout": dropout,
    # losses
    "mse_loss": distance(F.mse_loss),
    "l1_loss": distance(F.l1_loss),
    "bce_with_logits": bce_with_logits,
    "bce": bce,
    "nll_loss": F.nll_loss,
    "cross_entropy": F.cross_entropy,
    "cross_entropy_soft": F.cross_entropy,
    "linear_relu": linear_relu,
    "linear_gelu": linear_gelu,
    "batch_norm_gelu": batch_norm_gelu,
    "conv_relu_pool": conv_relu_pool,
}

TWINS: Mapping[str, Twin] = MappingProxyType(_TWINS)
