"""Convolution (the cross-correlation that networks call so): a weighted sum over each window.

Letters: x (N, C, H, W), weight (K, C/groups, kh, kw), out (N, K, OH, OW). With groups, the first
K/groups outputs see the first C/groups channels, and so on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import check_float
from npmlp.ops.linear import floats
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
from npmlp.ops.window import Pair, check_window, inside, out_sizes, pad_for, reached, windows


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """out[n, k, oh, ow] = bias[k] + Σ_cij weight[k, c, i, j] x[n, c, oh·sh + i·dh, ow·sw + j·dw]"""
    K, C, *kernel = weight.shape
    size = out_sizes("conv2d", x.shape, kernel, stride, padding, dilation)
    view = windows(pad_for(x, kernel, stride, padding, dilation, size, 0), kernel, stride, dilation)
    out = np.empty((len(x), K, *size), x.dtype)
    for k, c in _groups(K, C, groups):
        # (N, C, OH, OW, kh, kw) times (K, C, kh, kw), summed over C, kh, kw: (N, OH, OW, K)
        products = np.tensordot(view[:, c], weight[k], axes=((1, 4, 5), (1, 2, 3)))
        out[:, k] = products.transpose(0, 3, 1, 2)
    return out if bias is None else out + bias[:, None, None]


def conv2d_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Any, ...]:
    """Each product weight · x of the forward sends dout · weight to its x and dout · x to its
    weight; dbias sums dout over images and positions.
    """
    x, weight, _ = inputs
    dx = dweight = None
    dbias = dout.sum(axis=(0, 2, 3)) if needs[2] else None
    if needs[0]:
        K, C, *kernel = weight.shape
        reach = reached(x.shape, kernel, stride, padding, dilation, dout.shape[2:])
        dpadded = np.zeros(reach, dout.dtype)
        view = windows(dpadded, kernel, stride, dilation)
        for k, c in _groups(K, C, groups):
            # (N, K, OH, OW) times (K, C, kh, kw), summed over K: (N, OH, OW, C, kh, kw)
            products = np.tensordot(dout[:, k], weight[k], axes=(1, 0)).transpose(0, 3, 1, 2, 4, 5)
            for i in range(kernel[0]):
                for j in range(kernel[1]):  # windows overlap, but their entries (i, j) do not
                    view[:, c, :, :, i, j] += products[..., i, j]
        dx = inside(dpadded, x.shape, padding)
    if needs[1]:
        K, C, *kernel = weight.shape
        padded = pad_for(x, kernel, stride, padding, dilation, dout.shape[2:], 0)
        view = windows(padded, kernel, stride, dilation)
        dweight = np.empty(weight.shape, dout.dtype)
        for k, c in _groups(K, C, groups):  # summed over N, OH, OW: (K, C, kh, kw)
            dweight[k] = np.tensordot(dout[:, k], view[:, c], axes=((0, 2, 3), (0, 2, 3)))
    return dx, dweight, dbias


def _groups(K: int, C: int, groups: int) -> list[tuple[slice, slice]]:
    """The outputs and the channels of each group. C counts the channels of one."""
    M = K // groups
    return [(slice(g * M, g * M + M), slice(g * C, g * C + C)) for g in range(groups)]


def conv2d_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    x, weight, bias = shapes
    groups = attrs["groups"]
    if len(weight) != 4:
        raise ShapeError(
            f"conv2d: weight has shape {weight}, expected (out_channels, in_channels / groups, "
            "kh, kw)"
        )
    K, C, *kernel = weight
    pairs = {name: attrs[name] for name in ("stride", "padding", "dilation")}
    name = f"Conv2d({C * groups}, {K}, kernel_size={tuple(kernel)})"
    check_window(name, x, kernel_size=kernel, **pairs)
    if groups < 1 or K < 1 or K % groups:
        raise ShapeError(
            f"{name}: groups is {groups} and out_channels {K}, expected a multiple of groups"
        )
    if x[1] != C * groups:
        hint = "; is its last dimension the channels? permute(0, 3, 1, 2) brings them forward"
        raise ShapeError(
            f"{name}: input of shape {tuple(x)} has {x[1]} channels, expected {C * groups}"
            f"{hint if x[3] == C * groups else ''}"
        )
    if bias is not None and bias != (K,):
        raise ShapeError(f"{name}: bias has shape {tuple(bias)}, expected ({K},)")
    dtype = check_float(name, dtypes, ("input", "weight", "bias"))
    out = out_sizes(name, x, (kernel[0], kernel[1]), **pairs)
    from npmlp.kernels.scratch import conv2d_scratch

    forward, backward = conv2d_scratch(shapes, dtypes, attrs, needs)
    return Layout(
        outs=(ArraySpec((x[0], K, *out), dtype),),
        keep_inputs=(0,) * needs[1] + (1,) * needs[0],
        keep_shapes=(0, 1) if any(needs) else (),
        scratch=tuple(ArraySpec(*s) for s in forward),
        backward_scratch=tuple(ArraySpec(*s) for s in backward),
    )


def conv2d_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [  # x, weight, stride, padding, dilation, groups
        ((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), (0, 0), (1, 1), 1),
        ((2, 1, 7, 7), (3, 1, 3, 3), (2, 2), (1, 1), (1, 1), 1),
        ((2, 4, 6, 7), (6, 2, 3, 3), (2, 1), (0, 2), (1, 2), 2),
        ((1, 3, 4, 4), (3, 1, 2, 2), (3, 3), (2, 1), (2, 1), 3),  # depthwise, pixels left over
        ((3, 2, 1, 5), (2, 2, 1, 1), (1, 2), (0, 0), (1, 1), 1),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
        ((1, 1, 1, 1), (2, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # most of the window is padding
        ((1, 1, 2, 2), (1, 1, 2, 2), (1, 1), (3, 3), (1, 1), 1),  # windows of padding alone
        ((0, 2, 4, 4), (3, 2, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ]
    samples = []
    for i, (x, weight, stride, padding, dilation, groups) in enumerate(cases):
        bias = rng.standard_normal(weight[0]) if i % 2 == 0 else None
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        samples.append(Sample((rng.standard_normal(x), rng.standard_normal(weight), bias), attrs))
    return samples


_PLAIN: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
_IMAGE = np.ones((2, 3, 5, 5))

CONV2D = OpSpec(
    name="conv2d",
    forward=conv2d_forward,
    backward=conv2d_backward,
    layout=conv2d_layout,
    kernels={"numba": Kernel("conv", "conv2d", when=floats)},
    samples=conv2d_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 5, 5, 3)), np.ones((4, 3, 3, 3)), None), _PLAIN, ShapeError,
            "Conv2d(3, 4, kernel_size=(3, 3)): input of shape (2, 5, 5, 3) has 5 channels, "
            "expected 3; is its last dimension the channels?",
        ),
        BadInput((_IMAGE, np.ones((4, 3, 6, 3)), None), _PLAIN, ShapeError, "no window of (6, 3)"),
        BadInput((_IMAGE, np.ones((4, 3, 3)), None), _PLAIN, ShapeError, "weight has shape"),
        BadInput((_IMAGE[0], np.ones((4, 3, 3, 3)), None), _PLAIN, ShapeError, "(N, C, H, W)"),
        BadInput((_IMAGE, np.ones((4, 3, 3, 3)), np.ones(3)), _PLAIN, ShapeError, "expected (4,)"),
        BadInput(
            (_IMAGE, np.ones((4, 1, 3, 3)), None), {**_PLAIN, "groups": 3}, ShapeError,
            "expected a multiple of groups",
        ),
        BadInput(
            (_IMAGE, np.ones((4, 3, 3, 3)), None), {**_PLAIN, "stride": (0, 1)}, ShapeError,
            "stride is (0, 1), expected numbers of at least 1",
        ),
        BadInput(
            (_IMAGE, np.ones((4, 3, 3, 3)), None), {**_PLAIN, "padding": (0, -1)}, ShapeError,
            "padding is (0, -1), expected numbers of at least 0",
        ),
        BadInput((_IMAGE.astype(int), np.ones((4, 3, 3, 3)), None), _PLAIN, DTypeError, "input"),
    ],
    # sums of up to 40 products, √40 roundings of the largest ones, as in linear.py
    tol={"float32": 4e-6, "float64": 1e-14},
    source="PyTorch docs, torch.nn.Conv2d: out_k = bias_k + Σ_c weight_kc ⋆ x_c",
    blas=True,
)  # fmt: skip
