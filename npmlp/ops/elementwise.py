"""Elementwise operations: what acts on each entry by itself, with one input or two.

x, y inputs; dout, dx, dy gradients. Two inputs broadcast; their gradients are returned in the
output's shape, and the engine sums them back (autograd.unbroadcast).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import (
    ROUNDING,
    broadcast_shape,
    check_float,
    like_input,
    refuses_integers,
    some_shapes,
)
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
    away_from,
)

PYTORCH = "PyTorch docs, torch."


def binary_layout(op: str, keeps: Callable[[Needs], tuple[int, ...]]) -> Callable[..., Layout]:
    """Two inputs of one dtype that broadcast; `keeps(needs)` are the inputs backward reads."""

    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        if dtypes[0] != dtypes[1]:
            raise DTypeError(f"{op}: dtypes {dtypes[0].name} and {dtypes[1].name} differ")
        out = ArraySpec(broadcast_shape(op, shapes), dtypes[0])
        return Layout(outs=(out,), keep_inputs=keeps(needs))

    return layout


def binary_samples(rng: np.random.Generator) -> list[Sample]:
    """Pairs of normal arrays: same shapes, broadcast ones, 0-d, empty."""
    pairs = [((4, 5), (4, 5)), ((4, 5), (5,)), ((4, 1), (1, 5)), ((3,), ()), ((0, 3), (3,))]
    return [Sample((rng.standard_normal(a), rng.standard_normal(b))) for a, b in pairs]


def binary_bad_inputs(op: str) -> Callable[[], list[BadInput]]:
    def bad_inputs() -> list[BadInput]:
        return [
            BadInput((np.ones((2, 3)), np.ones((2, 4))), {}, ShapeError, "do not broadcast"),
            BadInput((np.ones(2), np.ones(2, np.float32)), {}, DTypeError, f"{op}: dtypes"),
        ]

    return bad_inputs


def positive(*inputs: Any, **attrs: Any) -> tuple[Any, ...]:
    """The domain of a function of positive numbers."""
    return tuple(np.abs(x) + 0.1 for x in inputs)


# ------------------------------------------------------------------------- arithmetic, two inputs


def add_forward(x: Array, y: Array) -> Array:
    return x + y


def add_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    return dout, dout


ADD = OpSpec(
    name="add",
    forward=add_forward,
    backward=add_backward,
    layout=binary_layout("add", keeps=lambda needs: ()),
    samples=binary_samples,
    bad_inputs=binary_bad_inputs("add"),
    tol=ROUNDING,
    source=PYTORCH + "add: x + y",
    broadcasts=True,
)


def sub_forward(x: Array, y: Array) -> Array:
    return x - y


def sub_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    return dout, -dout if needs[1] else None


SUB = OpSpec(
    name="sub",
    forward=sub_forward,
    backward=sub_backward,
    layout=binary_layout("sub", keeps=lambda needs: ()),
    samples=binary_samples,
    bad_inputs=binary_bad_inputs("sub"),
    tol=ROUNDING,
    source=PYTORCH + "sub: x - y",
    broadcasts=True,
)


def mul_forward(x: Array, y: Array) -> Array:
    return x * y


def mul_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    x, y = inputs
    dx = dout * y if needs[0] else None
    dy = dout * x if needs[1] else None
    return dx, dy


MUL = OpSpec(
    name="mul",
    forward=mul_forward,
    backward=mul_backward,
    layout=binary_layout("mul", keeps=lambda needs: (0,) * needs[1] + (1,) * needs[0]),
    samples=binary_samples,
    bad_inputs=binary_bad_inputs("mul"),
    tol=ROUNDING,
    source=PYTORCH + "mul: x y",
    broadcasts=True,
)


def div_forward(x: Array, y: Array) -> Array:
    return x / y


def div_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    x, y = inputs
    dx = dout / y if needs[0] else None
    dy = -dout * ((x / y) / y) if needs[1] else None  # -x / y², without the overflow of y²
    return dx, dy


def div_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    layout = binary_layout("div", lambda needs: (0, 1) if needs[1] else (1,) if needs[0] else ())
    check_float("div", dtypes[:1])
    return layout(shapes, dtypes, attrs, needs)


DIV = OpSpec(
    name="div",
    forward=div_forward,
    backward=div_backward,
    layout=div_layout,
    samples=binary_samples,
    bad_inputs=lambda: [*binary_bad_inputs("div")(), *refuses_integers("div", n_inputs=2)()],
    domain=away_from(0.0, by=0.3),  # 1/y curves too fast near 0 for a finite difference
    tol=ROUNDING,
    source=PYTORCH + "div: x / y",
    broadcasts=True,
)


def pow_forward(x: Array, y: Array) -> Array:
    return np.power(x, y)


def pow_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    x, y = inputs
    (out,) = outs
    dx = dy = None
    if needs[0]:  # y x^(y-1), and 0 where y is 0, even at x = 0
        dx = np.where(y == 0, 0, dout * (y * np.power(x, y - 1)))
    if needs[1]:  # x^y ln x, and 0 where x is 0 and y is not negative, as the limit is
        dy = np.where((x == 0) & (y >= 0), 0, dout * (out * np.log(x)))
    return dx, dy


def pow_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    base = binary_layout("pow", keeps=lambda needs: (0, 1) if any(needs) else ())
    layout = base(shapes, dtypes, attrs, needs)
    return Layout(layout.outs, keep_inputs=layout.keep_inputs, keep_outs=(0,) if needs[1] else ())


POW = OpSpec(
    name="pow",
    forward=pow_forward,
    backward=pow_backward,
    layout=pow_layout,
    samples=lambda rng: [Sample(positive(*s.inputs)) for s in binary_samples(rng)],
    bad_inputs=binary_bad_inputs("pow"),
    domain=positive,
    # pow and log are library functions, good to 1 ulp; the chain has four roundings
    tol={"float32": 3e-6, "float64": 1e-14},
    source=PYTORCH + "pow: x^y",
    broadcasts=True,
)


def maximum_forward(x: Array, y: Array) -> Array:
    return np.maximum(x, y)


def maximum_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    x, y = inputs
    half = np.where(x == y, dout / 2, 0)  # PyTorch gives each of two equal entries one half
    return np.where(x > y, dout, half), np.where(y > x, dout, half)


def apart(x: Array, y: Array) -> tuple[Array, Array]:
    """The domain of maximum and minimum: a finite difference must not make a tie change sides."""
    return x, np.where(np.abs(x - y) < 1e-2, y + 0.1, y) if x.shape == y.shape else y


MAXIMUM = OpSpec(
    name="maximum",
    forward=maximum_forward,
    backward=maximum_backward,
    layout=binary_layout("maximum", keeps=lambda needs: (0, 1) if any(needs) else ()),
    samples=binary_samples,
    bad_inputs=binary_bad_inputs("maximum"),
    domain=apart,
    tol=ROUNDING,
    source=PYTORCH + "maximum: max(x, y)",
    broadcasts=True,
)


def minimum_forward(x: Array, y: Array) -> Array:
    return np.minimum(x, y)


def minimum_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    x, y = inputs
    half = np.where(x == y, dout / 2, 0)
    return np.where(x < y, dout, half), np.where(y < x, dout, half)


MINIMUM = OpSpec(
    name="minimum",
    forward=minimum_forward,
    backward=minimum_backward,
    layout=binary_layout("minimum", keeps=lambda needs: (0, 1) if any(needs) else ()),
    samples=binary_samples,
    bad_inputs=binary_bad_inputs("minimum"),
    domain=apart,
    tol=ROUNDING,
    source=PYTORCH + "minimum: min(x, y)",
    broadcasts=True,
)


def where_forward(condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition, x, y)


def where_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    condition = inputs[0]
    dx = np.where(condition, dout, 0) if needs[1] else None
    dy = np.where(condition, 0, dout) if needs[2] else None
    return None, dx, dy


def where_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if dtypes[0].kind != "b":
        raise DTypeError(
            f"where: condition has dtype {dtypes[0].name}, expected bool; compare it with a number"
        )
    if dtypes[1] != dtypes[2]:
        raise DTypeError(f"where: dtypes {dtypes[1].name} and {dtypes[2].name} differ")
    out = ArraySpec(broadcast_shape("where", shapes), dtypes[1])
    return Layout(outs=(out,), keep_inputs=(0,) if any(needs) else ())


def where_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((rng.random(np.broadcast_shapes(*(a.shape for a in pair))) < 0.5, *pair))
        for pair in (s.inputs for s in binary_samples(rng))
    ]


WHERE = OpSpec(
    name="where",
    forward=where_forward,
    backward=where_backward,
    layout=where_layout,
    samples=where_samples,
    bad_inputs=lambda: [
        BadInput((np.arange(3), np.ones(3), np.ones(3)), {}, DTypeError, "expected bool"),
        BadInput((np.ones(3, bool), np.ones(3), np.ones(4)), {}, ShapeError, "do not broadcast"),
    ],
    tol=ROUNDING,
    source=PYTORCH + "where: x where the condition holds, else y",
    differentiable=(1, 2),
    broadcasts=True,
)


# ------------------------------------------------------------------------- arithmetic, one input


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


CLONE = OpSpec(
    name="clone",
    forward=clone_forward,
    backward=clone_backward,
    layout=any_dtype,
    samples=unary_samples,
    tol=ROUNDING,
    source=PYTORCH + "clone: x, in an array of its own",
)
