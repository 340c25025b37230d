"""Initialisers: fill a tensor in place with what a layer begins with.

fan_in is the number of inputs that reach one output of a weight (out, in, *kernel), fan_out the
number of outputs that one input reaches. The draws are PyTorch's from the same seed.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

from npmlp.autograd import no_grad
from npmlp.errors import ShapeError
from npmlp.nn.arguments import ArgumentError
from npmlp.random import Generator
from npmlp.tensor import Tensor

FanMode = Literal["fan_in", "fan_out"]

_LINEAR = ("linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the scale of activations behind a nonlinearity.

    1 for linear, convolutions and sigmoid; 5/3 for tanh; √2 for relu; √(2 / (1 + slope²)) for
    leaky_relu, with slope = `param`, 0.01 if None; 3/4 for selu.

    Raises: ArgumentError for another name, or a `param` that is no number.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ArgumentError(f"calculate_gain: negative_slope {param!r} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ArgumentError(
        f"calculate_gain: Unsupported nonlinearity {nonlinearity}; use linear, sigmoid, tanh, "
        "relu, leaky_relu, selu or the name of a convolution"
    )


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every entry `val`."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Every entry 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every entry 0."""
    return constant_(tensor, 0.0)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draws from U(a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draws from N(mean, std²)."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draws from U(-a, a) with a = gain · √(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward
    neural networks, equation 16.
    """
    # √3 · std, in this order: the bound is PyTorch's to the last bit
    bound = math.sqrt(3.0) * _xavier_std("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from N(0, std²) with std = gain · √(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 12.
    """
    return normal_(tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain), generator)


def _xavier_std(name: str, tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = fans(name, tensor)
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draws from U(-b, b) with b = gain · √(3 / fan).

    Parameters: `a`, the slope for leaky_relu; `mode`, the fan that is meant: fan_in keeps the
    scale of the forward pass, fan_out that of the backward pass.

    Source: He and others 2015, Delving deep into rectifiers, equations 10 and 14.
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(0, std²) with std = gain / √fan; the parameters are kaiming_uniform_'s."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, generator)


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ArgumentError(
            f"{name}: Mode {mode} not supported, please use one of ['fan_in', 'fan_out']"
        )
    fan = fans(name, tensor)[mode.lower() == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"{name}: Fan in and fan out can not be computed for tensor with fewer than 2 "
            f"dimensions, got shape {tuple(tensor.shape)}; biases take zeros_ or uniform_"
        )
    out, into, *kernel = tensor.shape
    field = math.prod(kernel)
    return into * field, out * field


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """What Linear and Conv2d begin with: both from U(-b, b), b = 1 / √fan_in, the weight first."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = fans("bias", weight)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
        uniform_(bias, -bound, bound)
