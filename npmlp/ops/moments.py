"""How far entries lie from their mean, or from zero: standard deviation and norm.

Both are roots, whose slope at 0 is infinite; there PyTorch lets no gradient through, and so do
these. `dim` and `keepdim` as in reduce.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import check_float
from npmlp.ops.reduce import (
    SUMMED,
    Dims,
    count_of,
    reduce_samples,
    reduced_shape,
    spread,
    sum_layout,
    var_forward,
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
)

PYTORCH = "PyTorch docs, torch."


def std_forward(x: Array, dim: Dims, keepdim: bool, correction: float) -> Array:
    return np.sqrt(var_forward(x, dim, keepdim, correction))


def std_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    dim: Dims,
    keepdim: bool,
    correction: float,
) -> tuple[Any, ...]:
    """d std = d var / (2 std), and d var / dx = 2 (x - mean) / (n - correction)."""
    (x,), (out,) = inputs, outs
    centered = x - x.mean(axis=dim, keepdims=True)
    degrees = x.dtype.type(max(count_of(x.shape, dim) - correction, 0))
    dvar = np.where(out == 0, 0, dout / (2 * out))
    return (spread(dvar, x.shape, dim) * (2 * centered / degrees),)


def root_layout(op: str) -> Any:
    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        check_float(op, dtypes)
        out = sum_layout(shapes, dtypes, attrs, needs).outs[0]
        kept = (0,) if any(needs) else ()
        return Layout(outs=(out,), keep_inputs=kept, keep_outs=kept)

    return layout


STD = OpSpec(
    name="std",
    forward=std_forward,
    backward=std_backward,
    layout=root_layout("std"),
    samples=lambda rng: (
        [
            s
            for correction in (0, 1)
            for s in reduce_samples(rng, correction=correction)
            if count_of(s.inputs[0].shape, s.attrs["dim"]) > 1
        ]
        + [  # one entry deviates from nothing: 0, with no gradient
            Sample((np.array([[2.0]]),), {"dim": (0,), "keepdim": False, "correction": 0}),
            Sample((np.ones((0, 3)),), {"dim": (1,), "keepdim": False, "correction": 0}),
        ]
    ),
    # away from a deviation of 0, the one kink
    domain=lambda x, dim, keepdim, correction: (
        (x,) if count_of(x.shape, dim) > 1 else (np.zeros_like(x),)
    ),
    bad_inputs=lambda: [
        BadInput(
            (np.arange(3),),
            {"dim": (0,), "keepdim": False, "correction": 1},
            DTypeError,
            "std: input has",
        )
    ],
    tol=SUMMED,
    source=PYTORCH + "std: √(Σ (x - mean)² / (n - correction))",
)


def norm_forward(x: Array, dim: Dims, keepdim: bool, ord: float) -> Array:
    size = np.abs(x)
    if ord == math.inf:
        return size.max(axis=dim, keepdims=keepdim)
    if ord == -math.inf:
        return size.min(axis=dim, keepdims=keepdim)
    if ord == 0:
        return (x != 0).sum(axis=dim, keepdims=keepdim).astype(x.dtype)
    if ord == 1:
        return size.sum(axis=dim, keepdims=keepdim)
    if ord == 2:
        return np.sqrt(np.square(x).sum(axis=dim, keepdims=keepdim))
    total = np.power(size, x.dtype.type(ord)).sum(axis=dim, keepdims=keepdim)
    return np.power(total, x.dtype.type(1 / ord))


def norm_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    dim: Dims,
    keepdim: bool,
    ord: float,
) -> tuple[Any, ...]:
    """sign(x) (|x| / norm)^(ord - 1); for ±inf shared among those that attain the extreme."""
    (x,), (out,) = inputs, outs
    if ord == 0:
        return (np.zeros_like(x),)
    norm, given = spread(out, x.shape, dim), spread(dout, x.shape, dim)
    if abs(ord) == math.inf:
        attained = np.abs(x) == norm
        shares = attained.sum(axis=dim, keepdims=True).astype(x.dtype)
        return (np.where(attained, np.sign(x) * given / shares, 0),)
    if ord == 1:
        return (np.sign(x) * given,)
    if ord == 2:
        return (np.where(norm == 0, 0, given * (x / norm)),)
    slope = np.sign(x) * np.power(np.abs(x) / norm, x.dtype.type(ord - 1))
    return (np.where((norm == 0) | ((x == 0) & (ord < 1)), 0, given * slope),)


def norm_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    check_float("norm", dtypes)
    if abs(attrs["ord"]) == math.inf and count_of(shapes[0], attrs["dim"]) == 0:
        raise ShapeError(
            f"norm: an input of shape {shapes[0]} has no entries among which to choose one"
        )
    shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
    kept = (0,) if any(needs) else ()
    return Layout(outs=(ArraySpec(shape, dtypes[0]),), keep_inputs=kept, keep_outs=kept)


def norm_samples(rng: np.random.Generator) -> list[Sample]:
    orders = (2.0, 1.0, 3.0, 0.5, math.inf, -math.inf)
    return [
        s
        for ord in orders
        for s in reduce_samples(rng, ord=ord)
        if count_of(s.inputs[0].shape, s.attrs["dim"]) or abs(ord) != math.inf
    ]


def away_from_ties(x: Array, dim: Dims, keepdim: bool, ord: float) -> tuple[Any, ...]:
    """The domain: sizes that differ from each other and from 0."""
    order = np.empty(x.size)
    order[np.argsort(np.abs(x), axis=None, kind="stable")] = np.arange(x.size)
    return (np.where(x < 0, -1.0, 1.0) * (0.3 + order.reshape(x.shape) / 20),)


VECTOR_NORM = OpSpec(
    name="vector_norm",
    forward=norm_forward,
    backward=norm_backward,
    layout=norm_layout,
    samples=norm_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.arange(3),), {"dim": (0,), "keepdim": False, "ord": 2.0}, DTypeError, "norm: input"
        ),
        BadInput(
            (np.empty(0),), {"dim": (0,), "keepdim": False, "ord": math.inf}, ShapeError, "norm: an"
        ),
    ],
    domain=away_from_ties,
    # powers are library functions, good to 1 ulp, and ord 0.5 squares a sum of up to 67 roots
    tol={"float32": 1e-5, "float64": 3e-14},
    source=PYTORCH + "linalg.vector_norm: (Σ |x|^ord)^(1/ord); the largest |x| where ord is inf",
)
