"""Logarithms to other bases than e, and that of 1 + x. elementwise.py has the natural one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.ops.common import ROUNDING, like_input, positive, refuses_integers, some_shapes
from npmlp.ops.spec import Array, Inputs, Needs, OpSpec, Sample

PYTORCH = "PyTorch docs, torch."


def log2_forward(x: Array) -> Array:
    return np.log2(x)


def log2_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout / (x * x.dtype.type(math.log(2))),)


LOG2 = OpSpec(
    name="log2",
    forward=log2_forward,
    backward=log2_backward,
    layout=like_input("log2", keep_input=True),
    samples=lambda rng: [Sample(positive(x)) for x in some_shapes(rng)],
    bad_inputs=refuses_integers("log2"),
    domain=positive,
    tol=ROUNDING,
    source=PYTORCH + "log2: ln x / ln 2",
)


def log10_forward(x: Array) -> Array:
    return np.log10(x)


def log10_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout / (x * x.dtype.type(math.log(10))),)


LOG10 = OpSpec(
    name="log10",
    forward=log10_forward,
    backward=log10_backward,
    layout=like_input("log10", keep_input=True),
    samples=lambda rng: [Sample(positive(x)) for x in some_shapes(rng)],
    bad_inputs=refuses_integers("log10"),
    domain=positive,
    tol=ROUNDING,
    source=PYTORCH + "log10: ln x / ln 10",
)


def log1p_forward(x: Array) -> Array:
    return np.log1p(x)


def log1p_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout / (x + 1),)


LOG1P = OpSpec(
    name="log1p",
    forward=log1p_forward,
    backward=log1p_backward,
    layout=like_input("log1p", keep_input=True),
    samples=lambda rng: [Sample(positive(x)) for x in some_shapes(rng)],
    bad_inputs=refuses_integers("log1p"),
    domain=positive,
    tol=ROUNDING,
    source=PYTORCH + "log1p: ln(1 + x), exact for small x",
)
