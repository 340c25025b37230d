"""Reductions: many entries to one, over all dimensions or over the ones named by `dim`.

`dim` is a tuple of dimensions counted from the front, `keepdim` leaves them with size 1. A gradient
comes back in the reduced shape and is spread over the entries that it came from. extreme.py
has the reductions that choose an entry.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npmlp.errors import DTypeError
from npmlp.ops.common import check_float, some_shapes
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Kernel,
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


def count_of(shape: tuple[int, ...], dim: Dims) -> int:
    """How many entries become one."""
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


def lines_follow(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """Whether the reduced dimensions are neighbours, and lines of several entries follow them."""
    shape, dim = shapes[0], sorted(attrs["dim"])
    neighbours = bool(dim) and dim == list(range(dim[0], dim[-1] + 1))
    return (
        neighbours
        and dtypes[0].kind == "f"
        and math.prod(shape) > 0
        and math.prod(shape[dim[-1] + 1 :]) > 1
    )


# NumPy adds in blocks of 128 and by pairs above; the error of n entries is below log2(n)/2 + 128/8
# roundings of the largest partial sum, here n ≤ 67
SUMMED = {"float32": 4e-6, "float64": 1e-14}

SUM = OpSpec(
    name="sum",
    forward=sum_forward,
    backward=sum_backward,
    layout=sum_layout,
    kernels={"numba": Kernel("reduce", "sum", when=lines_follow)},
    samples=reduce_samples,
    tol=SUMMED,
    source=PYTORCH + "sum: Σ x",
)


def mean_forward(x: Array, dim: Dims, keepdim: bool) -> Array:
    return x.sum(axis=dim, keepdims=keepdim) / x.dtype.type(count_of(x.shape, dim))


def mean_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: Dims, keepdim: bool
) -> tuple[Any, ...]:
    (x,) = inputs
    return (spread(dout, x.shape, dim) / x.dtype.type(count_of(x.shape, dim)),)


def mean_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    check_float("mean", dtypes)
    return sum_layout(shapes, dtypes, attrs, needs)


MEAN = OpSpec(
    name="mean",
    forward=mean_forward,
    backward=mean_backward,
    layout=mean_layout,
    kernels={"numba": Kernel("reduce", "mean", when=lines_follow)},
    samples=reduce_samples,
    bad_inputs=lambda: [
        BadInput((np.arange(3),), {"dim": (0,), "keepdim": False}, DTypeError, "mean: input has")
    ],
    tol=SUMMED,
    source=PYTORCH + "mean: Σ x / n",
)


def var_forward(x: Array, dim: Dims, keepdim: bool, correction: float) -> Array:
    centered = x - x.mean(axis=dim, keepdims=True)
    degrees = max(count_of(x.shape, dim) - correction, 0)
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
    degrees = max(count_of(x.shape, dim) - correction, 0)
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
        if count_of(s.inputs[0].shape, s.attrs["dim"]) > correction
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
