"""Matrix products: matmul, and the linear layer that is made of one.

N batch, K features in, M features out. dout, dx, dweight, dbias gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import check_float
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

# A sum of k products is off by at most k roundings of Σ|x||y| (Higham, Accuracy and Stability of
# Numerical Algorithms, 2002, equation 3.5), in practice by √k; the samples have k ≤ 33.
PRODUCT = {"float32": 4e-6, "float64": 1e-14}


def matmul_forward(x: Array, y: Array) -> Array:
    return x @ y


def matmul_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    """d(xy) = dx·y + x·dy, so dx = dout yᵀ and dy = xᵀ dout."""
    x, y = inputs  # a vector is always there, a matrix that is not needed may be None
    # a vector is a matrix of one row (x) or one column (y), which matmul adds and removes
    x_is_vector = x is not None and x.ndim == 1
    y_is_vector = y is not None and y.ndim == 1
    if x_is_vector:
        x, dout = x[None, :], np.expand_dims(dout, -1 if y_is_vector else -2)
    if y_is_vector:
        y, dout = y[:, None], np.expand_dims(dout, -1)
    dx = dy = None
    if needs[0]:
        dx = dout @ y.swapaxes(-1, -2)
        dx = dx.reshape(*dx.shape[:-2], -1) if x_is_vector else dx
    if needs[1]:
        dy = x.swapaxes(-1, -2) @ dout
        dy = dy.reshape(*dy.shape[:-1]) if y_is_vector else dy
    return dx, dy


def matmul_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    a, b = shapes
    if not a or not b:
        raise ShapeError("matmul: both tensors need at least one dimension; use * for a scalar")
    inner = a[-1], b[0] if len(b) == 1 else b[-2]
    if inner[0] != inner[1]:
        raise ShapeError(
            f"matmul: shapes {tuple(a)} and {tuple(b)} do not fit, {inner[0]} columns against "
            f"{inner[1]} rows; is one of them to be transposed?"
        )
    if dtypes[0] != dtypes[1]:
        raise DTypeError(f"matmul: dtypes {dtypes[0].name} and {dtypes[1].name} differ")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul: the batch dimensions {a[:-2]} and {b[:-2]} do not broadcast"
        ) from None
    shape = (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
    keep = tuple(  # each for the other's gradient; a vector, to know that it is one
        i for i, s in enumerate(shapes) if needs[1 - i] or (needs[i] and len(s) == 1)
    )
    forward: Any = ()
    backward: Any = ()
    if two_matrices(shapes, dtypes, attrs):
        from npmlp.kernels.scratch import matmul_scratch

        forward, backward = matmul_scratch(shapes, dtypes, attrs, needs)
    return Layout(
        outs=(ArraySpec(shape, dtypes[0]),),
        keep_inputs=keep,
        scratch=tuple(ArraySpec(*s) for s in forward),
        backward_scratch=tuple(ArraySpec(*s) for s in backward),
    )


def matmul_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = [
        ((4, 6), (6, 5)), ((17, 33), (33, 10)), ((1, 1), (1, 1)), ((0, 3), (3, 2)),
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 4, 3), (3, 5)), ((2, 4, 3), (2, 3, 5)),
        ((4, 3), (2, 3, 5)), ((2, 1, 4, 3), (5, 3, 2)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,)),
    ]  # fmt: skip
    pairs = [(rng.standard_normal(a), rng.standard_normal(b)) for a, b in shapes]
    pairs.append((rng.standard_normal((6, 4)).T, rng.standard_normal((5, 12)).T[::2]))
    return [Sample(pair) for pair in pairs]


def two_matrices(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """When the compiled product runs: two matrices of floats. The oracle does batches, integers."""
    return len(shapes[0]) == 2 and len(shapes[1]) == 2 and dtypes[0].kind == "f"


MATMUL = OpSpec(
    name="matmul",
    forward=matmul_forward,
    backward=matmul_backward,
    layout=matmul_layout,
    kernels={"numba": Kernel("matmul", "matmul", when=two_matrices)},
    samples=matmul_samples,
    bad_inputs=lambda: [
        BadInput((np.ones((2, 3)), np.ones((2, 3))), {}, ShapeError, "3 columns against 2 rows"),
        BadInput((np.ones((2, 3)), np.ones((3, 2), np.float32)), {}, DTypeError, "differ"),
        BadInput((np.ones((2, 3)), np.ones(())), {}, ShapeError, "at least one dimension"),
        BadInput((np.ones((2, 1, 3)), np.ones((3, 3, 1))), {}, ShapeError, "do not broadcast"),
    ],
    tol=PRODUCT,
    source="PyTorch docs, torch.matmul: out_nm = Σ_k x_nk y_km",
    broadcasts=True,
    blas=True,
)


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    out = x @ weight.T
    return out if bias is None else out + bias


def linear_backward(dout: Array, inputs: Inputs, outs: Inputs, needs: Needs) -> tuple[Any, ...]:
    """dx = dout W, dweight = doutᵀ x, dbias = Σ_n dout."""
    x, weight, _ = inputs
    rows = dout.reshape(-1, dout.shape[-1])
    dx = dout @ weight if needs[0] else None
    dweight = rows.T @ x.reshape(-1, x.shape[-1]) if needs[1] else None
    dbias = rows.sum(axis=0) if needs[2] else None
    return dx, dweight, dbias


def linear_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    x, weight, bias = shapes
    if len(weight) != 2:
        raise ShapeError(f"linear: weight has shape {weight}, expected (out_features, in_features)")
    name = f"Linear({weight[1]}, {weight[0]})"
    if not x or x[-1] != weight[1]:
        features = x[-1] if x else "no"
        hint = ""
        if len(x) > 2 and np.prod(x[1:]) == weight[1]:
            hint = "; did you forget Flatten()?"
        elif weight[0] == features:
            hint = "; are in_features and out_features swapped?"
        raise ShapeError(
            f"{name}: input of shape {tuple(x)} has {features} features in its last dimension, "
            f"expected {weight[1]}{hint}"
        )
    if bias is not None and bias != (weight[0],):
        raise ShapeError(f"{name}: bias has shape {tuple(bias)}, expected ({weight[0]},)")
    dtype = check_float(name, dtypes, ("input", "weight", "bias"))
    from npmlp.kernels.scratch import linear_scratch

    forward, backward = linear_scratch(shapes, dtypes, attrs, needs)
    return Layout(
        outs=(ArraySpec((*x[:-1], weight[0]), dtype),),
        keep_inputs=(0,) * needs[1] + (1,) * needs[0],
        scratch=tuple(ArraySpec(*s) for s in forward),
        backward_scratch=tuple(ArraySpec(*s) for s in backward),
    )


def linear_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((5, 7), 3), ((2, 5, 7), 3), ((7,), 3), ((1, 1), 1), ((0, 4), 2), ((33, 17), 10)]
    samples = []
    for shape, m in cases:
        x, weight = rng.standard_normal(shape), rng.standard_normal((m, shape[-1]))
        samples += [Sample((x, weight, rng.standard_normal(m))), Sample((x, weight, None))]
    strided = rng.standard_normal((7, 5)).T
    samples.append(Sample((strided, rng.standard_normal((7, 3)).T, rng.standard_normal(3))))
    return samples


def floats(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    return True  # the layout has refused everything else


LINEAR = OpSpec(
    name="linear",
    forward=linear_forward,
    backward=linear_backward,
    layout=linear_layout,
    kernels={"numba": Kernel("linear", "linear", when=floats)},
    samples=linear_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((5, 1, 28, 28)), np.ones((3, 784)), None), {}, ShapeError,
            "Linear(784, 3): input of shape (5, 1, 28, 28) has 28 features in its last dimension, "
            "expected 784; did you forget Flatten()?",
        ),
        BadInput((np.ones((5, 3)), np.ones((3, 7)), None), {}, ShapeError, "swapped"),
        BadInput((np.ones((5, 7)), np.ones((3, 7)), np.ones(7)), {}, ShapeError, "bias has shape"),
        BadInput((np.ones((5, 7), int), np.ones((3, 7)), None), {}, DTypeError, "input has dtype"),
        BadInput(
            (np.ones((5, 7)), np.ones((3, 7), np.float32), None), {}, DTypeError,
            "weight has dtype float32 and input float64",
        ),
    ],
    tol=PRODUCT,
    source="PyTorch docs, torch.nn.Linear: y = x Wᵀ + b",
    blas=True,
)  # fmt: skip
