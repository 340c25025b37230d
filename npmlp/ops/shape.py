"""Shapes: the same entries, arranged differently.

reshape, permute and expand are views: their output shares the input's memory. cat and stack copy.
The gradient of an arrangement is the arrangement undone.
"""

from __future__ import annotations

import math
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

PYTORCH = "PyTorch docs, torch."


# -------------------------------------------------------------------------------------------- views


def reshape_forward(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape, copy=False)


def reshape_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, shape: tuple[int, ...]
) -> tuple[Any, ...]:
    return (dout.reshape(inputs[0].shape),)


def resolve_shape(op: str, old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    """`new` with its -1 worked out. Raises ShapeError where the entries do not fit."""
    size = math.prod(old)
    known = math.prod(n for n in new if n != -1)
    unknown = new.count(-1)
    fits = known == size if unknown == 0 else unknown == 1 and known > 0 and size % known == 0
    if not fits or any(n < -1 for n in new):
        raise ShapeError(
            f"{op}: a tensor of shape {old} has {size} entries and cannot take shape {new}"
        )
    return tuple(size // known if n == -1 else n for n in new)


def reshape_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape = resolve_shape("reshape", shapes[0], attrs["shape"])
    return Layout(outs=(ArraySpec(shape, dtypes[0]),), keep_shapes=(0,) if any(needs) else ())


def reshape_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((4, 6), (3, 8)), ((4, 6), (2, -1, 2)), ((1, 5), (5,)), ((), (1, 1)), ((0, 3), (3, 0))]
    return [Sample((rng.standard_normal(old),), {"shape": new}) for old, new in cases]


RESHAPE = OpSpec(
    name="reshape",
    forward=reshape_forward,
    backward=reshape_backward,
    layout=reshape_layout,
    samples=reshape_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)),), {"shape": (4, 2)}, ShapeError, "cannot take shape (4, 2)"),
        BadInput((np.ones((2, 3)),), {"shape": (-1, 4)}, ShapeError, "cannot take shape (-1, 4)"),
    ],
    tol=ROUNDING,
    source=PYTORCH + "reshape",
    view=True,
)


def permute_forward(x: Array, dims: tuple[int, ...]) -> Array:
    return x.transpose(dims)


def permute_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dims: tuple[int, ...]
) -> tuple[Any, ...]:
    return (dout.transpose(np.argsort(dims)),)


def permute_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape, dims = shapes[0], attrs["dims"]
    if sorted(dims) != list(range(len(shape))):
        raise ShapeError(f"permute: dims {dims} must name each dimension of shape {shape} once")
    return Layout(outs=(ArraySpec(tuple(shape[d] for d in dims), dtypes[0]),))


def permute_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((2, 3, 4), (2, 0, 1)), ((3, 4), (1, 0)), ((5,), (0,)), ((), ()), ((0, 3), (1, 0))]
    return [Sample((rng.standard_normal(shape),), {"dims": dims}) for shape, dims in cases]


PERMUTE = OpSpec(
    name="permute",
    forward=permute_forward,
    backward=permute_backward,
    layout=permute_layout,
    samples=permute_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)),), {"dims": (0, 0)}, ShapeError, "permute: dims (0, 0)")
    ],
    tol=ROUNDING,
    source=PYTORCH + "permute",
    view=True,
)


def expand_forward(x: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(x, shape)


def expand_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, shape: tuple[int, ...]
) -> tuple[Any, ...]:
    return (dout,)  # in the expanded shape; the engine sums it back


def expand_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    old, new = shapes[0], attrs["shape"]
    front = (1,) * (len(new) - len(old)) + tuple(old)
    if len(front) != len(new) or any(
        n < 0 or o not in (1, n) for o, n in zip(front, new, strict=True)
    ):
        raise ShapeError(
            f"expand: shape {tuple(old)} does not expand to {new}; only sizes of 1 can grow, and "
            "new dimensions come in front"
        )
    return Layout(outs=(ArraySpec(new, dtypes[0]),))


EXPAND = OpSpec(
    name="expand",
    forward=expand_forward,
    backward=expand_backward,
    layout=expand_layout,
    samples=lambda rng: [
        Sample((rng.standard_normal(old),), {"shape": new})
        for old, new in [
            ((3, 1), (3, 4)),
            ((3,), (2, 3)),
            ((), (2,)),
            ((1, 3), (0, 3)),
            ((0, 1), (0, 2)),
        ]
    ],
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)),), {"shape": (4, 3)}, ShapeError, "does not expand to (4, 3)"),
        BadInput((np.ones(3),), {"shape": (-1, 3)}, ShapeError, "does not expand to (-1, 3)"),
    ],
    tol=ROUNDING,
    source=PYTORCH + "Tensor.expand",
    broadcasts=True,
    view=True,
)


# ------------------------------------------------------------------------------------------- copies


def cat_forward(*xs: Array, dim: int) -> Array:
    return np.concatenate(xs, axis=dim)


def cat_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    ends = np.cumsum([x.shape[dim] for x in inputs])
    return tuple(np.split(dout, ends[:-1], axis=dim))


def cat_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    dim, first = attrs["dim"], shapes[0]
    for shape in shapes[1:]:
        others = [
            len(shape) == len(first),
            *(a == b for i, (a, b) in enumerate(zip(first, shape, strict=False)) if i != dim),
        ]
        if not all(others):
            raise ShapeError(
                f"cat: shapes {tuple(first)} and {tuple(shape)} differ outside of dimension {dim}"
            )
    if len(set(dtypes)) > 1:
        raise DTypeError(f"cat: dtypes {', '.join(sorted({d.name for d in dtypes}))} differ")
    joined = tuple(sum(s[dim] for s in shapes) if i == dim else n for i, n in enumerate(first))
    return Layout(
        outs=(ArraySpec(joined, dtypes[0]),),
        keep_shapes=tuple(range(len(shapes))) if any(needs) else (),
    )


def cat_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [
        (((2, 3), (4, 3)), 0),
        (((2, 3), (2, 1), (2, 2)), 1),
        (((3,),), 0),
        (((0, 2), (1, 2)), 0),
        (((1,), (1,)), 0),
    ]
    return [Sample(tuple(map(rng.standard_normal, shapes)), {"dim": d}) for shapes, d in cases]


CAT = OpSpec(
    name="cat",
    forward=cat_forward,
    backward=cat_backward,
    layout=cat_layout,
    samples=cat_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 3)), np.ones((2, 4))), {"dim": 0}, ShapeError, "outside of dimension 0"
        )
    ],
    tol=ROUNDING,
    source=PYTORCH + "cat",
)


def stack_forward(*xs: Array, dim: int) -> Array:
    return np.stack(xs, axis=dim)


def stack_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, dim: int
) -> tuple[Any, ...]:
    return tuple(dout.take(i, axis=dim) for i in range(dout.shape[dim]))


def stack_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if len(set(shapes)) > 1:
        raise ShapeError(f"stack: shapes {', '.join(map(str, shapes))} are not all equal")
    if len(set(dtypes)) > 1:
        raise DTypeError(f"stack: dtypes {', '.join(sorted({d.name for d in dtypes}))} differ")
    dim, one = attrs["dim"], tuple(shapes[0])
    return Layout(outs=(ArraySpec((*one[:dim], len(shapes), *one[dim:]), dtypes[0]),))


def stack_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((2, 3), 3, 0), ((2, 3), 2, 1), ((2, 3), 2, 2), ((), 4, 0), ((0, 2), 2, 0)]
    return [
        Sample(tuple(rng.standard_normal(shape) for _ in range(n)), {"dim": dim})
        for shape, n, dim in cases
    ]


STACK = OpSpec(
    name="stack",
    forward=stack_forward,
    backward=stack_backward,
    layout=stack_layout,
    samples=stack_samples,
    bad_inputs=lambda: [
        BadInput((np.ones(2), np.ones(3)), {"dim": 0}, ShapeError, "not all equal")
    ],
    tol=ROUNDING,
    source=PYTORCH + "stack",
)
