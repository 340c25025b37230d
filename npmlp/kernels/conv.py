"""Convolution, as products of the matmul ladder.

im2col lays the patch under each output position in a column; then the output is weight × columns,
and the gradients are two more products. Columns are made for a few images at a time, which fit into
the second-level cache.

Letters: x (N, C, H, W), weight (K, C/groups, kh, kw), out (N, K, OH, OW); R = C/groups · kh · kw
rows of columns, P = OH · OW positions, B images at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels import direct, direct_backward
from npmlp.kernels.cache import njit
from npmlp.kernels.calls import call, in_order
from npmlp.kernels.ladder import Matrix
from npmlp.kernels.matmul import memory
from npmlp.kernels.panels import pack_rows, product
from npmlp.kernels.scratch import columns_scratch, is_direct

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]


def conv2d_forward(
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    scratch: tuple[Any, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """out[n, k] = Σ_c weight[k, c] ⋆ x[n, c] + bias[k], ⋆ the cross-correlation."""
    x, weight, bias = inputs
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if is_direct(weight.shape, stride):
        if direct.AVAILABLE:
            shape = direct.shape_of(x, weight, padding, dilation, groups)
            direct.forward(in_order(x), in_order(weight), _or_none(bias, weight), shape, outs[0])
            return
        scratch = _columns(inputs, attrs)[0]
    columns, lines = scratch
    x, w = in_order(x), _matrices(weight, groups)
    bias = columns[0, 0, :0] if bias is None else in_order(bias)
    N, channels, OH, OW = outs[0].shape
    out = outs[0].reshape(N, channels, OH * OW)
    geometry = (*weight.shape[2:], OH, OW, *stride, *padding, *dilation)
    C, K, R = weight.shape[1], channels // groups, columns.shape[1]
    for n in range(0, N, columns.shape[0]):
        part = columns[: N - n]
        for g in range(groups):
            call(im2col, x[n:], g * C, geometry, lines, part)
            rows = (g * K, g * K + K)
            b = bias[rows[0] : rows[1]]
            call(_product_each, *memory(w[g]), part, (0, R), b, out[n:], rows)


def conv2d_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: Any,
    grads: tuple[Any, ...],
    scratch: tuple[Any, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """dweight = Σ_n dout[n] columns[n]ᵀ; the columns' gradient is weightᵀ dout[n], and dx collects
    from it what each pixel gave; dbias = Σ dout over images and positions.
    """
    x, weight, _ = inputs
    dx, dweight, dbias = grads
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if is_direct(weight.shape, stride):
        if direct.AVAILABLE:
            shape = direct.shape_of(x, weight, padding, dilation, groups)
            direct_backward.backward(dout, None, None, (x, weight), grads, scratch, shape)
            return
        scratch = _columns((x, weight, None), attrs)[1]
    N, channels, OH, OW = dout.shape
    K = channels // groups
    d = dout.reshape(N, channels, OH * OW)
    if dbias is not None:
        call(_sum_planes, d, dbias)
    if dx is not None:
        (columns, lines), w = scratch[:2], _matrices(weight, groups)
        geometry = (*weight.shape[2:], OH, OW, *stride, *padding, *dilation)
        C = weight.shape[1]
        call(np.ndarray.fill, dx, 0)
        for n in range(0, N, columns.shape[0]):
            part = columns[: N - n]
            for g in range(groups):
                source, rows = d[n : n + len(part)], (g * K, g * K + K)
                none = columns[0, 0, :0]
                call(_product_each, *memory(w[g].T), source, rows, none, part, (0, part.shape[1]))
                call(add_col2im, part, g * C, geometry, lines, dx[n:])
    if dweight is not None:
        columns, lines, partial, panels = scratch
        x, dw = in_order(x), _matrices(dweight, groups)
        geometry = (*dweight.shape[2:], OH, OW, *stride, *padding, *dilation)
        C = dweight.shape[1]
        call(np.ndarray.fill, dw, 0)
        for n in range(0, N, columns.shape[0]):
            part = columns[: N - n]
            for g in range(groups):
                call(im2col, x[n:], g * C, geometry, lines, part)
                call(_add_dweight, d[n:], part, g * K, partial, panels, dw[g])


def conv_relu_pool_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, stride: Pair, padding: Pair,
    dilation: Pair, groups: int,
) -> None:  # fmt: skip
    """outs = the largest of each 2 × 2 of max(0, convolution), and where it was in its plane."""
    x, weight, bias = inputs
    shape = direct.shape_of(x, weight, padding, dilation, groups)
    direct.forward_pooled(in_order(x), in_order(weight), _or_none(bias, weight), shape, *outs)


def conv_relu_pool_backward(
    dout: Array, inputs: tuple[Any, ...], outs: tuple[Any, ...], grads: tuple[Any, ...],
    scratch: tuple[Any, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int,
) -> None:  # fmt: skip
    """As conv2d's, from dout where it was the largest's, and above 0."""
    x, weight, _ = inputs
    shape = direct.shape_of(x, weight, padding, dilation, groups)
    pooled, indices = outs
    direct_backward.backward(dout, pooled, indices, (x, weight), grads, scratch, shape)


def _or_none(bias: Array | None, weight: Array) -> Array:
    """The bias; an array without elements, if there is none."""
    return np.empty(0, weight.dtype) if bias is None else in_order(bias)


def _columns(inputs: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[Any, ...]:
    """Columns to work with, forward and back, for a processor that has no tile."""
    shapes = tuple(None if a is None else a.shape for a in inputs)
    dtypes = tuple(None if a is None else a.dtype for a in inputs)
    both = columns_scratch(shapes, dtypes, attrs, (True, True, True))
    return tuple(tuple(np.empty(*spec) for spec in specs) for specs in both)


def _matrices(weight: Array, groups: int) -> Array:
    """The weight as a matrix (K/groups, R) per group."""
    K, C, kh, kw = weight.shape
    return in_order(weight).reshape(groups, K // groups, C * kh * kw)


@njit(cache=True)
def _product_each(
    a: Array, down: int, along: int, b: Array, rows_of_b: Pair, bias: Array,
    out: Array, rows_of_out: Pair,
) -> None:  # fmt: skip
    """For every n: some rows of out[n] = a times some rows of b[n], + bias, which here belongs to
    the rows. Rows from the first of a pair up to its second. An empty `bias` is none.
    """
    P = b.shape[2]
    depth, K = rows_of_b[1] - rows_of_b[0], rows_of_out[1] - rows_of_out[0]
    b_, out_ = b.reshape(-1), out.reshape(-1)
    for n in range(b.shape[0]):
        for k in range(K):
            row = out[n, rows_of_out[0] + k]
            row[:] = bias[k] if bias.size else out.dtype.type(0)
        source = Matrix(b_, (n * b.shape[1] + rows_of_b[0]) * P, P, 1)
        result = Matrix(out_, (n * out.shape[1] + rows_of_out[0]) * P, P, 1)
        product(
            Matrix(a, 0, down, along),
            source,
            False,
            result,
            out.dtype.type(-np.inf),
            result,
            K,
            depth,
            P,
        )


@njit(cache=True)
def _add_dweight(
    d: Array, columns: Array, first: int, partial: Array, panels: Array, dweight: Array
) -> None:
    """dweight (K, R) += Σ_n d[n] columns[n]ᵀ, d (…, K of its channels, P), columns (…, R, P).

    Image by image, as its transpose: columns[n] d[n]ᵀ (R, K). So it is the few rows of d that have
    to be turned around, and the columns are read as they lie.
    """
    K, R = dweight.shape
    P = d.shape[2]
    columns_, d_ = columns.reshape(-1), d.reshape(-1)
    for n in range(columns.shape[0]):
        pack_rows(d_, (n * d.shape[1] + first) * P, 1, P, P, K, panels, 0, P)
        partial[:] = 0
        result = Matrix(partial, 0, K, 1)
        product(Matrix(columns_, n * R * P, P, 1), Matrix(panels, 0, 0, 1), True,
                result, dweight.dtype.type(-np.inf), result, R, P, K)  # fmt: skip
        for k in range(K):
            for r in range(R):
                dweight[k, r] += partial[r * K + k]


# im2col goes in two steps, since most of its work is the same for all kh rows of a kernel. For a
# channel c and a kernel column j, `lines` (H · OW) takes what the kernel column sees of every line
# of the image: here horizontal stride, padding and dilation are dealt with. A row (c, i, j) of
# columns is then a run of whole lines, one long copy. All copies go through slices that begin at 0,
# which the compiler turns into vectors; an index that might be negative it would not.
#
# The geometry of a convolution, as these loops take it: kh, kw, OH, OW, then stride, padding and
# dilation, each (vertical, horizontal).


@njit(cache=True)
def _inside(offset: int, stride: int, size: int, positions: int) -> tuple[int, int]:
    """The range of positions o for which 0 ≤ offset + o · stride < size."""
    first = 0 if offset >= 0 else (stride - 1 - offset) // stride
    last = (size - 1 - offset) // stride + 1 if offset < size else 0
    last = max(0, min(last, positions))
    return min(first, last), last


@njit(cache=True)
def im2col(x: Array, channel: int, geometry: tuple[int, ...], lines: Array, columns: Array) -> None:
    """columns[b, (c, i, j), (oh, ow)] = x[b, channel + c, oh·sh - ph + i·dh, ow·sw - pw + j·dw],
    0 outside of the image.
    """
    kh, kw, OH, OW, sh, sw, ph, pw, dh, dw = geometry
    B, R = columns.shape[:2]
    H, W = x.shape[2], x.shape[3]
    for r in range(0, R, kh):
        c, j = channel + r // (kh * kw), r // kh % kw
        offset = j * dw - pw
        first, last = _inside(offset, sw, W, OW)
        start = max(0, first * sw + offset)
        if last - first < OW:
            lines[:] = 0
        for b in range(B):
            for h in range(H):
                line = x[b, c, h][start:]
                to = lines[b, h * OW + first : h * OW + last]
                if sw == 1:
                    for o in range(to.size):
                        to[o] = line[o]
                else:
                    for o in range(to.size):
                        to[o] = line[o * sw]
        for i in range(kh):
            offset = i * dh - ph
            first, last = _inside(offset, sh, H, OH)
            start = max(0, first * sh + offset)
            for b in range(B):
                row = columns[b, r // (kh * kw) * (kh * kw) + i * kw + j]
                if last - first < OH:
                    row[:] = 0
                to = row[first * OW : last * OW]
                line = lines[b, start * OW :]
                if sh == 1:
                    for o in range(to.size):
                        to[o] = line[o]
                else:
                    for oh in range(last - first):
                        for o in range(OW):
                            to[oh * OW + o] = line[oh * sh * OW + o]


@njit(cache=True)
def add_col2im(
    columns: Array, channel: int, geometry: tuple[int, ...], lines: Array, dx: Array
) -> None:
    """The transpose of im2col: adds every entry of columns to the pixel that it came from."""
    kh, kw, OH, OW, sh, sw, ph, pw, dh, dw = geometry
    B, R = columns.shape[:2]
    H, W = dx.shape[2], dx.shape[3]
    for r in range(0, R, kh):
        c, j = channel + r // (kh * kw), r // kh % kw
        lines[:] = 0
        for i in range(kh):
            offset = i * dh - ph
            first, last = _inside(offset, sh, H, OH)
            start = max(0, first * sh + offset)
            for b in range(B):
                row = columns[b, r // (kh * kw) * (kh * kw) + i * kw + j]
                of = row[first * OW : last * OW]
                line = lines[b, start * OW :]
                if sh == 1:
                    for o in range(of.size):
                        line[o] += of[o]
                else:
                    for oh in range(last - first):
                        for o in range(OW):
                            line[oh * sh * OW + o] += of[oh * OW + o]
        offset = j * dw - pw
        first, last = _inside(offset, sw, W, OW)
        start = max(0, first * sw + offset)
        for b in range(B):
            for h in range(H):
                of = lines[b, h * OW + first : h * OW + last]
                line = dx[b, c, h][start:]
                if sw == 1:
                    for o in range(of.size):
                        line[o] += of[o]
                else:
                    for o in range(of.size):
                        line[o * sw] += of[o]


@njit(cache=True, fastmath={"reassoc"})
def _sum_planes(x: Array, out: Array) -> None:
    """out (K,) = Σ x (N, K, P), plane by plane; "reassoc" lets a plane be summed in a vector."""
    out[:] = 0
    for n in range(x.shape[0]):
        for k in range(x.shape[1]):
            plane = x[n, k]
            total = out.dtype.type(0)
            for p in range(plane.size):
                total += plane[p]
            out[k] += total
