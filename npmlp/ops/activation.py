"""Activations: the functions between a network's layers, each with its derivative.

x input, dout and dx gradients; kept for backward is whichever of input and output says enough.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.errors import NpmlpError
from npmlp.ops.common import (
    ROUNDING,
    float_kernel,
    like_input,
    refuses_integers,
    some_shapes,
)
from npmlp.ops.elementwise import unary_samples
from npmlp.ops.spec import (
    Array,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Kernel,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
    away_from,
)
from npmlp.ops.special import erf

PYTORCH = "PyTorch docs, torch.nn."


def relu_forward(x: Array) -> Array:
    return np.maximum(x, 0)


def relu_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    # the derivative at 0 is taken as 0; a NaN lets the gradient through, as in PyTorch
    return (np.where(out <= 0, 0, dout),)


RELU = OpSpec(
    name="relu",
    forward=relu_forward,
    backward=relu_backward,
    layout=like_input("relu", keep_out=True),
    kernels={"numba": Kernel("elementwise", "relu", when=float_kernel)},
    samples=unary_samples,
    bad_inputs=refuses_integers("relu"),
    domain=away_from(0.0),
    tol=ROUNDING,
    source=PYTORCH + "ReLU: max(0, x)",
)


def leaky_relu_forward(x: Array, negative_slope: float) -> Array:
    return np.where(x > 0, x, x * x.dtype.type(negative_slope))


def leaky_relu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, negative_slope: float
) -> tuple[Any, ...]:
    (x,) = inputs
    return (np.where(x > 0, dout, dout * x.dtype.type(negative_slope)),)


LEAKY_RELU = OpSpec(
    name="leaky_relu",
    forward=leaky_relu_forward,
    backward=leaky_relu_backward,
    layout=like_input("leaky_relu", keep_input=True),
    samples=lambda rng: [
        Sample((x,), {"negative_slope": slope}) for x in some_shapes(rng) for slope in (0.01, 0.3)
    ],
    bad_inputs=refuses_integers("leaky_relu", negative_slope=0.01),
    domain=away_from(0.0),
    tol=ROUNDING,
    source=PYTORCH + "LeakyReLU: x where x > 0, else negative_slope x",
)


def gelu_forward(x: Array, approximate: str) -> Array:
    if approximate == "none":  # x Φ(x), Φ the normal distribution function
        return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, approximate: str
) -> tuple[Any, ...]:
    (x,) = inputs
    if approximate == "none":  # Φ(x) + x φ(x), φ the normal density
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return (dout * (0.5 * (1 + erf(x * math.sqrt(0.5))) + x * density),)
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope),)


def gelu_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if attrs["approximate"] not in ("none", "tanh"):
        raise NpmlpError(
            f"gelu: approximate is {attrs['approximate']!r}, expected 'none' or 'tanh'"
        )
    return like_input("gelu", keep_input=True)(shapes, dtypes, attrs, needs)


GELU = OpSpec(
    name="gelu",
    forward=gelu_forward,
    backward=gelu_backward,
    layout=gelu_layout,
    kernels={"numba": Kernel("gelu", "gelu", when=float_kernel)},
    samples=lambda rng: [
        Sample((x,), {"approximate": how})
        for x in some_shapes(rng, 2.0)
        for how in ("none", "tanh")
    ],
    bad_inputs=lambda: [
        *refuses_integers("gelu", approximate="none")(),
        BadInput((np.ones(2),), {"approximate": "erf"}, NpmlpError, "expected 'none' or 'tanh'"),
    ],
    # with tanh, 1 - t² loses two roundings near t = 1, which x times the slope makes ten
    tol={"float32": 3e-6, "float64": 1e-14},
    source="Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2: x Φ(x)",
)


def silu_forward(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def silu_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    s = sigmoid_forward(x)
    return (dout * (s * (1 + x * (1 - s))),)


SILU = OpSpec(
    name="silu",
    forward=silu_forward,
    backward=silu_backward,
    layout=like_input("silu", keep_input=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("silu"),
    tol=ROUNDING,
    source=PYTORCH + "SiLU: x σ(x)",
)


def sigmoid_forward(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))  # where exp overflows to inf, 1 / inf is the right 0


def sigmoid_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    return (dout * ((1 - out) * out),)


SIGMOID = OpSpec(
    name="sigmoid",
    forward=sigmoid_forward,
    backward=sigmoid_backward,
    layout=like_input("sigmoid", keep_out=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("sigmoid"),
    tol=ROUNDING,
    source=PYTORCH + "Sigmoid: 1 / (1 + e^-x)",
)


def tanh_forward(x: Array) -> Array:
    return np.tanh(x)


def tanh_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    return (dout * (1 - out * out),)


TANH = OpSpec(
    name="tanh",
    forward=tanh_forward,
    backward=tanh_backward,
    layout=like_input("tanh", keep_out=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("tanh"),
    # 1 - t² of the 0-d sample is 1/50 of its terms: a rounding and a half of 1 becomes 1e-6 there
    tol={"float32": 3e-6, "float64": 1e-14},
    source=PYTORCH + "Tanh: (e^x - e^-x) / (e^x + e^-x)",
)


def softmax_forward(x: Array, dim: int) -> Array:
    exp = np.exp(x - _largest(x, dim))  # the shift cancels, and keeps exp from overflowing
    return exp / exp.sum(axis=dim, keepdims=True)


def softmax_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    (out,) = outs
    return (out * (dout - (dout * out).sum(axis=dim, keepdims=True)),)


def _largest(x: Array, dim: int) -> Array:
    return (
        x.max(axis=dim, keepdims=True, initial=-np.inf)
        if x.size == 0
        else x.max(dim, keepdims=True)
    )


def softmax_samples(rng: np.random.Generator) -> list[Sample]:
    plain = [Sample((x,), {"dim": x.ndim - 1}) for x in some_shapes(rng, 3.0) if x.ndim]
    return [
        *plain,
        Sample((3 * rng.standard_normal((3, 4, 5)),), {"dim": 1}),
        Sample((rng.standard_normal((1, 1)),), {"dim": 1}),
        # logits in the hundreds, where exp without the shift would overflow
        Sample((300 * rng.standard_normal((2, 5)),), {"dim": 1}),
    ]


SOFTMAX = OpSpec(
    name="softmax",
    forward=softmax_forward,
    backward=softmax_backward,
    layout=like_input("softmax", keep_out=True),
    samples=softmax_samples,
    bad_inputs=refuses_integers("softmax", dim=0),
    # where one probability is nearly 1, dout - Σ dout·out cancels to 1/60 of dout
    tol={"float32": 3e-6, "float64": 1e-14},
    source=PYTORCH + "Softmax: e^x_i / Σ_j e^x_j",
)


def log_softmax_forward(x: Array, dim: int) -> Array:
    shifted = x - _largest(x, dim)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def log_softmax_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    (out,) = outs
    return (dout - np.exp(out) * dout.sum(axis=dim, keepdims=True),)


LOG_SOFTMAX = OpSpec(
    name="log_softmax",
    forward=log_softmax_forward,
    backward=log_softmax_backward,
    layout=like_input("log_softmax", keep_out=True),
    samples=softmax_samples,
    bad_inputs=refuses_integers("log_softmax", dim=0),
    tol=ROUNDING,
    source=PYTORCH + "LogSoftmax: x_i - ln Σ_j e^x_j",
)
