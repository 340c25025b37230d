"""Dropout: entries that a mask keeps are scaled, the others are 0. The mask is drawn before."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import ROUNDING, check_float, float_kernel, some_shapes
from npmlp.ops.spec import (
    Array,
    ArraySpec,
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
)


def dropout_forward(x: Array, keep: Array, scale: float) -> Array:
    return x * (keep * x.dtype.type(scale))


def dropout_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, scale: float
) -> tuple[Any, ...]:
    keep = inputs[1]
    return dout * (keep * dout.dtype.type(scale)), None


def dropout_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if shapes[0] != shapes[1]:
        raise ShapeError(
            f"dropout: the mask has shape {tuple(shapes[1])}, expected the input's "
            f"{tuple(shapes[0])}"
        )
    if dtypes[1] != np.bool_:
        raise DTypeError(f"dropout: the mask has dtype {dtypes[1].name}, expected bool")
    dtype = check_float("dropout", dtypes[:1])
    return Layout(
        outs=(ArraySpec(shapes[0], dtype),),
        keep_inputs=(1,) if needs[0] else (),
    )


def dropout_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((x, rng.random(x.shape) < 0.7), {"scale": 1 / 0.7}) for x in some_shapes(rng)]


_ONES, _TWICE = np.ones(3, bool), {"scale": 2.0}

DROPOUT = OpSpec(
    name="dropout",
    forward=dropout_forward,
    backward=dropout_backward,
    layout=dropout_layout,
    kernels={"numba": Kernel("elementwise", "dropout", when=float_kernel)},
    samples=dropout_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)), _ONES), _TWICE, ShapeError, "mask has shape (3,)"),
        BadInput((np.arange(3), _ONES), _TWICE, DTypeError, "dropout: input has dtype int64"),
        BadInput((np.ones(3), np.ones(3)), _TWICE, DTypeError, "mask has dtype float64"),
    ],
    differentiable=(0,),
    tol=ROUNDING,
    source="Srivastava et al., Dropout, 2014, section 4: out = r x, scaled by 1/(1 - p)",
)
