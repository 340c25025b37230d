"""Normalisation: entries brought to mean 0 and variance 1, then scaled by weight, moved by bias.

batch_norm takes mean and variance over the batch, for each channel; layer_norm over the last
dimensions, for each example. x̂ is the normalised x, M how many entries share a mean.
"""

from __future__ import annotations

import math
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

# A difference from the mean, a square root, products and sums of up to 60 entries: some ten
# roundings of the largest entry of x, scaled by 1/√var, which is below 3 in the samples. A sample
# of one value has variance 0: there PyTorch's x·rstd - mean·rstd leaves roundings times 1/√ε = 316.
NORMALIZED = {"float32": 4e-6, "float64": 4e-14}


def mean_and_var(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and biased variance over `axes`, summed in double precision as PyTorch does on CPU."""
    count = np.float64(math.prod(x.shape[i] for i in axes))
    mean = (x.sum(axis=axes, keepdims=True, dtype=np.float64) / count).astype(x.dtype)
    squares = np.square(x - mean, dtype=np.float64)
    return mean, squares.sum(axis=axes, keepdims=True) / count


def normalize_backward(dxhat: Array, xhat: Array, invstd: Array, axes: tuple[int, ...]) -> Array:
    """dx = invstd · (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)): mean and variance depend on x, too."""
    count = dxhat.dtype.type(math.prod(dxhat.shape[i] for i in axes))
    mean = dxhat.sum(axis=axes, keepdims=True) / count
    along = (dxhat * xhat).sum(axis=axes, keepdims=True) / count
    return invstd * (dxhat - mean - xhat * along)


# ------------------------------------------------------------------------------------ batch norm


def _axes(x: Array) -> tuple[int, ...]:
    """All dimensions but that of the channels."""
    return (0, *range(2, x.ndim))


def per_channel(v: Array, ndim: int) -> Array:
    """(C,) as (C, 1, ...), which broadcasts against (N, C, ...)."""
    return v.reshape(-1, *(1,) * (ndim - 2))


def batch_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """x̂ = (x - mean) / √(var + eps), out = x̂ weight + bias."""
    mean, var = mean_and_var(x, _axes(x))
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    out = (x - mean) * invstd
    if weight is not None:
        out = out * per_channel(weight, x.ndim)
    if bias is not None:
        out = out + per_channel(bias, x.ndim)
    return out, mean.reshape(-1), var.reshape(-1).astype(x.dtype), invstd.reshape(-1)


def batch_norm_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, eps: float
) -> tuple[Any, ...]:
    """dweight = Σ dout x̂, dbias = Σ dout, and dx from dx̂ = dout weight."""
    axes = _axes(dout)
    dx = dweight = None
    dbias = dout.sum(axis=axes) if needs[2] else None
    if needs[0] or needs[1]:
        x, weight, _ = inputs
        mean, invstd = (per_channel(outs[i], dout.ndim) for i in (1, 3))
        xhat = (x - mean) * invstd
        dweight = (dout * xhat).sum(axis=axes) if needs[1] else None
        if needs[0]:
            dxhat = dout if weight is None else dout * per_channel(weight, dout.ndim)
            dx = normalize_backward(dxhat, xhat, invstd, axes)
    return dx, dweight, dbias


def check_channels(op: str, shapes: Shapes, dtypes: DTypes, names: tuple[str, ...]) -> Any:
    """x is (N, C, ...), the others (C,) and of its dtype, which is returned."""
    x = shapes[0]
    if len(x) < 2:
        raise ShapeError(f"{op}: input has shape {tuple(x)}, expected (N, C) or (N, C, ...)")
    for name, shape in zip(names, shapes[1:], strict=True):
        if shape is not None and shape != (x[1],):
            raise ShapeError(
                f"{op}: {name} has shape {tuple(shape)}, expected ({x[1]},), one per channel of an "
                f"input of shape {tuple(x)}"
            )
    return check_float(op, dtypes, ("input", *names))


def batch_norm_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    dtype = check_channels("batch_norm", shapes, dtypes, ("weight", "bias"))
    channels = ArraySpec((shapes[0][1],), dtype)
    from npmlp.kernels.scratch import batch_norm_scratch

    forward, backward = batch_norm_scratch(shapes, dtypes, attrs, needs)
    reads_x = needs[0] or needs[1]
    weighted = needs[0] and shapes[1] is not None
    return Layout(
        outs=(ArraySpec(shapes[0], dtype), channels, channels, channels),
        n_outputs=3,
        keep_inputs=(0,) * reads_x + (1,) * weighted,
        keep_outs=(1, 3) if reads_x else (),
        scratch=tuple(ArraySpec(*s) for s in forward),
        backward_scratch=tuple(ArraySpec(*s) for s in backward),
    )


def channel_samples(rng: np.random.Generator, **attrs: Any) -> list[Sample]:
    shapes = [(8, 5), (1, 1), (4, 3, 2, 5), (2, 3, 4), (3, 2, 1, 1), (0, 3), (0, 2, 3, 3)]
    samples = []
    for i, shape in enumerate(shapes):
        x = 2 * rng.standard_normal(shape) + 0.5
        weight, bias = rng.standard_normal(shape[1]), rng.standard_normal(shape[1])
        # one value per channel has variance 0, and 1/√eps = 300 would scale its rounding
        eps = 0.5 if shape == (1, 1) else 1e-5
        samples.append(Sample((x, weight, bias), {"eps": eps, **attrs}))
        absent = (None, bias) if i % 2 else (weight, None)
        samples.append(Sample((x, *absent), {"eps": 0.1, **attrs}))
    return [*samples, Sample((rng.standard_normal((6, 4)), None, None), {"eps": 1e-5, **attrs})]


def not_empty(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    return 0 not in shapes[0]  # an empty batch has no mean; its gradients are 0 all the same


BATCH_NORM = OpSpec(
    name="batch_norm",
    forward=batch_norm_forward,
    backward=batch_norm_backward,
    layout=batch_norm_layout,
    kernels={"numba": Kernel("norm", "batch_norm", when=not_empty)},
    samples=channel_samples,
    bad_inputs=lambda: [
        BadInput((np.ones(3), None, None), {"eps": 0.1}, ShapeError, "expected (N, C)"),
        BadInput(
            (np.ones((2, 3)), np.ones(2), None), {"eps": 0.1}, ShapeError,
            "batch_norm: weight has shape (2,), expected (3,)",
        ),
        BadInput(
            (np.ones((2, 3)), None, np.ones(3, np.float32)), {"eps": 0.1}, DTypeError,
            "bias has dtype float32 and input float64",
        ),
    ],
    tol=NORMALIZED,
    source="Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1",
)  # fmt: skip


def batch_norm_inference_forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float
) -> Array:
    """out = (x - mean) / √(var + eps) · weight + bias, with statistics that are given."""
    invstd = 1 / np.sqrt(var + x.dtype.type(eps))
    out = (x - per_channel(mean, x.ndim)) * per_channel(invstd, x.ndim)
    if weight is not None:
        out = out * per_channel(weight, x.ndim)
    return out if bias is None else out + per_channel(bias, x.ndim)


def batch_norm_inference_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, eps: float
) -> tuple[Any, ...]:
    x, weight, _, mean, var = inputs
    axes = _axes(dout)
    dx = dweight = None
    dbias = dout.sum(axis=axes) if needs[2] else None
    if needs[0] or needs[1]:
        invstd = per_channel(1 / np.sqrt(var + dout.dtype.type(eps)), dout.ndim)
        if needs[0]:
            dx = dout * (invstd if weight is None else per_channel(weight, dout.ndim) * invstd)
        if needs[1]:
            dweight = (dout * (x - per_channel(mean, dout.ndim)) * invstd).sum(axis=axes)
    return dx, dweight, dbias, None, None


def batch_norm_inference_layout(
    shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs
) -> Layout:
    names = ("weight", "bias", "mean", "var")
    dtype = check_channels("batch_norm", shapes, dtypes, names)
    keep = (0, 3) * needs[1] + (1,) * (needs[0] and shapes[1] is not None)
    keep += (4,) if needs[0] or needs[1] else ()
    return Layout(outs=(ArraySpec(shapes[0], dtype),), keep_inputs=tuple(sorted(keep)))


def batch_norm_inference_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for (x, weight, bias), attrs in channel_samples(rng):
        mean, var = rng.standard_normal(x.shape[1]), 0.5 + rng.random(x.shape[1])
        samples.append(Sample((x, weight, bias, mean, var), attrs))
    return samples


BATCH_NORM_INFERENCE = OpSpec(
    name="batch_norm_inference",
    forward=batch_norm_inference_forward,
    backward=batch_norm_inference_backward,
    layout=batch_norm_inference_layout,
    samples=batch_norm_inference_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 3)), None, None, np.ones(2), np.ones(3)), {"eps": 0.1}, ShapeError,
            "batch_norm: mean has shape (2,), expected (3,)",
        )
    ],
    differentiable=(0, 1, 2),
    tol=NORMALIZED,
    source="Ioffe and Szegedy, Batch Normalization, 2015, algorithm 2",
)  # fmt: skip


# ------------------------------------------------------------------------------------ layer norm


def layer_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, normalized_ndim: int, eps: float
) -> tuple[Array, Array, Array]:
    """x̂ = (x - mean) / √(var + eps) over the last dimensions, out = x̂ weight + bias."""
    mean, var = mean_and_var(x, tuple(range(x.ndim - normalized_ndim, x.ndim)))
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    out = (x - mean) * invstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out, mean, invstd


def layer_norm_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, normalized_ndim: int, eps: float
) -> tuple[Any, ...]:
    """dweight = Σ dout x̂, dbias = Σ dout, and dx from dx̂ = dout weight."""
    examples = tuple(range(dout.ndim - normalized_ndim))
    features = tuple(range(dout.ndim - normalized_ndim, dout.ndim))
    dx = dweight = None
    dbias = dout.sum(axis=examples) if needs[2] else None
    if needs[0] or needs[1]:
        x, weight, _ = inputs
        _, mean, invstd = outs
        xhat = (x - mean) * invstd
        dweight = (dout * xhat).sum(axis=examples) if needs[1] else None
        if needs[0]:
            dxhat = dout if weight is None else dout * weight
            dx = normalize_backward(dxhat, xhat, invstd, features)
    return dx, dweight, dbias


def layer_norm_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    x, n = shapes[0], attrs["normalized_ndim"]
    features = tuple(x[len(x) - n :])
    for name, shape in zip(("weight", "bias"), shapes[1:], strict=True):
        if shape is not None and shape != features:
            raise ShapeError(
                f"layer_norm: {name} has shape {tuple(shape)}, expected {features}, the last "
                f"{n} dimensions of an input of shape {tuple(x)}"
            )
    dtype = check_float("layer_norm", dtypes, ("input", "weight", "bias"))
    reads_x = needs[0] or needs[1]
    statistics = ArraySpec((*x[: len(x) - n], *(1,) * n), dtype)
    return Layout(
        outs=(ArraySpec(x, dtype), statistics, statistics),
        keep_inputs=(0,) * reads_x + (1,) * (needs[0] and shapes[1] is not None),
        keep_outs=(1, 2) if reads_x else (),
    )


def layer_norm_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for shape, n in [
        ((4, 6), 1),
        ((2, 3, 5), 2),
        ((2, 3, 5), 1),
        ((6,), 1),
        ((1, 1), 1),
        ((0, 3), 1),
    ]:
        x = 2 * rng.standard_normal(shape) + 0.5
        weight, bias = rng.standard_normal(shape[-n:]), rng.standard_normal(shape[-n:])
        for inputs in ((x, weight, bias), (x, weight, None), (x, None, bias), (x, None, None)):
            samples.append(Sample(inputs, {"normalized_ndim": n, "eps": 1e-5}))
    return samples


LAYER_NORM = OpSpec(
    name="layer_norm",
    forward=layer_norm_forward,
    backward=layer_norm_backward,
    layout=layer_norm_layout,
    samples=layer_norm_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 3)), np.ones(2), None), {"normalized_ndim": 1, "eps": 0.1}, ShapeError,
            "layer_norm: weight has shape (2,), expected (3,)",
        ),
        BadInput(
            (np.ones((2, 3), int), None, None), {"normalized_ndim": 1, "eps": 0.1}, DTypeError,
            "layer_norm: input has dtype int64",
        ),
    ],
    tol=NORMALIZED,
    source="Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4",
)  # fmt: skip
