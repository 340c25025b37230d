"""Functions of one input, entry by entry, and the softmaxes, which look along one dimension.

Where only floats have a result, whole numbers are taken as floats of the default dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes
from npmlp.autograd import apply
from npmlp.errors import DTypeError, ShapeError
from npmlp.functions.arguments import Scalar, as_float, one_dtype
from npmlp.functions.arithmetic import where
from npmlp.ops import activation, elementwise
from npmlp.ops.common import normalize_dim

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def neg(input: Tensor) -> Tensor:
    """-input"""
    if input.dtype is dtypes.bool:
        raise DTypeError("neg: input has dtype torch.bool; use ~x, or logical_not")
    return apply(elementwise.NEG, input)


def exp(input: Tensor) -> Tensor:
    """e ^ input"""
    return apply(elementwise.EXP, as_float(input))


def log(input: Tensor) -> Tensor:
    """The natural logarithm; -inf at 0, nan below"""
    return apply(elementwise.LOG, as_float(input))


def sqrt(input: Tensor) -> Tensor:
    """The square root; nan below 0"""
    return apply(elementwise.SQRT, as_float(input))


def abs(input: Tensor) -> Tensor:
    """|input|"""
    return apply(elementwise.ABS, input)


def clamp(
    input: Tensor, min: Scalar | Tensor | None = None, max: Scalar | Tensor | None = None
) -> Tensor:
    """input, raised to `min` and lowered to `max`, which are numbers, or Tensors that broadcast"""
    if min is None and max is None:
        raise ShapeError("clamp: at least one of min and max must be given")
    if hasattr(min, "_data") or hasattr(max, "_data"):
        return _clamp_between(input, min, max)
    for bound in (min, max):
        if isinstance(bound, float):  # PyTorch clamps whole numbers to a float as floats
            input = as_float(input)
        elif not isinstance(bound, int | None):
            raise DTypeError(
                f"clamp: a bound is a {type(bound).__name__}, expected a number, a Tensor or None"
            )
        elif bound is not None and input._data.dtype == np.uint8 and not 0 <= bound <= 255:
            raise DTypeError(f"clamp: a uint8 tensor cannot be held at {bound}; use .long() first")
    return apply(elementwise.CLAMP, input, min=min, max=max)


def _clamp_between(input: Tensor, min: Any, max: Any) -> Tensor:
    """clamp with Tensors; an entry at its bound keeps its gradient, and nan anywhere gives nan."""
    given = [bound for bound in (min, max) if bound is not None]
    if not all(hasattr(bound, "_data") for bound in given):
        raise DTypeError(
            f"clamp: min is a {type(min).__name__} and max a {type(max).__name__}, expected two "
            "numbers or two Tensors; make the number one with npmlp.tensor(...)"
        )
    try:
        np.broadcast_shapes(input.shape, *(bound.shape for bound in given))
    except ValueError:
        raise ShapeError(
            f"clamp: an input of shape {tuple(input.shape)} and bounds of shapes "
            f"{', '.join(str(tuple(bound.shape)) for bound in given)} do not broadcast"
        ) from None
    result, *given = one_dtype("clamp", [input, *given])
    if min is not None:
        min = given.pop(0)
        result = where((result < min) | (min != min), min, result)
    if max is not None:
        max = given.pop(0)
        result = where((result > max) | (max != max), max, result)
    return result


def relu(input: Tensor) -> Tensor:
    """max(0, input)"""
    return apply(activation.RELU, input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e ^ -input)"""
    return apply(activation.SIGMOID, as_float(input))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent"""
    return apply(activation.TANH, as_float(input))


def softmax(input: Tensor, dim: int, dtype: dtypes.dtype | None = None) -> Tensor:
    """e^x_i / Σ_j e^x_j along `dim`"""
    x = input if dtype is None else input.to(dtype)
    return apply(activation.SOFTMAX, x, dim=normalize_dim("softmax", dim, x.ndim))


def log_softmax(input: Tensor, dim: int, dtype: dtypes.dtype | None = None) -> Tensor:
    """x_i - ln Σ_j e^x_j along `dim`, with no intermediate that under- or overflows"""
    x = input if dtype is None else input.to(dtype)
    return apply(activation.LOG_SOFTMAX, x, dim=normalize_dim("log_softmax", dim, x.ndim))
