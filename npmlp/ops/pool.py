"""Pooling: the largest entry, or the mean, of each window of an image.

Letters: x (N, C, H, W), windows (kh, kw), out (N, C, OH, OW). What a window reaches beyond the
image is -inf to a maximum and 0 to a sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.common import ROUNDING, check_float
from npmlp.ops.extreme import separated
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

# ------------------------------------------------------------------------------------------- max


def max_pool2d_forward(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """The largest entry of each window, and its position h · W + w; the first one of equals."""
    out = out_sizes("max_pool2d", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    geometry = (kernel_size, stride, padding, dilation, out)
    view = windows(pad_for(x, *geometry, -np.inf), kernel_size, stride, dilation)
    count = kernel_size[0] * kernel_size[1]
    entries = view.reshape(*view.shape[:4], count)  # each window as one row
    H, W = x.shape[2:]
    positions = pad_for(np.arange(H * W).reshape(1, 1, H, W), *geometry, -1)
    positions = windows(positions, kernel_size, stride, dilation).reshape(*out, count)
    chosen = entries.argmax(axis=-1)
    if np.isnan(x).any():  # PyTorch takes the last of several
        nan = np.isnan(entries)
        last = entries.shape[-1] - 1 - nan[..., ::-1].argmax(axis=-1)
        chosen = np.where(nan.any(axis=-1), last, chosen)
    # where all is -inf, padding may have come first; PyTorch takes the first entry of the image
    first = (positions >= 0).argmax(axis=-1)
    chosen = np.where(_take(positions[None, None], chosen) < 0, first, chosen)
    return _take(entries, chosen), _take(positions[None, None], chosen)


def _take(entries: Array, chosen: Array) -> Array:
    """From each window of `entries` the chosen one."""
    return np.take_along_axis(entries, chosen[..., None], axis=-1)[..., 0]


def max_pool2d_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, **attrs: Any
) -> tuple[Any, ...]:
    """The gradient goes to the entry that was chosen; where windows overlap, gradients add up."""
    x, indices = inputs[0], outs[1]
    H, W = x.shape[2:]
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1)
    dx = np.zeros(x.size, dout.dtype)
    np.add.at(dx, (planes * (H * W) + indices).reshape(-1), dout.reshape(-1))
    return (dx.reshape(x.shape),)


def check_pool(op: str, shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> tuple[int, ...]:
    """The shape that comes out. Raises ShapeError, DTypeError."""
    names = [n for n in ("kernel_size", "stride", "padding", "dilation") if n in attrs]
    geometry = {name: attrs[name] for name in names}
    check_window(op, shapes[0], **geometry)
    check_float(op, dtypes)
    for k, p in zip(attrs["kernel_size"], attrs["padding"], strict=True):
        if 2 * p > k:
            raise ShapeError(
                f"{op}: padding is {attrs['padding']}, expected at most half of kernel_size "
                f"{attrs['kernel_size']}, so that every window sees the image"
            )
    out = out_sizes(op, shapes[0], **geometry, ceil_mode=attrs["ceil_mode"])
    return (*shapes[0][:2], *out)


def max_pool2d_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    shape = check_pool("max_pool2d", shapes, dtypes, attrs)
    geometry = [attrs[name] for name in ("kernel_size", "stride", "padding", "dilation")]
    for size, out, k, s, p, d in zip(shapes[0][2:], shape[2:], *geometry, strict=True):
        seen = np.arange(out)[:, None] * s - p + np.arange(k) * d
        if not ((seen >= 0) & (seen < size)).any(axis=1).all():
            raise ShapeError(
                f"max_pool2d: with dilation {attrs['dilation']} and padding {attrs['padding']} a "
                f"window sees no entry of an image of {tuple(shapes[0][2:])}; use less of both"
            )
    recorded = any(needs)
    return Layout(
        outs=(ArraySpec(shape, dtypes[0]), ArraySpec(shape, np.dtype(np.int64))),
        n_outputs=2,
        keep_shapes=(0,) if recorded else (),
        keep_outs=(1,) if recorded else (),
    )


def pool_samples(rng: np.random.Generator, **attrs: Any) -> list[Sample]:
    cases = [  # x, kernel_size, stride, padding, ceil_mode
        ((2, 3, 6, 6), (2, 2), (2, 2), (0, 0), False),
        ((2, 2, 7, 5), (3, 2), (2, 1), (1, 1), False),
        ((1, 2, 7, 8), (3, 3), (2, 3), (1, 0), True),
        ((2, 1, 5, 5), (2, 2), (3, 3), (1, 1), True),  # pixels that no window sees
        ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), False),
        ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), False),
    ]
    return [
        Sample(
            (rng.standard_normal(x),),
            {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": ceil, **attrs},
        )
        for x, k, s, p, ceil in cases
    ]


def max_pool2d_samples(rng: np.random.Generator) -> list[Sample]:
    samples = pool_samples(rng, dilation=(1, 1))
    # few different values, so that most windows have several largest ones
    tied = rng.integers(0, 3, (2, 2, 9, 9)).astype(float)
    attrs = {"kernel_size": (3, 3), "stride": (1, 2), "padding": (1, 0), "ceil_mode": True}
    return [*samples, Sample((tied,), {**attrs, "dilation": (1, 2)})]


_SQUARE: dict[str, Any] = {
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "ceil_mode": False,
}


def bad_pools(op: str, **attrs: Any) -> list[BadInput]:
    x = np.ones((1, 1, 4, 4))
    plain = {**_SQUARE, **attrs}
    return [
        BadInput((x[0],), plain, ShapeError, f"{op}: input has shape (1, 4, 4), expected (N, C"),
        BadInput((x,), {**plain, "padding": (2, 0)}, ShapeError, "at most half of kernel_size"),
        BadInput((x,), {**plain, "kernel_size": (5, 2)}, ShapeError, "no window of (5, 2)"),
        BadInput((x,), {**plain, "stride": (0, 2)}, ShapeError, "stride is (0, 2)"),
        BadInput((x.astype(int),), plain, DTypeError, f"{op}: input has dtype int64"),
    ]


MAX_POOL2D = OpSpec(
    name="max_pool2d",
    forward=max_pool2d_forward,
    backward=max_pool2d_backward,
    layout=max_pool2d_layout,
    kernels={"numba": Kernel("pool", "max_pool2d", when=floats)},
    samples=max_pool2d_samples,
    bad_inputs=lambda: [
        *bad_pools("max_pool2d", dilation=(1, 1)),
        BadInput(
            (np.ones((1, 1, 1, 1)),),
            {**_SQUARE, "padding": (1, 1), "dilation": (2, 2)},
            ShapeError,
            "a window sees no entry",
        ),
    ],
    domain=separated,
    tol=ROUNDING,
    source="PyTorch docs, torch.nn.MaxPool2d: out = max_ij x[oh·sh + i·dh, ow·sw + j·dw]",
)


# ------------------------------------------------------------------------------------------ mean


def avg_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The sum of each window, divided by how many entries it has."""
    out = out_sizes("avg_pool2d", x.shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    padded = pad_for(x, kernel_size, stride, padding, (1, 1), out, 0)
    sums = windows(padded, kernel_size, stride, (1, 1)).sum(axis=(-2, -1))
    geometry = (kernel_size, stride, padding, count_include_pad, divisor_override)
    return sums / divisors(x.shape, out, *geometry).astype(x.dtype)


def divisors(
    shape: Any,
    out: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """What each of the (OH, OW) sums is divided by.

    Padding counts if asked for, but never what `ceil_mode` lets a window reach beyond it.
    """
    if divisor_override is not None:
        return np.full(out, divisor_override)
    counts = []
    for size, o, k, s, p in zip(shape[2:], out, kernel_size, stride, padding, strict=True):
        first = np.arange(o) * s - p
        last = np.minimum(first + k, size + p)
        if not count_include_pad:
            first, last = np.maximum(first, 0), np.minimum(last, size)
        counts.append(last - first)
    return np.outer(*counts)


def avg_pool2d_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[Any, ...]:
    """Each entry of a window gets its share of the gradient."""
    (x,) = inputs
    out = dout.shape[2:]
    geometry = (kernel_size, stride, padding, count_include_pad, divisor_override)
    share = dout / divisors(x.shape, out, *geometry).astype(dout.dtype)
    dpadded = np.zeros(reached(x.shape, kernel_size, stride, padding, (1, 1), out), dout.dtype)
    view = windows(dpadded, kernel_size, stride, (1, 1))
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):  # windows overlap, but their entries (i, j) do not
            view[..., i, j] += share
    return (inside(dpadded, x.shape, padding),)


def avg_pool2d_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if attrs["divisor_override"] == 0:
        raise ShapeError("avg_pool2d: divisor_override is 0, expected another number or None")
    shape = check_pool("avg_pool2d", shapes, dtypes, attrs)
    return Layout(outs=(ArraySpec(shape, dtypes[0]),), keep_shapes=(0,) if any(needs) else ())


AVG_POOL2D = OpSpec(
    name="avg_pool2d",
    forward=avg_pool2d_forward,
    backward=avg_pool2d_backward,
    layout=avg_pool2d_layout,
    samples=lambda rng: [
        sample
        for count, divisor in ((True, None), (False, None), (True, 3))
        for sample in pool_samples(rng, count_include_pad=count, divisor_override=divisor)
    ],
    bad_inputs=lambda: [
        *bad_pools("avg_pool2d", count_include_pad=True, divisor_override=None),
        BadInput(
            (np.ones((1, 1, 4, 4)),),
            {**_SQUARE, "count_include_pad": True, "divisor_override": 0},
            ShapeError,
            "divisor_override is 0",
        ),
    ],
    tol=ROUNDING,  # sums of up to 9 entries
    source="PyTorch docs, torch.nn.AvgPool2d: out = 1/(kh kw) Σ_ij x[oh·sh + i, ow·sw + j]",
)


def spans(size: int, out: int) -> list[tuple[int, int]]:
    """From where to where each of `out` windows goes, so that together they cover `size`."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def adaptive_avg_pool2d_forward(x: Array, output_size: Pair) -> Array:
    """Means of the rows of each window, then of the columns: all its rows are equally long."""
    (OH, OW), (H, W) = output_size, x.shape[2:]
    rows = np.empty((*x.shape[:2], OH, W), x.dtype)
    for i, (first, last) in enumerate(spans(H, OH)):
        rows[:, :, i] = x[:, :, first:last].mean(axis=2)
    out = np.empty((*x.shape[:2], OH, OW), x.dtype)
    for j, (first, last) in enumerate(spans(W, OW)):
        out[..., j] = rows[..., first:last].mean(axis=3)
    return out


def adaptive_avg_pool2d_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, output_size: Pair
) -> tuple[Any, ...]:
    (x,) = inputs
    (OH, OW), (H, W) = output_size, x.shape[2:]
    drows = np.zeros((*x.shape[:2], OH, W), dout.dtype)
    for j, (first, last) in enumerate(spans(W, OW)):
        drows[..., first:last] += dout[..., j : j + 1] / dout.dtype.type(last - first)
    dx = np.zeros(x.shape, dout.dtype)
    for i, (first, last) in enumerate(spans(H, OH)):
        dx[:, :, first:last] += drows[:, :, i : i + 1] / dout.dtype.type(last - first)
    return (dx,)


def adaptive_avg_pool2d_layout(
    shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs
) -> Layout:
    op, x = "adaptive_avg_pool2d", shapes[0]
    if len(x) != 4 or 0 in x[2:]:
        raise ShapeError(f"{op}: input has shape {tuple(x)}, expected (N, C, H, W) with pixels")
    if min(attrs["output_size"]) < 0:
        raise ShapeError(f"{op}: output_size is {attrs['output_size']}, expected 0 or more")
    out = ArraySpec((*x[:2], *attrs["output_size"]), check_float(op, dtypes))
    return Layout(outs=(out,), keep_shapes=(0,) if any(needs) else ())


ADAPTIVE_AVG_POOL2D = OpSpec(
    name="adaptive_avg_pool2d",
    forward=adaptive_avg_pool2d_forward,
    backward=adaptive_avg_pool2d_backward,
    layout=adaptive_avg_pool2d_layout,
    samples=lambda rng: [
        Sample((rng.standard_normal(shape),), {"output_size": size})
        for shape, size in [
            ((2, 3, 6, 6), (1, 1)),
            ((2, 2, 7, 5), (3, 2)),  # windows that overlap
            ((1, 2, 3, 4), (5, 4)),  # more windows than rows
            ((1, 1, 1, 1), (1, 1)),
            ((0, 2, 4, 4), (2, 2)),
        ]
    ],
    bad_inputs=lambda: [
        BadInput((np.ones((1, 3, 3)),), {"output_size": (1, 1)}, ShapeError, "(N, C, H, W)"),
        BadInput((np.ones((1, 1, 0, 3)),), {"output_size": (1, 1)}, ShapeError, "with pixels"),
        BadInput((np.ones((1, 1, 3, 3)),), {"output_size": (1, -1)}, ShapeError, "0 or more"),
        BadInput((np.ones((1, 1, 3, 3), int),), {"output_size": (1, 1)}, DTypeError, "dtype int64"),
    ],
    tol=ROUNDING,  # means of up to 36 entries
    source="PyTorch docs, torch.nn.AdaptiveAvgPool2d",
)
