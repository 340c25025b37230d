"""Fused operations: two or three in a row in one pass over the data, for plans (plan/fuse.py).

Each computes, to the bit, what the operations do that it replaces; its oracle calls theirs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from npmlp.errors import ShapeError
from npmlp.ops.activation import GELU, gelu_backward, gelu_forward, relu_backward, relu_forward
from npmlp.ops.conv import CONV2D, conv2d_backward, conv2d_forward, conv2d_layout
from npmlp.ops.dropout import dropout_backward, dropout_forward, dropout_layout
from npmlp.ops.linear import (
    LINEAR,
    floats,
    linear_backward,
    linear_forward,
    linear_layout,
    linear_samples,
)
from npmlp.ops.norm import (
    NORMALIZED,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_layout,
    not_empty,
    per_channel,
)
from npmlp.ops.pool import max_pool2d_backward, max_pool2d_forward, max_pool2d_layout
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


def linear_relu_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    return relu_forward(linear_forward(x, weight, bias))


def linear_relu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs
) -> tuple[Any, ...]:
    """What comes back through the ReLU goes on to the linear layer."""
    (dlinear,) = relu_backward(dout, (None,), outs, (True,))
    return linear_backward(dlinear, inputs, (), needs)


def linear_relu_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    layout = linear_layout(shapes, dtypes, attrs, needs)
    rows = ArraySpec(layout.outs[0].shape, layout.outs[0].dtype)
    return replace(
        layout,
        keep_outs=(0,) if any(needs) else (),
        backward_scratch=(*layout.backward_scratch, rows),  # what came through the activation
    )


def away_from_zero(x: Array, weight: Array, bias: Array | None, **attrs: Any) -> tuple[Any, ...]:
    """Inputs whose linear outputs are not near 0, where the ReLU has its kink."""
    out = linear_forward(x, weight, bias)
    near = np.abs(out).reshape(-1, out.shape[-1]) < 1e-2 if out.size else np.zeros((0, 1), bool)
    if near.any():
        bias = (0.0 if bias is None else bias) + np.where(near.any(axis=0), 0.3, 0.0)
        return away_from_zero(x, weight, bias)
    return x, weight, bias


LINEAR_RELU = OpSpec(
    name="linear_relu",
    forward=linear_relu_forward,
    backward=linear_relu_backward,
    layout=linear_relu_layout,
    kernels={"numba": Kernel("linear", "linear_relu", when=floats)},
    samples=linear_samples,
    bad_inputs=LINEAR.bad_inputs,
    domain=away_from_zero,
    tol=LINEAR.tol,
    source="PyTorch docs, torch.nn.Linear and torch.nn.ReLU: y = max(0, x Wᵀ + b)",
    blas=True,
)


def linear_gelu_forward(x: Array, weight: Array, bias: Array | None) -> tuple[Array, Array]:
    """GELU of the linear layer, and the linear layer."""
    z = linear_forward(x, weight, bias)
    return gelu_forward(z, "none"), z


def linear_gelu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs
) -> tuple[Any, ...]:
    """What comes back through the GELU goes on to the linear layer."""
    (dlinear,) = gelu_backward(dout, (outs[1],), (), (True,), "none")
    return linear_backward(dlinear, inputs, (), needs)


def linear_gelu_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    layout = linear_relu_layout(shapes, dtypes, attrs, needs)
    kept = (1,) if any(needs) else ()
    return replace(layout, outs=(*layout.outs, *layout.outs), n_outputs=2, keep_outs=kept)


# The product's error times the steepest slope of GELU, 1.13, and GELU's own.
BENT = {name: 1.13 * LINEAR.tol[name] + GELU.tol[name] for name in LINEAR.tol}

LINEAR_GELU = OpSpec(
    name="linear_gelu",
    forward=linear_gelu_forward,
    backward=linear_gelu_backward,
    layout=linear_gelu_layout,
    kernels={"numba": Kernel("linear", "linear_gelu", when=floats)},
    samples=linear_samples,
    bad_inputs=LINEAR.bad_inputs,
    tol=BENT,
    source="PyTorch docs, torch.nn.Linear and torch.nn.GELU: z Φ(z) of z = x Wᵀ + b",
    blas=True,
)


def batch_norm_gelu_forward(
    x: Array, weight: Array | None, bias: Array | None, keep: Array | None, eps: float, scale: float
) -> tuple[Array, Array, Array, Array]:
    normal, mean, var, invstd = batch_norm_forward(x, weight, bias, eps)
    out = gelu_forward(normal, "none")
    return out if keep is None else dropout_forward(out, keep, scale), mean, var, invstd


def batch_norm_gelu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, eps: float, scale: float
) -> tuple[Any, ...]:
    """Back through the dropout, the GELU and the normalisation, which is computed again."""
    x, weight, bias, keep = inputs
    if keep is not None:
        dout, _ = dropout_backward(dout, (None, keep), (), (True, False), scale)
    mean, invstd = (per_channel(outs[i], x.ndim) for i in (1, 3))
    normal = (x - mean) * invstd
    normal = normal if weight is None else normal * per_channel(weight, x.ndim)
    normal = normal if bias is None else normal + per_channel(bias, x.ndim)
    (dnormal,) = gelu_backward(dout, (normal,), (), (True,), "none")
    kept = (None, outs[1], None, outs[3])
    return (*batch_norm_backward(dnormal, (x, weight, bias), kept, needs[:3], eps), None)


def batch_norm_gelu_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    layout = batch_norm_layout(shapes[:3], dtypes[:3], {"eps": attrs["eps"]}, needs[:3])
    if len(shapes[0]) != 2:
        raise ShapeError(f"batch_norm_gelu: input has shape {tuple(shapes[0])}, expected (N, C)")
    if shapes[3] is not None:
        dropout_layout((shapes[0], shapes[3]), (dtypes[0], dtypes[3]), {}, (True, False))
    present = tuple(i for i in range(4) if shapes[i] is not None)
    recorded = any(needs)
    # where the gradient of x is not wanted, a place for what comes to the normalisation
    rows = () if needs[0] else (ArraySpec(shapes[0], layout.outs[0].dtype),)
    return replace(
        layout,
        keep_inputs=present if recorded else (),
        keep_outs=(1, 3) if recorded else (),
        backward_scratch=(*layout.backward_scratch, *rows),
    )


def batch_norm_gelu_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for n, c in ((8, 5), (33, 70), (2, 1), (0, 3)):
        x = 2 * rng.standard_normal((n, c)) + 0.5
        weight, bias, keep = (
            rng.standard_normal(c),
            rng.standard_normal(c),
            rng.random((n, c)) < 0.7,
        )
        attrs = {"eps": 0.1, "scale": 1 / 0.7}
        samples += [
            Sample((x, weight, bias, keep), attrs),
            Sample((x, None, bias, None), attrs),
            Sample((x, weight, None, None), attrs),
        ]
    return samples


BATCH_NORM_GELU = OpSpec(
    name="batch_norm_gelu",
    forward=batch_norm_gelu_forward,
    backward=batch_norm_gelu_backward,
    layout=batch_norm_gelu_layout,
    kernels={"numba": Kernel("norm_gelu", "batch_norm_gelu", when=not_empty)},
    samples=batch_norm_gelu_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 3, 4)), None, None, None), {"eps": 0.1, "scale": 1.0}, ShapeError,
            "expected (N, C)",
        ),
        BadInput(
            (np.ones((2, 3)), None, None, np.ones(3, bool)), {"eps": 0.1, "scale": 1.0}, ShapeError,
            "the mask has shape (3,)",
        ),
    ],
    differentiable=(0, 1, 2),
    tol=NORMALIZED,
    source="Ioffe and Szegedy 2015, algorithm 1; Hendrycks and Gimpel 2016, GELU; Srivastava 2014",
)  # fmt: skip


HALVES: dict[str, Any] = {
    "kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1),
    "ceil_mode": False,
}  # fmt: skip
"""The pooling of conv_relu_pool: windows of 2 × 2 side by side."""


def conv_relu_pool_forward(
    x: Array, weight: Array, bias: Array | None, **attrs: Any
) -> tuple[Array, Array]:
    return max_pool2d_forward(relu_forward(conv2d_forward(x, weight, bias, **attrs)), **HALVES)


def conv_relu_pool_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, **attrs: Any
) -> tuple[Any, ...]:
    """Where the largest of a window is not above 0, the ReLU lets nothing pass."""
    x, weight, _ = inputs
    pooled, indices = outs
    (passed,) = relu_backward(dout, (None,), (pooled,), (True,))
    size = conv2d_layout((x.shape, weight.shape, None), (x.dtype, weight.dtype, None), attrs, needs)
    ghost = np.broadcast_to(np.zeros((), x.dtype), size.outs[0].shape)
    (d,) = max_pool2d_backward(passed, (ghost,), (None, indices), (True,), **HALVES)
    return conv2d_backward(d, inputs, (None,), needs, **attrs)


def conv_relu_pool_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    conv = conv2d_layout(shapes, dtypes, attrs, needs)
    pool = max_pool2d_layout((conv.outs[0].shape,), (conv.outs[0].dtype,), HALVES, (any(needs),))
    return replace(conv, outs=pool.outs, n_outputs=2, keep_outs=(0, 1) if any(needs) else ())


def conv_relu_pool_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [  # x, weight, padding, dilation, groups
        ((2, 1, 8, 9), (3, 1, 3, 2), (0, 0), (1, 1), 1),
        ((2, 3, 7, 6), (4, 3, 2, 3), (1, 1), (1, 1), 1),
        ((5, 4, 8, 8), (14, 2, 3, 3), (0, 1), (2, 1), 2),
        ((1, 2, 4, 37), (7, 2, 2, 3), (0, 0), (1, 1), 1),  # pooled lines longer than a vector
        ((3, 2, 6, 6), (2, 2, 5, 5), (0, 0), (1, 1), 1),
        ((0, 2, 5, 5), (3, 2, 3, 3), (0, 0), (1, 1), 1),
        ((3, 1, 2, 2), (1, 1, 1, 1), (0, 0), (1, 1), 1),
    ]
    samples = []
    for i, (x, weight, padding, dilation, groups) in enumerate(cases):
        bias = rng.standard_normal(weight[0]) if i % 2 == 0 else None
        attrs = {"stride": (1, 1), "padding": padding, "dilation": dilation, "groups": groups}
        samples.append(Sample((rng.standard_normal(x), rng.standard_normal(weight), bias), attrs))
    return samples


def apart(x: Array, weight: Array, bias: Array | None, **attrs: Any) -> tuple[Any, ...]:
    """Inputs for which no window's two largest are near each other, nor anything near 0."""
    for seed in range(100):
        out = conv2d_forward(x, weight, bias, **attrs)
        H, W = (size // 2 for size in out.shape[2:])
        windows = out[:, :, : 2 * H, : 2 * W].reshape(*out.shape[:2], H, 2, W, 2)
        four = np.sort(windows.swapaxes(3, 4).reshape(*out.shape[:2], H, W, 4))
        near = (four[..., 3] - four[..., 2] < 1e-3) & (four[..., 3] > 0)
        if not near.any() and not (np.abs(out) < 1e-3).any():
            break
        x = x + 0.1 * np.random.default_rng(seed).standard_normal(x.shape)
    return x, weight, bias


def pooled_directly(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """Where there is a tile, and the convolution reads the image where it is."""
    from npmlp.kernels.scratch import is_direct
    from npmlp.kernels.vectors import VECTOR_BYTES

    return VECTOR_BYTES > 0 and is_direct(shapes[1], attrs["stride"])


CONV_RELU_POOL = OpSpec(
    name="conv_relu_pool",
    forward=conv_relu_pool_forward,
    backward=conv_relu_pool_backward,
    layout=conv_relu_pool_layout,
    kernels={"numba": Kernel("conv", "conv_relu_pool", when=pooled_directly)},
    samples=conv_relu_pool_samples,
    bad_inputs=CONV2D.bad_inputs,
    domain=apart,
    tol=CONV2D.tol,
    source="PyTorch docs, torch.nn.Conv2d, ReLU, MaxPool2d(2): max of 2 × 2 of max(0, w ⋆ x + b)",
    blas=True,
)
