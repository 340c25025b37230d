"""Entries in order along a dimension: all of them, or the k largest, with where they stood.

A gradient goes back to where its entry stood. Equal entries keep their order (a stable sort);
PyTorch promises an order among equals only for sort(stable=True), and has the same on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import ShapeError
from npmlp.ops.common import ROUNDING, some_shapes
from npmlp.ops.extreme import separated
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


def order_of(x: Array, dim: int, descending: bool) -> Array:
    """The indices that sort x along `dim`, equal entries in their order; NaN is the largest."""
    if not x.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # sorted upwards from the other end, and read backwards, equal entries are in their order again
    upwards = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(upwards, dim)


def taken(x: Array, indices: Array, dim: int) -> Array:
    return np.take_along_axis(x, indices, axis=dim) if x.ndim else x.copy()


def sort_forward(x: Array, dim: int, descending: bool) -> tuple[Array, Array]:
    indices = order_of(x, dim, descending)
    return taken(x, indices, dim), indices


def put_back(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int, **attrs: Any
) -> tuple[Any, ...]:
    (x,), indices = inputs, outs[1]
    if not x.ndim:
        return (dout,)
    dx = np.zeros(x.shape, dout.dtype)
    np.put_along_axis(dx, indices, dout, axis=dim)
    return (dx,)


def ordered(shape: tuple[int, ...], dtype: np.dtype[Any], needs: Needs) -> Layout:
    recorded = any(needs)
    return Layout(
        outs=(ArraySpec(shape, dtype), ArraySpec(shape, np.dtype(np.int64))),
        n_outputs=2,
        keep_shapes=(0,) if recorded else (),
        keep_outs=(1,) if recorded else (),
    )


def sort_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return ordered(shapes[0], dtypes[0], needs)


def sort_samples(rng: np.random.Generator) -> list[Sample]:
    tied = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    return [
        Sample((x,), {"dim": d, "descending": descending})
        for x in [*some_shapes(rng), tied]
        for d in range(max(x.ndim, 1))
        for descending in (False, True)
    ]


SORT = OpSpec(
    name="sort",
    forward=sort_forward,
    backward=put_back,
    layout=sort_layout,
    samples=sort_samples,
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "sort: the entries in order, and their indices",
)


def topk_forward(x: Array, dim: int, k: int, largest: bool) -> tuple[Array, Array]:
    indices = order_of(x, dim, descending=largest)
    if x.ndim:
        indices = np.ascontiguousarray(np.take(indices, np.arange(k), axis=dim))
    return taken(x, indices, dim), indices


def topk_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape, dim, k = shapes[0], attrs["dim"], attrs["k"]
    size = shape[dim] if shape else 1
    if not 0 <= k <= size:
        raise ShapeError(f"topk: k is {k}, expected 0 to {size}, the size of dimension {dim}")
    return ordered(tuple(k if i == dim else n for i, n in enumerate(shape)), dtypes[0], needs)


def topk_samples(rng: np.random.Generator) -> list[Sample]:
    """Different entries: which of equals come first among the k largest, PyTorch leaves open."""
    arrays = [rng.permutation(x.size).reshape(x.shape) / 2.0 for x in some_shapes(rng)]
    return [
        Sample((x,), {"dim": max(x.ndim - 1, 0), "k": k, "largest": largest})
        for x in arrays
        for k in (1, 2)
        for largest in (True, False)
        if k <= (x.shape[-1] if x.ndim else 1)
    ] + [Sample((rng.permutation(15).reshape(5, 3) / 2.0,), {"dim": 0, "k": 4, "largest": True})]


TOPK = OpSpec(
    name="topk",
    forward=topk_forward,
    backward=put_back,
    layout=topk_layout,
    samples=topk_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)),), {"dim": 1, "k": 4, "largest": True}, ShapeError, "k is 4")
    ],
    domain=separated,
    tol=ROUNDING,
    source=PYTORCH + "topk: the k largest entries in falling order, and their indices",
)
