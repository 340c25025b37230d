"""Extremes: the largest or smallest of many entries, over all dimensions or over those in `dim`.

amax and amin share a gradient among equals. max_dim, min_dim, argmax and argmin choose one, the
first, and say which: its index.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import ShapeError
from npmlp.ops.common import ROUNDING
from npmlp.ops.reduce import Dims, count_of, reduce_samples, reduced_shape, spread
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


def _check_not_empty(op: str, shape: tuple[int, ...], dim: Dims) -> None:
    if count_of(shape, dim) == 0:
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
    full = [s for s in reduce_samples(rng) if count_of(s.inputs[0].shape, s.attrs["dim"])]
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


def argmin_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    if len(dim) == 1:
        return x.argmin(axis=dim[0], keepdims=keepdim)
    return x.reshape(-1).argmin().reshape((1,) * x.ndim if keepdim else ())


def index_layout(op: str) -> Any:
    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        _check_not_empty(op, shapes[0], attrs["dim"])
        shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
        return Layout(outs=(ArraySpec(shape, np.dtype(np.int64)),))

    return layout


def index_samples(rng: np.random.Generator) -> list[Sample]:
    return [s for s in extreme_samples(rng) if len(s.attrs["dim"]) in (1, s.inputs[0].ndim)]


ARGMAX = OpSpec(
    name="argmax",
    forward=argmax_forward,
    backward=None,
    layout=index_layout("argmax"),
    samples=index_samples,
    bad_inputs=no_entries("argmax"),
    tol=ROUNDING,
    source=PYTORCH + "argmax: the index of the (first) largest entry",
)
ARGMIN = OpSpec(
    name="argmin",
    forward=argmin_forward,
    backward=None,
    layout=index_layout("argmin"),
    samples=index_samples,
    bad_inputs=no_entries("argmin"),
    tol=ROUNDING,
    source=PYTORCH + "argmin: the index of the (first) smallest entry",
)
