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
from npmlp.functions.arithmetic import pow, where
from npmlp.ops import activation, elementwise, logarithms, rounding, trigonometric
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


def log2(input: Tensor) -> Tensor:
    """The logarithm to the base 2"""
    return apply(logarithms.LOG2, as_float(input))


def log10(input: Tensor) -> Tensor:
    """The logarithm to the base 10"""
    return apply(logarithms.LOG10, as_float(input))


def log1p(input: Tensor) -> Tensor:
    """ln(1 + input), exact for small input"""
    return apply(logarithms.LOG1P, as_float(input))


def sqrt(input: Tensor) -> Tensor:
    """The square root; nan below 0"""
    return apply(elementwise.SQRT, as_float(input))


def square(input: Tensor) -> Tensor:
    """input²"""
    return pow(input, 2)


def sin(input: Tensor) -> Tensor:
    """The sine, of radians"""
    return apply(trigonometric.SIN, as_float(input))


def cos(input: Tensor) -> Tensor:
    """The cosine, of radians"""
    return apply(trigonometric.COS, as_float(input))


def tan(input: Tensor) -> Tensor:
    """The tangent, of radians"""
    return apply(trigonometric.TAN, as_float(input))


def abs(input: Tensor) -> Tensor:
    """|input|"""
    return apply(elementwise.ABS, input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; its gradient is 0"""
    return apply(rounding.SIGN, input)


def floor(input: Tensor) -> Tensor:
    """The next whole number below; its gradient is 0"""
    return apply(rounding.FLOOR, _not_bool("floor", input))


def ceil(input: Tensor) -> Tensor:
    """The next whole number above; its gradient is 0"""
    return apply(rounding.CEIL, _not_bool("ceil", input))


def trunc(input: Tensor) -> Tensor:
    """The next whole number towards 0; its gradient is 0"""
    return apply(rounding.TRUNC, _not_bool("trunc", input))


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To so many decimals, halves to the even neighbour; its gradient is 0"""
    return apply(rounding.ROUND, _not_bool("round", input), decimals=int(decimals))


def _not_bool(op: str, input: Tensor) -> Tensor:
    if input.dtype is dtypes.bool:
        raise DTypeError(f"{op}: input has dtype torch.bool; convert it with .long() or .float()")
    return input


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
