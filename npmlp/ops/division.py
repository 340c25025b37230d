"""Whole quotients and remainders: x = y ⌊x / y⌋ + remainder, the remainder with y's sign."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import NpmlpError
from npmlp.ops.binary import binary_bad_inputs, binary_layout, binary_samples
from npmlp.ops.common import ROUNDING
from npmlp.ops.spec import (
    Array,
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

PYTORCH = "PyTorch docs, torch."


def _check_divisor(op: str, y: Array) -> None:
    if y.dtype.kind != "f" and (y == 0).any():
        raise NpmlpError(f"{op}: whole numbers are not divided by 0; convert them with .float()")


def floor_divide_forward(x: Array, y: Array) -> Array:
    """Of floats by 0 it is ±inf or nan, where NumPy always has nan."""
    _check_divisor("floor_divide", y)
    if x.dtype.kind != "f":
        return np.floor_divide(x, y)
    return np.where(y == 0, x / y, np.floor_divide(x, y))


def remainder_forward(x: Array, y: Array) -> Array:
    _check_divisor("remainder", y)
    return np.remainder(x, y)


def remainder_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    """Between jumps ⌊x / y⌋ is a constant."""
    x, y = inputs
    dy = -dout * np.floor(x / y) if needs[1] else None
    return (dout if needs[0] else None), dy


def division_layout(op: str) -> Any:
    base = binary_layout(op, keeps=lambda needs: (0, 1) if needs[1] else ())

    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        if dtypes[0] == np.dtype(bool):
            raise NpmlpError(f"{op}: bools are not divided; convert them with .long()")
        return base(shapes, dtypes, attrs, needs)

    return layout


def division_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample(away_from_jumps(*s.inputs)) for s in binary_samples(rng)]


def away_from_jumps(x: Array, y: Array) -> tuple[Any, ...]:
    """The domain: divisors of some size, quotients at 0.2 to 0.8 between whole numbers."""
    y = np.where(y >= 0, 0.5, -0.5) + y
    if np.broadcast_shapes(x.shape, y.shape) != x.shape or y.ndim > x.ndim or y.size != x.size:
        # one divisor serves several entries: whole ones, and numerators half way between
        y = np.where(y >= 0, 2.0, -2.0)
        return np.floor(3 * x) + 0.5, y
    quotient = x / y
    whole = np.floor(quotient)
    return (whole + 0.2 + 0.6 * (quotient - whole)) * y, y


def no_zero(op: str) -> Any:
    return lambda: [
        *binary_bad_inputs(op)(),
        BadInput((np.arange(3), np.arange(3)), {}, NpmlpError, "not divided by 0"),
        BadInput((np.ones(3, bool), np.ones(3, bool)), {}, NpmlpError, "bools are not divided"),
    ]


FLOOR_DIVIDE = OpSpec(
    name="floor_divide",
    forward=floor_divide_forward,
    backward=None,
    layout=division_layout("floor_divide"),
    samples=division_samples,
    bad_inputs=no_zero("floor_divide"),
    tol=ROUNDING,
    source=PYTORCH + "floor_divide: ⌊x / y⌋",
    broadcasts=True,
)
REMAINDER = OpSpec(
    name="remainder",
    forward=remainder_forward,
    backward=remainder_backward,
    layout=division_layout("remainder"),
    samples=division_samples,
    bad_inputs=no_zero("remainder"),
    domain=away_from_jumps,
    # x - y ⌊x / y⌋ loses what x has above y: up to four units here, where |x| < 4 |y|
    tol={"float32": 4e-6, "float64": 1e-14},
    source=PYTORCH + "remainder: x - y ⌊x / y⌋",
    broadcasts=True,
)
