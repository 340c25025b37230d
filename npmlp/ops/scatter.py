"""Entries picked or set along one dimension by a tensor of positions, and entries under a mask.

With an index of shape (I, J) and dim 1, gather reads x[i, index[i, j]] and scatter writes there.
The index may be smaller than x in the other dimensions. index.py has x[index] and x[index] = y.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import ROUNDING, broadcast_shape
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


def places(index: Array, dim: int) -> tuple[Array, ...]:
    """NumPy's index for the same entries: index itself in `dim`, and i, j, … in the others."""
    grids: tuple[Array, ...] = tuple(np.indices(index.shape, sparse=True))
    return (*grids[:dim], index, *grids[dim + 1 :])


def check_places(op: str, shape: tuple[int, ...], index: Shapes, dtype: Any, dim: int) -> None:
    """The index must be of int64, of as many dimensions, and no larger outside of `dim`."""
    if dtype != np.int64:
        raise DTypeError(f"{op}: index has dtype {dtype.name}, expected int64; use .long()")
    if len(index) != len(shape):
        raise ShapeError(
            f"{op}: index has shape {tuple(index)}, expected as many dimensions as {tuple(shape)}"
        )
    if 0 not in index and any(
        n > m for d, (n, m) in enumerate(zip(index, shape, strict=True)) if d != dim
    ):
        raise ShapeError(
            f"{op}: index has shape {tuple(index)}, larger than {tuple(shape)} outside of "
            f"dimension {dim}"
        )


def check_range(op: str, index: Array, size: int) -> None:
    """Positions count from the front only, as in PyTorch."""
    if index.size and (index.min() < 0 or index.max() >= size):
        wrong = index.min() if index.min() < 0 else index.max()
        raise ShapeError(f"{op}: index {wrong} is out of bounds, expected 0 to {size - 1}")


def gather_dim_forward(x: Array, index: Array, dim: int) -> Array:
    check_range("gather", index, x.shape[dim])
    return x[places(index, dim)]


def gather_dim_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    x, index = inputs
    dx = np.zeros(x.shape, dout.dtype)
    np.add.at(dx, places(index, dim), dout)  # an entry that was taken twice gets both gradients
    return dx, None


def gather_dim_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    check_places("gather", shapes[0], shapes[1], dtypes[1], attrs["dim"])
    recorded = any(needs)
    return Layout(
        outs=(ArraySpec(shapes[1], dtypes[0]),),
        keep_inputs=(1,) if recorded else (),
        keep_shapes=(0,) if recorded else (),
    )


def gather_dim_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((4, 5), (4, 2), 1), ((4, 5), (3, 5), 0), ((4, 5), (7, 2), 0), ((3,), (5,), 0),
             ((2, 3, 4), (2, 3, 1), 2), ((1,), (1,), 0), ((2, 3), (0, 3), 0)]  # fmt: skip
    return [
        Sample((rng.standard_normal(shape), rng.integers(0, shape[dim], index)), {"dim": dim})
        for shape, index, dim in cases
    ]


GATHER_DIM = OpSpec(
    name="gather_dim",
    forward=gather_dim_forward,
    backward=gather_dim_backward,
    layout=gather_dim_layout,
    samples=gather_dim_samples,
    bad_inputs=lambda: [
        BadInput((np.ones(2), np.array([0, 2])), {"dim": 0}, ShapeError, "index 2 is out of"),
        BadInput((np.ones(2), np.ones(2)), {"dim": 0}, DTypeError, "expected int64"),
        BadInput((np.ones((2, 2)), np.array([0])), {"dim": 0}, ShapeError, "as many dimensions"),
    ],
    tol=ROUNDING,
    source=PYTORCH + "gather: x[i, index[i, j]] for dim 1",
    differentiable=(0,),
)


def scatter_forward(x: Array, index: Array, src: Array, dim: int) -> Array:
    check_range("scatter", index, x.shape[dim])
    out = x.copy()
    out[places(index, dim)] = _part(src, index)
    return out


def _part(src: Array, index: Array) -> Array:
    """The part of src that is written: as large as the index; one number for all, if it is one."""
    return src[tuple(slice(n) for n in index.shape)] if src.ndim else src


def scatter_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    _, index, src = inputs
    dx = dsrc = None
    if needs[0]:  # what was overwritten has no part in the result
        dx = dout.copy()
        dx[places(index, dim)] = 0
    if needs[2]:
        given = dout[places(index, dim)]
        dsrc = np.zeros(src.shape, dout.dtype)
        if src.ndim:  # what was larger than the index was not used
            dsrc[tuple(slice(n) for n in index.shape)] = given
        else:
            dsrc = given.sum()
    return dx, None, dsrc


def scatter_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape, index, src = shapes
    check_places("scatter", shape, index, dtypes[1], attrs["dim"])
    if len(src) and (len(src) != len(index) or any(n > m for n, m in zip(index, src, strict=True))):
        raise ShapeError(
            f"scatter: src has shape {tuple(src)}, expected at least index's {tuple(index)}"
        )
    if dtypes[0] != dtypes[2]:
        raise DTypeError(f"scatter: dtypes {dtypes[0].name} and {dtypes[2].name} differ")
    recorded = any(needs)
    return Layout(
        outs=(ArraySpec(shape, dtypes[0]),),
        keep_inputs=(1,) if recorded else (),
        keep_shapes=(2,) if recorded else (),
    )


def scatter_samples(rng: np.random.Generator) -> list[Sample]:
    """No place twice: which of two values stays there, PyTorch leaves open."""
    samples = []
    for shape, index, dim in [
        ((4, 5), (4, 2), 1), ((4, 5), (3, 5), 0), ((3,), (2,), 0), ((2, 3, 4), (2, 2, 1), 2),
        ((1,), (1,), 0), ((2, 3), (0, 3), 0),
    ]:  # fmt: skip
        order = rng.permuted(np.broadcast_to(np.arange(shape[dim]), (64, shape[dim])), axis=1)
        lines = np.moveaxis(np.empty(index), dim, -1).shape
        rows = order[: int(np.prod(lines[:-1], dtype=int)), : lines[-1]].reshape(lines)
        chosen = np.ascontiguousarray(np.moveaxis(rows, -1, dim))
        inputs = (rng.standard_normal(shape), chosen, rng.standard_normal(index))
        samples.append(Sample(inputs, {"dim": dim}))
    # one number for all, too
    return [*samples, Sample((np.ones(4), np.array([3, 0]), np.asarray(2.5)), {"dim": 0})]


SCATTER = OpSpec(
    name="scatter",
    forward=scatter_forward,
    backward=scatter_backward,
    layout=scatter_layout,
    samples=scatter_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones(2), np.array([0, -1]), np.ones(2)), {"dim": 0}, ShapeError, "index -1 is out"
        ),
        BadInput(
            (np.ones(2), np.array([0, 1]), np.ones(1)), {"dim": 0}, ShapeError, "src has shape (1,)"
        ),
        BadInput(
            (np.ones(2), np.array([0]), np.ones(1, np.float32)), {"dim": 0}, DTypeError, "differ"
        ),
    ],
    tol=ROUNDING,
    source=PYTORCH + "scatter: x with x[i, index[i, j]] = src[i, j] for dim 1",
    differentiable=(0, 2),
)


def masked_fill_forward(x: Array, mask: Array, value: Array) -> Array:
    return np.where(mask, value, x)


def masked_fill_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs
) -> tuple[Any, ...]:
    mask = inputs[1]
    dx = np.where(mask, 0, dout) if needs[0] else None
    dvalue = np.where(mask, dout, 0) if needs[2] else None  # summed by the engine: it is one number
    return dx, None, dvalue


def masked_fill_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if dtypes[1].kind != "b":
        raise DTypeError(f"masked_fill: mask has dtype {dtypes[1].name}, expected bool")
    if shapes[2]:
        raise ShapeError(f"masked_fill: value has shape {tuple(shapes[2])}, expected one number")
    if dtypes[0] != dtypes[2]:
        raise DTypeError(f"masked_fill: dtypes {dtypes[0].name} and {dtypes[2].name} differ")
    out = ArraySpec(broadcast_shape("masked_fill", shapes[:2]), dtypes[0])
    return Layout(outs=(out,), keep_inputs=(1,) if any(needs) else ())


def masked_fill_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((4, 5), (4, 5)), ((4, 5), (5,)), ((4, 1), (1, 5)), ((1,), (1,)), ((0, 3), (3,))]
    return [
        Sample((rng.standard_normal(x), rng.random(mask) < 0.5, np.asarray(rng.standard_normal())))
        for x, mask in cases
    ]


MASKED_FILL = OpSpec(
    name="masked_fill",
    forward=masked_fill_forward,
    backward=masked_fill_backward,
    layout=masked_fill_layout,
    samples=masked_fill_samples,
    bad_inputs=lambda: [
        BadInput((np.ones(2), np.ones(2), np.asarray(1.0)), {}, DTypeError, "expected bool"),
        BadInput((np.ones(2), np.ones(2, bool), np.ones(2)), {}, ShapeError, "expected one number"),
    ],
    tol=ROUNDING,
    source=PYTORCH + "Tensor.masked_fill: value where the mask holds, else x",
    differentiable=(0, 2),
    broadcasts=True,
)
