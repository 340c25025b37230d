"""Steps: floor, ceil, trunc, round and sign, constant between their jumps.

Their gradient is 0 wherever there is one, and PyTorch gives 0 at the jumps too. So they are
recorded, as there, and nothing flows back through them. Whole numbers pass unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npmlp.errors import DTypeError
from npmlp.ops.common import ROUNDING, some_shapes
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


def floats_only(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function that leaves whole numbers as they are."""

    def forward(x: Array) -> Array:
        return function(x) if x.dtype.kind == "f" else x.copy()

    return forward


def no_slope(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, **attrs: Any
) -> tuple[Any, ...]:
    return (np.zeros_like(dout),)


def step_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return Layout(outs=(ArraySpec(shapes[0], dtypes[0]),))


def step_samples(rng: np.random.Generator) -> list[Sample]:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])  # rounded to even
    return [Sample((x,)) for x in [*some_shapes(rng, 3.0), halves]]


def between_jumps(x: Array, decimals: int = 0) -> tuple[Any, ...]:
    """The domain: at least 0.1 from where the values of any of them jump, 0, ½, 1, 1½ …"""
    unit = 10.0**-decimals
    return (unit * (np.floor(2 * x / unit) / 2 + 0.1 + 0.3 * (np.abs(x / unit) % 1)),)


def step(name: str, forward: Callable[[Array], Array], equation: str) -> OpSpec:
    """These differ in nothing but the function."""
    return OpSpec(
        name=name,
        forward=floats_only(forward),
        backward=no_slope,
        layout=step_layout,
        samples=step_samples,
        domain=between_jumps,
        tol=ROUNDING,
        source=PYTORCH + equation,
        flat=True,
    )


FLOOR = step("floor", np.floor, "floor: the next whole number below")
CEIL = step("ceil", np.ceil, "ceil: the next whole number above")
TRUNC = step("trunc", np.trunc, "trunc: the next whole number towards 0")


def round_forward(x: Array, decimals: int) -> Array:
    if x.dtype.kind != "f":
        return x.copy()
    if decimals == 0:
        return np.rint(x)  # halves to the even neighbour, as in PyTorch
    scale = x.dtype.type(10.0 ** abs(decimals))
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def round_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if attrs["decimals"] and dtypes[0].kind != "f":
        raise DTypeError(
            f"round: input has dtype {dtypes[0].name}, and only floats are rounded to decimals; "
            "convert it with .float()"
        )
    return step_layout(shapes, dtypes, attrs, needs)


ROUND = OpSpec(
    name="round",
    forward=round_forward,
    backward=no_slope,
    layout=round_layout,
    samples=lambda rng: [
        Sample(s.inputs, {"decimals": n}) for s in step_samples(rng) for n in (0, 1, -1)
    ],
    bad_inputs=lambda: [
        BadInput((np.arange(3),), {"decimals": 1}, DTypeError, "only floats are rounded")
    ],
    domain=between_jumps,
    tol=ROUNDING,
    source=PYTORCH + "round: the nearest number of so many decimals, of two the even one",
    flat=True,
)


def sign_forward(x: Array) -> Array:
    return x.copy() if x.dtype.kind == "b" else np.where(np.isnan(x), x.dtype.type(0), np.sign(x))


SIGN = OpSpec(
    name="sign",
    forward=sign_forward,
    backward=no_slope,
    layout=step_layout,
    samples=step_samples,
    domain=away_from(0.0),
    tol=ROUNDING,
    source=PYTORCH + "sign: -1, 0 or 1",
    flat=True,
)
