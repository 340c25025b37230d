"""Max-pooling: the largest entry under each window, and the gradient sent back to it.

Letters: x (N, C, H, W), out and indices (N, C, OH, OW); indices are h · W + w in their plane.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.cache import njit
from npmlp.kernels.calls import call, in_order
from npmlp.kernels.lines import pool_tile
from npmlp.kernels.vectors import VECTOR_BYTES

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]
HALVES = (2, 2, 2, 2, 0, 0, 1, 1)


def max_pool2d_forward(
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    scratch: Any,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> None:
    """outs = (out, indices): out[o] = max over the window at o, which is cut off at the border.

    As in PyTorch the first of equal entries is taken, and NaN wins. `ceil_mode` has had its effect
    on the shape of outs already.
    """
    x = in_order(inputs[0])
    out, indices = outs
    planes = (-1, *x.shape[2:])
    results = (-1, *out.shape[2:])
    if out.size:
        geometry = (*kernel_size, *stride, *padding, *dilation)
        halves = geometry == HALVES and not ceil_mode and VECTOR_BYTES > 0
        loops = pool_halves if halves else pool
        call(loops, x.reshape(planes), geometry, out.reshape(results), indices.reshape(results))


def max_pool2d_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    grads: tuple[Any, ...],
    scratch: Any,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> None:
    """dx = the sum of dout over the windows whose maximum an entry was."""
    (dx,) = grads
    call(np.ndarray.fill, dx, 0)
    if dout.size:
        planes = dx.shape[0] * dx.shape[1]
        arrays = (a.reshape(planes, -1) for a in (dout, outs[1], dx))
        call(scatter, *arrays)


@njit(cache=True)
def pool(x: Array, geometry: tuple[int, ...], out: Array, indices: Array) -> None:
    """One plane after another; geometry: kernel, stride, padding, dilation, each (h, w)."""
    kh, kw, sh, sw, ph, pw, dh, dw = geometry
    _, H, W = x.shape
    for n in range(x.shape[0]):
        for oh in range(out.shape[1]):
            top = oh * sh - ph
            bottom = min(top + (kh - 1) * dh + 1, H)
            while top < 0:
                top += dh
            for ow in range(out.shape[2]):
                left = ow * sw - pw
                right = min(left + (kw - 1) * dw + 1, W)
                while left < 0:
                    left += dw
                best = x.dtype.type(-np.inf)
                at = top * W + left
                for h in range(top, bottom, dh):
                    for w in range(left, right, dw):
                        value = x[n, h, w]
                        if value > best or np.isnan(value):
                            best = value
                            at = h * W + w
                out[n, oh, ow] = best
                indices[n, oh, ow] = at


@njit(cache=True)
def pool_halves(x: Array, geometry: tuple[int, ...], out: Array, indices: Array) -> None:
    """`pool` for windows of 2 × 2 side by side, the usual ones, by a tile without branches."""
    _, H, W = x.shape
    _, OH, OW = out.shape
    of_x, of_out, of_indices = x.reshape(-1), out.reshape(-1), indices.reshape(-1)
    for n in range(x.shape[0]):
        for oh in range(OH):
            pool_tile(  # type: ignore[call-arg]
                of_x, (n * H + 2 * oh) * W, W, W, 2 * oh * W, of_out, of_indices,
                (n * OH + oh) * OW, OW,
            )  # fmt: skip


@njit(cache=True)
def scatter(dout: Array, indices: Array, dx: Array) -> None:
    """dx[n, indices[n, p]] += dout[n, p]"""
    for n in range(dout.shape[0]):
        for p in range(dout.shape[1]):
            dx[n, indices[n, p]] += dout[n, p]
