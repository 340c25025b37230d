"""Indexing: entries chosen by position, read as x[index] and set as x[index] = value.

slice takes ints and slices and is a view: its output shares the input's memory. gather, whose index
has arrays, and index_put copy. An entry that was not read, or was overwritten, has gradient 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
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


def slice_forward(x: Array, index: tuple[Any, ...]) -> Array:
    # with an Ellipsis one entry, too, is a view of 0 dimensions, where NumPy would copy a number
    return x[index if Ellipsis in index else (*index, Ellipsis)]


def slice_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, index: tuple[Any, ...]
) -> tuple[Any, ...]:
    dx = np.zeros(inputs[0].shape, dout.dtype)
    dx[index] = dout
    return (dx,)


def slice_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    # a 0-d array stretched to the shape has the shape's indexing rules and takes no memory
    ghost = np.broadcast_to(np.empty((), dtypes[0]), shapes[0])
    try:
        shape = ghost[attrs["index"]].shape
    except IndexError as error:
        raise ShapeError(f"indexing a tensor of shape {tuple(shapes[0])}: {error}") from None
    return Layout(outs=(ArraySpec(shape, dtypes[0]),), keep_shapes=(0,) if any(needs) else ())


def slice_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((4, 5, 6))
    indices = [(1,), (slice(1, 3),), (Ellipsis, 2), (slice(None), None, slice(0, 5, 2)), (0, 1, 2)]
    return [
        *[Sample((x,), {"index": index}) for index in indices],
        Sample((rng.standard_normal(5),), {"index": (slice(3, 3),)}),
        Sample((np.empty((0, 3)),), {"index": (slice(None), 1)}),
        Sample((rng.standard_normal((1, 1)),), {"index": (0,)}),
    ]


SLICE = OpSpec(
    name="slice",
    forward=slice_forward,
    backward=slice_backward,
    layout=slice_layout,
    samples=slice_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)),), {"index": (2,)}, ShapeError, "out of bounds"),
        BadInput((np.ones(2),), {"index": (0, 0)}, ShapeError, "too many indices"),
    ],
    tol=ROUNDING,
    source="PyTorch docs, Tensor views: basic indexing",
    view=True,
)


def gather_forward(x: Array, index: tuple[Any, ...]) -> Array:
    return x[index]


def gather_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, index: tuple[Any, ...]
) -> tuple[Any, ...]:
    dx = np.zeros(inputs[0].shape, dout.dtype)
    np.add.at(dx, index, dout)  # an entry that was taken twice gets both gradients
    return (dx,)


def gather_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((4, 5))
    rows, mask = np.array([0, 3, 3, -1]), rng.random((4, 5)) < 0.5
    indices = [(rows,), (slice(None), rows), (mask,), (rows, np.array([1, 0, 0, 4]))]
    return [
        *[Sample((x,), {"index": index}) for index in indices],
        Sample((np.empty((0, 3)),), {"index": (slice(None), np.array([1, 1]))}),
        Sample((rng.standard_normal(1),), {"index": (np.array([0, 0]),)}),
        Sample((rng.standard_normal(3),), {"index": (np.empty(0, np.int64),)}),
    ]


GATHER = OpSpec(
    name="gather",
    forward=gather_forward,
    backward=gather_backward,
    layout=slice_layout,
    samples=gather_samples,
    bad_inputs=lambda: [
        BadInput((np.ones(2),), {"index": (np.array([0, 2]),)}, ShapeError, "out of bounds")
    ],
    tol=ROUNDING,
    source="PyTorch docs, Tensor indexing with integer and boolean tensors",
)


def index_put_forward(x: Array, value: Array, index: tuple[Any, ...]) -> Array:
    out = x.copy()
    out[index] = value
    return out


def index_put_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, index: tuple[Any, ...]
) -> tuple[Any, ...]:
    dx = dvalue = None
    if needs[0]:
        dx = dout.copy()
        dx[index] = 0
    if needs[1]:
        dvalue = dout[index]  # the engine sums it back where the value was broadcast
    return dx, dvalue


def index_put_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    place = slice_layout(shapes[:1], dtypes[:1], attrs, needs[:1]).outs[0].shape
    try:
        fits = np.broadcast_shapes(place, shapes[1]) == place
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"setting an index: a value of shape {tuple(shapes[1])} does not fit the place of "
            f"shape {place}"
        )
    if dtypes[0] != dtypes[1]:
        raise DTypeError(f"index_put: dtypes {dtypes[0].name} and {dtypes[1].name} differ")
    return Layout(outs=(ArraySpec(shapes[0], dtypes[0]),))


def index_put_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((4, 5))
    cases = [((1,), (5,)), ((slice(1, 3),), ()), ((np.array([0, 2]),), (2, 5)), ((0, 0), ())]
    return [
        *[Sample((x, rng.standard_normal(shape)), {"index": i}) for i, shape in cases],
        Sample((np.empty((0, 3)), np.asarray(2.0)), {"index": (Ellipsis,)}),
    ]


INDEX_PUT = OpSpec(
    name="index_put",
    forward=index_put_forward,
    backward=index_put_backward,
    layout=index_put_layout,
    samples=index_put_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)), np.ones(2)), {"index": (0,)}, ShapeError, "does not fit")
    ],
    tol=ROUNDING,
    source="PyTorch docs, Tensor.index_put: x with x[index] = value",
    broadcasts=True,
)
