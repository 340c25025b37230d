"""Padding: entries added around an image, or taken away where the number is negative.

Each row of the result is a row of x, or outside of it; so is each column. Which one, `sources`
says, and the gradient goes back the same way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.errors import NpmlpError, ShapeError
from npmlp.ops.common import ROUNDING
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

Sides = tuple[int, int, int, int]  # left, right, top, bottom
MODES = ("constant", "reflect", "replicate", "circular")


def sources(size: int, before: int, after: int, mode: str) -> Array:
    """Which of `size` entries stands at each place of the result."""
    place = np.arange(-before, size + after)
    if mode == "reflect":  # mirrored at the first and the last entry, which are not repeated
        place = np.abs(place)
        return np.where(place >= size, 2 * (size - 1) - place, place)
    if mode == "replicate":
        return place.clip(0, size - 1)
    # circular: what is taken away is gone before the rest is repeated
    start, rest = max(-before, 0), size + min(before, 0) + min(after, 0)
    return start + (place - start) % max(rest, 1)


def pad2d_forward(x: Array, padding: Sides, mode: str, value: float) -> Array:
    left, right, top, bottom = padding
    H, W = x.shape[-2:]
    if mode == "constant":
        shape = (*x.shape[:-2], top + H + bottom, left + W + right)
        out = np.full(shape, value).astype(x.dtype)
        to, of = _overlap(padding, H, W)
        out[to] = x[of]
        return out
    rows, columns = sources(H, top, bottom, mode), sources(W, left, right, mode)
    return x.take(rows, axis=-2).take(columns, axis=-1)


def pad2d_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    padding: Sides,
    mode: str,
    value: float,
) -> tuple[Any, ...]:
    """An entry gets the gradients of all the places where it stands."""
    (x,) = inputs
    left, right, top, bottom = padding
    H, W = x.shape[-2:]
    if mode == "constant":
        dx = np.zeros(x.shape, dout.dtype)
        to, of = _overlap(padding, H, W)
        dx[of] = dout[to]
        return (dx,)
    rows, columns = sources(H, top, bottom, mode), sources(W, left, right, mode)
    dcolumns = np.zeros((*dout.shape[:-1], W), dout.dtype)
    np.add.at(dcolumns, (..., columns), dout)  # type: ignore[arg-type]
    dx = np.zeros(x.shape, dout.dtype)
    np.add.at(dx, (..., rows, slice(None)), dcolumns)  # type: ignore[arg-type]
    return (dx,)


def _overlap(padding: Sides, H: int, W: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Where x lies in the padded image, and which part of x that is."""
    left, right, top, bottom = padding
    parts = [(top, bottom, H), (left, right, W)]
    to = tuple(slice(max(a, 0), max(a, 0) + n + min(a, 0) + min(b, 0)) for a, b, n in parts)
    of = tuple(slice(max(-a, 0), n - max(-b, 0)) for a, b, n in parts)
    return (..., *to), (..., *of)


def pad2d_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    (x,), (left, right, top, bottom), mode = shapes, attrs["padding"], attrs["mode"]
    if mode not in MODES:
        raise NpmlpError(f"pad: mode is {mode!r}, expected one of {', '.join(map(repr, MODES))}")
    if len(x) < 2:
        raise ShapeError(f"pad: input has shape {tuple(x)}, expected two dimensions or more")
    sizes = []
    for before, after, n, word in ((top, bottom, x[-2], "rows"), (left, right, x[-1], "columns")):
        sizes.append(before + n + after)
        # a mirror has n - 1 entries to give, a circle n, and an edge as many as one wants
        rest = n + min(before, 0) + min(after, 0)
        room = {"reflect": n - 1, "circular": rest, "replicate": math.inf if n else -1}
        if rest < 0 or (mode != "constant" and max(before, after) > room[mode]):
            raise ShapeError(
                f"pad: {before} before and {after} after {n} {word} is not possible in mode "
                f"{mode!r}; the input has shape {tuple(x)}"
            )
    return Layout(
        outs=(ArraySpec((*x[:-2], *sizes), dtypes[0]),), keep_shapes=(0,) if any(needs) else ()
    )


def pad2d_samples(rng: np.random.Generator) -> list[Sample]:
    sides = [(1, 2, 0, 3), (3, 0, 2, 2), (-1, 2, 1, -2), (0, 0, 0, 1)]
    x = rng.standard_normal((2, 3, 4, 5))
    samples = [
        Sample((x,), {"padding": around, "mode": mode, "value": 0.5 if mode == "constant" else 0.0})
        for around in sides
        for mode in MODES
    ]
    one, none = rng.standard_normal((1, 1, 1, 1)), np.empty((0, 1, 2, 2))
    for mode in ("constant", "replicate"):
        samples.append(Sample((one,), {"padding": (1, 2, 0, 1), "mode": mode, "value": 0.0}))
    for mode in MODES:
        samples.append(Sample((none,), {"padding": (1, 1, 1, 0), "mode": mode, "value": 0.0}))
    return samples


PAD2D = OpSpec(
    name="pad2d",
    forward=pad2d_forward,
    backward=pad2d_backward,
    layout=pad2d_layout,
    samples=pad2d_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((1, 1, 3, 3)),), {"padding": (3, 0, 0, 0), "mode": "reflect", "value": 0.0},
            ShapeError, "3 before and 0 after 3 columns is not possible in mode 'reflect'",
        ),
        BadInput(
            (np.ones((1, 1, 3, 3)),), {"padding": (0, 0, -2, -2), "mode": "constant", "value": 0.0},
            ShapeError, "-2 before and -2 after 3 rows",
        ),
        BadInput(
            (np.ones((1, 1, 3, 3)),), {"padding": (0, 0, 1, 1), "mode": "mirror", "value": 0.0},
            NpmlpError, "mode is 'mirror'",
        ),
        BadInput(
            (np.ones(3),), {"padding": (1, 1, 0, 0), "mode": "constant", "value": 0.0},
            ShapeError, "two dimensions or more",
        ),
    ],
    tol=ROUNDING,
    source="PyTorch docs, torch.nn.functional.pad",
)  # fmt: skip
