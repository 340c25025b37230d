"""Fused operations: two or three in a row, in one pass over the data. Plans use them (plan/fuse.py).

Each computes, to the bit, what the operations do that it replaces; its oracle calls theirs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from npmlp.ops.activation import relu_backward, relu_forward
from npmlp.ops.linear import (
    LINEAR,
    floats,
    linear_backward,
    linear_forward,
    linear_layout,
    linear_samples,
)
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    DTypes,
    Inputs,
    Kernel,
    Layout,
    Needs,
    OpSpec,
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
        backward_scratch=(*layout.backward_scratch, rows),  # what came through the ReLU
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
