"""Normalisation by statistics of the batch or of each example, and dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import config, functions, random
from npmlp.autograd import apply
from npmlp.errors import DTypeError, NpmlpError, ShapeError
from npmlp.nn.functional.arguments import check_tensor
from npmlp.ops import dropout as dropout_ops
from npmlp.ops import norm
from npmlp.ops.common import check_float
from npmlp.ops.spec import Array
from npmlp.recording import Repeatable, do

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(input - mean) / √(var + eps) · weight + bias, per channel

    Parameters: `input` (N, C) or (N, C, ...), the others (C,). `training`: mean and variance are
    the batch's, and the running ones move towards them, in place:
    running = (1 - momentum) · running + momentum · batch's. The variance that normalises is biased
    (divided by n), the one that goes into `running_var` unbiased (by n - 1), as in PyTorch.
    Not `training`: mean and variance are the running ones.
    Raises: ShapeError, for one with a single value per channel in training; DTypeError.
    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.
    """
    check_tensor("batch_norm", "input", input)
    if input.ndim < 2:
        raise ShapeError(
            f"batch_norm: input has shape {tuple(input.shape)}, expected (N, C) or (N, C, ...)"
        )
    channels = input.shape[1]
    count = math.prod(input.shape) // channels if channels else 0
    if training and count == 1:
        raise ShapeError(
            "batch_norm: Expected more than 1 value per channel when training, got input size "
            f"{input.shape}; a last batch of one? drop_last=True leaves it out, eval() needs no "
            "batch"
        )
    if eps < 0 or (training and eps == 0):
        raise NpmlpError(f"batch_norm: eps is {eps}, expected a positive number")
    _check_statistics(input, running_mean, running_var, training)
    if not training:
        return apply(
            norm.BATCH_NORM_INFERENCE, input, weight, bias, running_mean, running_var, eps=eps
        )
    # copied here, a transposed input is copied once, and not for backward again
    out, mean, var = apply(norm.BATCH_NORM, input.contiguous(), weight, bias, eps=eps)
    if running_mean is not None and running_var is not None and count > 1:
        for running, batch, factor in (
            (running_mean, mean._data, 1.0),
            (running_var, var._data, count / (count - 1)),
        ):
            do("running statistics", _move, running, batch, np.float64(factor), momentum,
               writes=(running._data,))  # fmt: skip
    return out


def _check_statistics(
    input: Tensor, mean: Tensor | None, var: Tensor | None, training: bool
) -> None:
    if (mean is None) != (var is None):
        raise NpmlpError("batch_norm: running_mean and running_var must both be given, or neither")
    if mean is None and not training:
        raise NpmlpError(
            "batch_norm: running_mean and running_var are None, and training is False; without "
            "them only training=True has a mean and variance"
        )
    for name, running in (("running_mean", mean), ("running_var", var)):
        if running is None:
            continue
        if running.shape != (input.shape[1],):
            raise ShapeError(
                f"batch_norm: {name} has shape {tuple(running.shape)}, expected "
                f"({input.shape[1]},), one per channel of an input of shape {tuple(input.shape)}"
            )
        if running.dtype is not input.dtype:
            raise DTypeError(
                f"batch_norm: {name} has dtype {running.dtype} and input {input.dtype}; they must "
                "be the same, convert one"
            )


def _move_now(running: Tensor, batch: Any, factor: np.float64, momentum: float) -> None:
    """running = (1 - momentum) · running + momentum · factor · batch, rounded once, as PyTorch."""
    if not _moved_by_kernel(running, batch, factor, momentum):
        kept = (1 - momentum) * running._data.astype(np.float64)
        running._write(kept + momentum * (batch * factor).astype(np.float64))
    else:
        running._storage.version += 1


def _moved_by_kernel(running: Tensor, batch: Any, factor: np.float64, momentum: float) -> bool:
    if config.get_kernels() != "numba" or not running._data.flags.writeable:
        return False
    from npmlp.kernels.calls import call
    from npmlp.kernels.norm import move_statistics

    call(move_statistics, running._data, batch, float(factor), float(momentum))
    return True


def _will_move(running: Tensor, *_: Any) -> None:
    running._storage.version += 1


_move = Repeatable(_move_now, first=_will_move, keep=_moved_by_kernel)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(input - mean) / √(var + eps) · weight + bias, over the last dimensions

    Parameters: `normalized_shape`, the sizes of the last dimensions of `input`, and the shape of
    `weight` and `bias`. Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.
    """
    check_tensor("layer_norm", "input", input)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"layer_norm: input has shape {tuple(input.shape)}, expected its last dimensions to be "
            f"normalized_shape {shape}"
        )
    return apply(norm.LAYER_NORM, input, weight, bias, normalized_ndim=len(shape), eps=eps)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each entry 0 with probability p, else divided by 1 - p; the input itself if not `training`

    The draws are PyTorch's from the same seed, in the order of the input's memory.
    Source: Srivastava et al., Dropout, 2014, scaled in training so that testing changes nothing.
    """
    check_tensor("dropout", "input", input)
    if not 0 <= p <= 1:
        raise NpmlpError(f"dropout: p is {p}, expected a probability from 0 to 1")
    if p == 0 or not training or input.numel() == 0:
        return input
    check_float("dropout", (input._data.dtype,))
    keep = np.empty(input._data.shape, np.bool_)
    if not input._data.flags.c_contiguous:
        order = _memory_order(input._data)
        keep = np.empty([input._data.shape[d] for d in order], np.bool_)
        keep = keep.transpose(np.argsort(order))
    _draw_mask(keep, p)
    number = input._data.dtype.type  # PyTorch divides in the precision of the tensor
    scale = 0.0 if p == 1 else float(number(1) / number(1 - p))
    result = apply(dropout_ops.DROPOUT, input, input._wrap(keep), scale=scale)
    return input._become("dropout_", result) if inplace else result


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Each channel (N, C) 0 with probability p, else divided by 1 - p; input if not `training`

    Source: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """
    check_tensor("dropout2d", "input", input)
    if not 0 <= p <= 1:
        raise NpmlpError(f"dropout2d: p is {p}, expected a probability from 0 to 1")
    if input.ndim != 4:  # three dimensions are (N, C, L) for PyTorch today, (C, H, W) tomorrow
        raise ShapeError(
            f"dropout2d: input has shape {tuple(input.shape)}, expected (N, C, H, W); use unsqueeze"
        )
    if p == 0 or not training or input.numel() == 0:
        return input
    channels = input._data.shape[:-2]
    keep = np.empty(channels, np.bool_)
    _draw_mask(keep, p)
    number = input._data.dtype.type
    scale = 0.0 if p == 1 else float(number(1) / number(1 - p))
    mask = functions.expand(input._wrap(keep[..., None, None]), input._data.shape).contiguous()
    result = apply(dropout_ops.DROPOUT, input, mask, scale=scale)
    return input._become("dropout2d_", result) if inplace else result


def _draw_mask(keep: Array, p: float) -> None:
    """Fill a mask (True: the entry stays), in the order of its memory."""
    order = np.argsort(keep.strides)[::-1]
    do("dropout mask", _fill_mask, keep.transpose(order), p, makes=(keep,))


def _fill_mask_now(keep: Array, p: float) -> None:
    random.default_generator.dropout_mask(keep.shape, p, out=keep)


def _will_fill_mask(keep: Array, p: float) -> None:
    random.default_generator.will_draw()


def _fill_mask_later(keep: Array, p: float) -> bool:
    return random.default_generator.keep_dropout_mask(p, keep)


_fill_mask = Repeatable(_fill_mask_now, first=_will_fill_mask, keep=_fill_mask_later)


def _memory_order(x: Array) -> list[int]:
    """The dimensions, the slowest first, in which PyTorch lays out a new tensor that is like x.

    By falling stride. A dimension that repeats its entries has stride 0 and stays where it is, for
    which PyTorch's own insertion sort is needed.
    """
    order = list(range(x.ndim))[::-1]  # the fastest first
    for i in range(1, x.ndim):
        at = i
        for before in range(i - 1, -1, -1):
            a, b = order[before], order[at]
            if x.strides[a] == 0 or x.strides[b] == 0:
                continue
            if (x.strides[a], x.shape[a]) > (x.strides[b], x.shape[b]):
                order[before], order[at] = b, a
                at = before
            elif x.strides[a] < x.strides[b]:
                break
    return order[::-1]
