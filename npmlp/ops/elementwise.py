"""Elementwise operations with one input: what acts on each entry by itself.

x input; dout, dx gradients. The other families of such: binary.py has those with two inputs,
activation.py the functions between a network's layers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.errors import DTypeError
from npmlp.ops.common import ROUNDING, like_input, positive, refuses_integers, some_shapes
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
    away_from,
)

PYTORCH = "PyTorch docs, torch."
_COMPILE_FROM = 1 << 10  # entries


def neg_forward(x: Array) -> Array:
    return -x


def neg_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    return (-dout,)


def any_dtype(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return Layout(outs=(ArraySpec(shapes[0], dtypes[0]),))


def unary_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((x,)) for x in some_shapes(rng)]


NEG = OpSpec(
    name="neg",
    forward=neg_forward,
    backward=neg_backward,
    layout=any_dtype,
    samples=unary_samples,
    tol=ROUNDING,
    source=PYTORCH + "neg: -x",
)


def exp_forward(x: Array) -> Array:
    return np.exp(x)


def exp_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    return (dout * out,)


EXP = OpSpec(
    name="exp",
    forward=exp_forward,
    backward=exp_backward,
    layout=like_input("exp", keep_out=True),
    samples=unary_samples,
    bad_inputs=refuses_integers("exp"),
    tol=ROUNDING,
    source=PYTORCH + "exp: e^x",
)


def log_forward(x: Array) -> Array:
    return np.log(x)


def log_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout / x,)


LOG = OpSpec(
    name="log",
    forward=log_forward,
    backward=log_backward,
    layout=like_input("log", keep_input=True),
    samples=lambda rng: [Sample(positive(x)) for x in some_shapes(rng)],
    bad_inputs=refuses_integers("log"),
    domain=positive,
    tol=ROUNDING,
    source=PYTORCH + "log: ln x",
)


def sqrt_forward(x: Array) -> Array:
    return np.sqrt(x)


def sqrt_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (out,) = outs
    return (dout / (2 * out),)


SQRT = OpSpec(
    name="sqrt",
    forward=sqrt_forward,
    backward=sqrt_backward,
    layout=like_input("sqrt", keep_out=True),
    samples=lambda rng: [Sample(positive(x)) for x in some_shapes(rng)],
    bad_inputs=refuses_integers("sqrt"),
    domain=positive,
    tol=ROUNDING,
    source=PYTORCH + "sqrt: x^(1/2)",
)


def abs_forward(x: Array) -> Array:
    return np.abs(x)


def abs_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout * np.sign(x),)  # 0 at 0, as in PyTorch


def abs_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return Layout(outs=(ArraySpec(shapes[0], dtypes[0]),), keep_inputs=(0,) if any(needs) else ())


ABS = OpSpec(
    name="abs",
    forward=abs_forward,
    backward=abs_backward,
    layout=abs_layout,
    samples=unary_samples,
    domain=away_from(0.0),
    tol=ROUNDING,
    source=PYTORCH + "abs: |x|",
)


def clamp_forward(x: Array, min: float | None, max: float | None) -> Array:
    return np.clip(x, min, max)


def clamp_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, min: float | None, max: float | None
) -> tuple[Any, ...]:
    (x,) = inputs
    inside = np.ones(x.shape, bool)
    if min is not None:
        inside &= x >= min
    if max is not None:
        inside &= x <= max
    return (np.where(inside, dout, 0),)  # the bounds themselves count as inside, as in PyTorch


def clamp_samples(rng: np.random.Generator) -> list[Sample]:
    bounds = [(-0.5, 0.5), (None, 0.3), (-0.2, None), (0.4, -0.4)]
    return [Sample((x,), {"min": a, "max": b}) for x in some_shapes(rng) for a, b in bounds]


def clamp_domain(x: Array, min: float | None, max: float | None) -> tuple[Any, ...]:
    return away_from(*[kink for kink in (min, max) if kink is not None])(x)


def clamp_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    bounds = [bound for bound in (attrs["min"], attrs["max"]) if bound is not None]
    if dtypes[0].kind != "f" and any(isinstance(bound, float) for bound in bounds):
        raise DTypeError(
            f"clamp: input has dtype {dtypes[0].name} and a bound is a float; convert the input "
            "with .float()"
        )
    return abs_layout(shapes, dtypes, attrs, needs)


CLAMP = OpSpec(
    name="clamp",
    forward=clamp_forward,
    backward=clamp_backward,
    layout=clamp_layout,
    samples=clamp_samples,
    bad_inputs=lambda: [
        BadInput((np.arange(3),), {"min": 0.5, "max": None}, DTypeError, "a bound is a float")
    ],
    domain=clamp_domain,
    tol=ROUNDING,
    source=PYTORCH + "clamp: min(max(x, min), max)",
)


def cast_forward(x: Array, dtype: str) -> Array:
    return x.astype(dtype)


def cast_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dtype: str
) -> tuple[Any, ...]:
    (x,) = inputs
    return (dout.astype(x.dtype),)


def cast_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return Layout(
        outs=(ArraySpec(shapes[0], np.dtype(attrs["dtype"])),),
        keep_shapes=(0,) if any(needs) else (),  # the dtype, in fact
    )


CAST = OpSpec(
    name="cast",
    forward=cast_forward,
    backward=cast_backward,
    layout=cast_layout,
    samples=lambda rng: [Sample((x,), {"dtype": "float64"}) for x in some_shapes(rng)],
    tol=ROUNDING,
    source=PYTORCH + "Tensor.to: the same values in another dtype",
)


def clone_forward(x: Array) -> Array:
    return x.copy()


def clone_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    return (dout,)


def clone_samples(rng: np.random.Generator) -> list[Sample]:
    """Beside the usual ones transposes, of a matrix and of several, which have a kernel."""
    matrix, several = rng.standard_normal((33, 40)), rng.standard_normal((5, 21, 18))
    return [*unary_samples(rng), Sample((matrix.T,)), Sample((several.transpose(0, 2, 1),))]


def _many_floats(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """Fewer are copied by NumPy before a kernel has begun."""
    return dtypes[0] in (np.float32, np.float64) and math.prod(shapes[0]) >= _COMPILE_FROM


CLONE = OpSpec(
    name="clone",
    forward=clone_forward,
    backward=clone_backward,
    layout=any_dtype,
    kernels={"numba": Kernel("copy", "clone", when=_many_floats, forward_only=True)},
    samples=clone_samples,
    tol=ROUNDING,
    source=PYTORCH + "clone: x, in an array of its own",
)
