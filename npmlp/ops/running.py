"""Products over dimensions, and running sums along one. `dim` is counted from the front."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.ops.common import some_shapes
from npmlp.ops.reduce import SUMMED, Dims, count_of, reduce_samples, reduced_shape, spread
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    DTypes,
    Inputs,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
)

PYTORCH = "PyTorch docs, torch."


def as_summed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """PyTorch adds and multiplies integers and booleans as int64."""
    return dtype if dtype.kind == "f" else np.dtype(np.int64)


def prod_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    return x.prod(axis=dim, keepdims=keepdim, dtype=as_summed(x.dtype))


def prod_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    """Each entry's slope is the product of the others: those before it times those after it.

    Dividing the product by the entry would fail where an entry is 0.
    """
    (x,) = inputs
    kept = [i for i in range(x.ndim) if i not in dim]
    # (…, n): the n entries of each product in a row; n is 1 where a number is its own product
    rows = x.transpose(*kept, *dim).reshape(*(x.shape[i] for i in kept), count_of(x.shape, dim))
    one = np.ones((*rows.shape[:-1], 1), x.dtype)
    before = np.concatenate([one, rows[..., :-1].cumprod(axis=-1)], axis=-1)
    after = np.concatenate([one, rows[..., :0:-1].cumprod(axis=-1)], axis=-1)[..., ::-1]
    others = (before * after)[..., : rows.shape[-1]]
    order = np.argsort((*kept, *dim)).tolist()
    moved = others.reshape([x.shape[i] for i in (*kept, *dim)]).transpose(order)
    return (spread(dout, x.shape, dim) * moved,)


def prod_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape = reduced_shape(shapes[0], attrs["dim"], attrs["keepdim"])
    out = ArraySpec(shape, as_summed(dtypes[0]))
    return Layout(outs=(out,), keep_inputs=(0,) if any(needs) else ())


def prod_samples(rng: np.random.Generator) -> list[Sample]:
    """Beside the usual ones: one zero in a row, and two."""
    zeros = np.array([[1.5, 0.0, -2.0], [0.0, 3.0, 0.0]])
    one_dim = [s for s in reduce_samples(rng) if len(s.attrs["dim"]) in (1, s.inputs[0].ndim)]
    return [*one_dim, Sample((zeros,), {"dim": (1,), "keepdim": False})]


PROD = OpSpec(
    name="prod",
    forward=prod_forward,
    backward=prod_backward,
    layout=prod_layout,
    samples=prod_samples,
    # 67 factors in another order: each of 66 products rounds by half a unit, here and in PyTorch
    tol={"float32": 1e-5, "float64": 3e-14},
    source=PYTORCH + "prod: Π x",
)


def cumsum_forward(x: Array, dim: int) -> Array:
    return x.cumsum(axis=dim, dtype=as_summed(x.dtype)) if x.ndim else x.astype(as_summed(x.dtype))


def cumsum_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    """An entry is in its own sum and in all that follow: the running sum from the other end."""
    if not dout.ndim:
        return (dout,)
    return (np.flip(np.flip(dout, dim).cumsum(axis=dim), dim),)


def cumsum_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    return Layout(outs=(ArraySpec(shapes[0], as_summed(dtypes[0])),))


CUMSUM = OpSpec(
    name="cumsum",
    forward=cumsum_forward,
    backward=cumsum_backward,
    layout=cumsum_layout,
    samples=lambda rng: [
        Sample((x,), {"dim": d}) for x in some_shapes(rng) for d in range(max(x.ndim, 1))
    ],
    tol=SUMMED,
    source=PYTORCH + "cumsum: the sums of the first 1, 2, … entries",
)
