"""Elementwise operations with two inputs: arithmetic, the larger and the smaller, a choice.

x, y inputs; dout, dx, dy gradients. The inputs broadcast; their gradients are returned in the
output's shape, and the engine sums them back (run_op.unbroadcast).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import ROUNDING, broadcast_shape, check_float, positive, refuses_integers
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


# ---------------------------------------------------------------------------------- arithmetic


def add_forward(x: Array, y: Array) -> Array:
    return x + y


def add_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    return dout, dout


def same_shape(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """A kernel's `when`: floats of one shape."""
    return bool(dtypes[0].kind == "f" and shapes[0] == shapes[1])


ADD = OpSpec(
    name="add",
    forward=add_forward,
    backward=add_backward,
    kernels={"numba": Kernel("elementwise", "add", when=same_shape, forward_only=True)},
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
