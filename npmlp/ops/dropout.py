"""Dropout: the product with a noise that is 0 or 1/(1 - p), drawn before the operation runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import ROUNDING, check_float, some_shapes
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
)


def dropout_forward(x: Array, noise: Array) -> Array:
    return x * noise


def dropout_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    noise = inputs[1]
    return dout * noise, None


def dropout_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if shapes[0] != shapes[1]:
        raise ShapeError(
            f"dropout: noise has shape {tuple(shapes[1])}, expected the input's {tuple(shapes[0])}"
        )
    dtype = check_float("dropout", dtypes, ("input", "noise"))
    return Layout(
        outs=(ArraySpec(shapes[0], dtype),),
        keep_inputs=(1,) if needs[0] else (),
    )


def dropout_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((x, (rng.random(x.shape) < 0.7) / 0.7)) for x in some_shapes(rng)]


DROPOUT = OpSpec(
    name="dropout",
    forward=dropout_forward,
    backward=dropout_backward,
    layout=dropout_layout,
    samples=dropout_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)), np.ones(3)), {}, ShapeError, "noise has shape (3,)"),
        BadInput((np.arange(3), np.arange(3)), {}, DTypeError, "dropout: input has dtype int64"),
    ],
    differentiable=(0,),
    tol=ROUNDING,
    source="Srivastava et al., Dropout, 2014, section 4: out = r x, r Bernoulli, here over 1 - p",
)
