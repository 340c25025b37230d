"""Sine, cosine and tangent, entry by entry: x in radians, dout and dx gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.ops.common import ROUNDING, like_input, refuses_integers
from npmlp.ops.elementwise import unary_samples
from npmlp.ops.spec import Array, Inputs, Needs, OpSpec

PYTORCH = "PyTorch docs, torch."


def sin_forward(x: Array) -> Array:
    return np.sin(x)


def sin_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout * np.cos(x),)


SIN = OpSpec(
    name="sin",
    forward=sin_forward,
    backward=sin_backward,
    layout=like_input("sin", keep_input=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("sin"),
    tol=ROUNDING,
    source=PYTORCH + "sin: sin x",
)


def cos_forward(x: Array) -> Array:
    return np.cos(x)


def cos_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (-dout * np.sin(x),)


COS = OpSpec(
    name="cos",
    forward=cos_forward,
    backward=cos_backward,
    layout=like_input("cos", keep_input=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("cos"),
    tol=ROUNDING,
    source=PYTORCH + "cos: cos x",
)


def tan_forward(x: Array) -> Array:
    return np.tan(x)


def tan_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    return (dout * (1 + out * out),)


def tan_domain(x: Array) -> tuple[Any, ...]:
    """Within ±1.2: at ±π/2, where the tangent is infinite, finite differences say nothing."""
    return (1.2 * np.tanh(x),)


TAN = OpSpec(
    name="tan",
    forward=tan_forward,
    backward=tan_backward,
    layout=like_input("tan", keep_out=True),
    samples=lambda rng: [s._replace(inputs=tan_domain(*s.inputs)) for s in unary_samples(rng)],
    bad_inputs=refuses_integers("tan"),
    domain=tan_domain,
    tol=ROUNDING,
    source=PYTORCH + "tan: tan x",
)
