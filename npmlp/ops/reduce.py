"""Reductions: many entries to one, over all dimensions or over the ones named by `dim`.

`dim` is a tuple of dimensions counted from the front, `keepdim` leaves them with size 1. A gradient
comes back in the reduced shape and is spread over the entries that it came from.
"""

from __future__ import annotations

import math
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

PYTORCH = "PyTorch docs, torch."
Dims = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], dim: Dims, keepdim: bool) -> tuple[int, ...]:
    """`shape` with the dimensions of `dim` removed, or 1 where `keepdim`."""
    if keepdim:
        return tuple(1 if i in dim else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dim)


def spread(grad: Array, shape: tuple[int, ...], dim: Dims) -> Array:
    """A reduced gradient as a view in the shape of the input: each entry repeated, not copied."""
    kept = tuple(1 if i in dim else n for i, n in enumerate(shape))
    return np.broadcast_to(grad.reshape(kept), shape)


def _count(shape: tuple[int, ...], dim: Dims) -> int:
    return math.prod(shape[i] for i in dim)


def reduce_samples(rng: np.random.Generator, **attrs: Any) -> list[Sample]:
    samples = [
        Sample((x,), {"dim": tuple(range(x.ndim)), "keepdim": False, **attrs})
        for x in some_shapes(rng)
    ]
    samples.append(Sample((np.empty((0, 3)),), {"dim": (1,), "keepdim": False, **attrs}))
    cube = rng.standard_normal((3, 4, 5))
    for dim in ((0,), (1,), (2,), (0, 2)):
        for keepdim in (False, True):
            samples.append(Sample((cube,), {"dim": dim, "keepdim": keepdim, **attrs}))
    return samples


# -------------------------------------------------------------------------------------- sum, mean


def sum_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    dtype = x.dtype if x.dtype.kind == "f" else np.int64  # NumPy would sum uint8 as uint64
    return x.sum(axis=dim, keepdims=keepdim, dtype=dtype)


def sum_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    (x,) = inputs
    return (spread(dout, x.shape, dim),)


def sum_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    # PyTorch sums integers and booleans as int64
    dtype = dtypes[0] if dtypes[0].kind == "f" else np.dtype(np.int64)
    out = ArraySpec(reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"]), dtype)
    return Layout(outs=(out,), keep_shapes=(0,) if any(needs) else ())


# NumPy adds in blocks of 128 and by pairs above; the error of n entries is below log2(n)/2 + 128/8
# roundings of the largest partial sum, here n ≤ 67
SUMMED = {"float32": 4e-6, "float64": 1e-14}

SUM = OpSpec(
    name="sum",
    forward=sum_forward,
    backward=sum_backward,
    layout=sum_layout,
    samples=reduce_samples,
    tol=SUMMED,
    source=PYTORCH + "sum: Σ x",
)


def mean_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    return x.sum(axis=dim, keepdims=keepdim) / x.dtype.type(_count(x.shape, dim))


def mean_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    (x,) = inputs
    return (spread(dout, x.shape, dim) / x.dtype.type(_count(x.shape, dim)),)


def mean_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    check_float("mean", dtypes)
    return sum_layout(shapes, dtypes, attrs, needs)


MEAN = OpSpec(
    name="mean",
    forward=mean_forward,
    backward=mean_backward,
    layout=mean_layout,
    samples=reduce_samples,
    bad_inputs=lambda: [
        BadInput((np.arange(3),), {"dim": (0,), "keepdim": False}, DTypeError, "mean: input has")
    ],
    tol=SUMMED,
    source=PYTORCH + "mean: Σ x / n",
)


def var_forward(x: Array, dim: Dims, keepdim: bool, correction: float) -> Array:
    centered = x - x.mean(axis=dim, keepdims=True)
    degrees = max(_count(x.shape, dim) - correction, 0)
    return np.square(centered).sum(axis=dim, keepdims=keepdim) / x.dtype.type(degrees)


def var_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    dim: Dims,
    keepdim: bool,
    correction: float,
) -> tuple[Any, ...]:
    (x,) = inputs
    centered = x - x.mean(axis=dim, keepdims=True)
    degrees = max(_count(x.shape, dim) - correction, 0)
    # the mean depends on x too, but Σ centered = 0, so that term vanishes
    return (spread(dout, x.shape, dim) * (2 * centered / x.dtype.type(degrees)),)


def var_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    check_float("var", dtypes)
    out = sum_layout(shapes, dtypes, attrs, needs).outs[0]
    return Layout(outs=(out,), keep_inputs=(0,) if any(needs) else ())


VAR = OpSpec(
    name="var",
    forward=var_forward,
    backward=var_backward,
    layout=var_layout,
    samples=lambda rng: [
        s
        for correction in (0, 1)
        for s in reduce_samples(rng, correction=correction)
        if _count(s.inputs[0].shape, s.attrs["dim"]) > correction
    ],
    bad_inputs=lambda: [
        BadInput(
            (np.arange(3),),
            {"dim": (0,), "keepdim": False, "correction": 1},
            DTypeError,
            "var: input has",
        )
    ],
    tol=SUMMED,
    source=PYTORCH + "var: Σ (x - mean)² / (n - correction)",
)


# ----------------------------------------------------------------------------- extremes, argmax


def _check_not_empty(op: str, shape: tuple[int, ...], dim: Dims) -> None:
    if _count(shape, dim) == 0:
        raise ShapeError(f"{op}: the input of shape {shape} has no entries to choose from")


def extreme_layout(op: str) -> Any:
    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        _check_not_empty(op, shapes[0], attrs["dim"])
        shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
        recorded = any(needs)
        return Layout(
            outs=(ArraySpec(shape, dtypes[0]),),
            keep_inputs=(0,) if recorded else (),
            keep_outs=(0,) if recorded else (),
        )

    return layout


def extreme_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    """The gradient goes to the entries that attain the extreme, in equal shares."""
    x, out = inputs[0], outs[0]
    attained = x == spread(out, x.shape, dim)
    shares = attained.sum(axis=dim, keepdims=True).astype(x.dtype)
    return (np.where(attained, spread(dout, x.shape, dim) / shares, 0),)


def separated(*inputs: Any, **attrs: Any) -> tuple[Any, ...]:
    """The domain of the extremes: entries so far apart that a small step changes no order."""
    (x,) = inputs
    order = np.empty(x.size)
    order[np.argsort(x, axis=None, kind="stable")] = np.arange(x.size)
    return (order.reshape(x.shape) / 7 - 1,)


def extreme_samples(rng: np.random.Generator) -> list[Sample]:
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    full = [s for s in reduce_samples(rng) if _count(s.inputs[0].shape, s.attrs["dim"])]
    one = np.array([[2.0]])
    return [*full, *[Sample((x,), {"dim": (1,), "keepdim": False}) for x in (tied, one)]]


def no_entries(op: str, **attrs: Any) -> Any:
    return lambda: [
        BadInput((np.empty((0, 3)),), {"dim": (0,), "keepdim": False, **attrs}, ShapeError, op)
    ]


def amax_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    return x.max(axis=dim, keepdims=keepdim)


AMAX = OpSpec(
    name="amax",
    forward=amax_forward,
    backward=extreme_backward,
    layout=extreme_layout("amax"),
    samples=extreme_samples,
    bad_inputs=no_entries("amax"),
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "amax: the largest entry",
)


def amin_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    return x.min(axis=dim, keepdims=keepdim)


AMIN = OpSpec(
    name="amin",
    forward=amin_forward,
    backward=extreme_backward,
    layout=extreme_layout("amin"),
    samples=extreme_samples,
    bad_inputs=no_entries("amin"),
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "amin: the smallest entry",
)


def max_dim_forward(x: Array, dim: Dims, keepdim: bool) -> tuple[Array, Array]:
    indices = x.argmax(axis=dim[0], keepdims=True)  # the first of equals
    values = np.take_along_axis(x, indices, axis=dim[0])
    shape = reduced_shape(x.shape, dim, keepdim)
    return values.reshape(shape), indices.reshape(shape)


def chosen_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    """The gradient goes to the entry whose index was returned, and to no other."""
    x, indices = inputs[0], outs[1]
    kept = reduced_shape(x.shape, dim, keepdim=True)
    dx = np.zeros(x.shape, dout.dtype)
    np.put_along_axis(dx, indices.reshape(kept), dout.reshape(kept), axis=dim[0])
    return (dx,)


def chosen_layout(op: str) -> Any:
    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        _check_not_empty(op, shapes[0], attrs["dim"])
        shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
        recorded = any(needs)
        return Layout(
            outs=(ArraySpec(shape, dtypes[0]), ArraySpec(shape, np.dtype(np.int64))),
            n_outputs=2,
            keep_shapes=(0,) if recorded else (),
            keep_outs=(1,) if recorded else (),
        )

    return layout


def chosen_samples(rng: np.random.Generator) -> list[Sample]:
    return [s for s in extreme_samples(rng) if len(s.attrs["dim"]) == 1]


MAX_DIM = OpSpec(
    name="max_dim",
    forward=max_dim_forward,
    backward=chosen_backward,
    layout=chosen_layout("max"),
    samples=chosen_samples,
    bad_inputs=no_entries("max"),
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "max(input, dim): the largest entries and their indices",
)


def min_dim_forward(x: Array, dim: Dims, keepdim: bool) -> tuple[Array, Array]:
    indices = x.argmin(axis=dim[0], keepdims=True)
    values = np.take_along_axis(x, indices, axis=dim[0])
    shape = reduced_shape(x.shape, dim, keepdim)
    return values.reshape(shape), indices.reshape(shape)


MIN_DIM = OpSpec(
    name="min_dim",
    forward=min_dim_forward,
    backward=chosen_backward,
    layout=chosen_layout("min"),
    samples=chosen_samples,
    bad_inputs=no_entries("min"),
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "min(input, dim): the smallest entries and their indices",
)


def argmax_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    if len(dim) == 1:
        return x.argmax(axis=dim[0], keepdims=keepdim)
    return x.reshape(-1).argmax().reshape((1,) * x.ndim if keepdim else ())


def argmax_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    _check_not_empty("argmax", shapes[0], attrs["dim"])
    shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
    return Layout(outs=(ArraySpec(shape, np.dtype(np.int64)),))


ARGMAX = OpSpec(
    name="argmax",
    forward=argmax_forward,
    backward=None,
    layout=argmax_layout,
    samples=lambda rng: [
        s for s in extreme_samples(rng) if len(s.attrs["dim"]) in (1, s.inputs[0].ndim)
    ],
    bad_inputs=no_entries("argmax"),
    tol=ROUNDING,
    source=PYTORCH + "argmax: the index of the (first) largest entry",
)
