"""Two tiles for the gradients of a convolution, entry by entry of dout.

An entry of dout that is not 0 has seen one patch of the image: kh lines of kw pixels. If the
channels of a pixel lie side by side, a line of a patch is kw · C numbers in a row, some vectors.
Each such entry d then adds

    d · patch of the image       to its channel's part of dweight        sum_patches
    d · its channel's weight     to the patch of dx                      add_patches

A list has the entries of one channel, `count` of them: values and the positions where their patches
begin. Lines of a patch are `down` apart. A tile has `rows` lines and `vectors` vectors of `width`
bytes, written as numbers in the call; of lines there are R, and those beyond are copies of the
last. Vectors are whole, and reach past a line's end into what follows it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.vectors import I64, Vectors, apart, clamped, literal, number, pointer_to


@intrinsic
def sum_patches(
    typing: Any, rows: Any, vectors: Any, width: Any, R: Any, values: Any, positions: Any,
    count: Any, x: Any, x_at: Any, down: Any, sums: Any, s_at: Any, s_down: Any, totals: Any,
    t_at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """sums[r, j] += Σ_i values[i] x[positions[i] + r · down + j], each sum in a register first.

    sums[r, j] is at s_at + r · s_down + j, and x is counted from x_at. totals[t_at] += Σ_i
    values[i].
    """
    tile = literal(rows), literal(vectors), literal(width)
    n = types.intp
    signature = types.void(
        rows, vectors, width, n, values, positions, n, x, n, n, sums, n, n, totals, n
    )  # fmt: skip

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        (_, _, _, R_, values_, positions_, count_, x_, x_at_, down_, sums_, s_at_, s_down_,
         totals_, t_at_) = arguments  # fmt: skip
        at = functools.partial(pointer_to, context, builder)
        apart(
            builder, f"sum_patches.{'x'.join(map(str, tile))}.{x.dtype}",
            [R_, at(values, values_, number(0)), at(positions, positions_, number(0)), count_,
             at(x, x_, x_at_), down_, at(sums, sums_, s_at_), s_down_, at(totals, totals_, t_at_)],
            functools.partial(_write_sums, *tile),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, write


def _write_sums(
    n_rows: int, n_vectors: int, width: int, builder: ir.IRBuilder, arguments: Sequence[ir.Value]
) -> None:
    R_, values, positions, count_, in_x, down_, in_sums, s_down_, in_totals = arguments
    vector = Vectors(builder, values.type.pointee, width)
    along = [number(v * vector.lanes) for v in range(n_vectors)]
    lines = clamped(builder, n_rows, R_)
    offsets = [builder.mul(line, down_) for line in lines]
    acc = [[cgutils.alloca_once(builder, vector.type) for _ in along] for _ in lines]
    for place in (place for row in acc for place in row):
        builder.store(ir.Constant(vector.type, None), place)
    total = cgutils.alloca_once_value(builder, ir.Constant(values.type.pointee, 0))
    with cgutils.for_range(builder, count_, intp=I64) as loop:
        one = builder.load(vector.at(values, loop.index))
        builder.store(builder.fadd(builder.load(total), one), total)
        value = vector.splat(one)
        patch = vector.at(in_x, builder.load(vector.at(positions, loop.index)))
        for row, offset in zip(acc, offsets, strict=True):
            for place, v in zip(row, along, strict=True):
                x = vector.load(vector.at(patch, offset, v))
                builder.store(vector.fma(value, x, builder.load(place)), place)
    of_lines = [vector.at(in_sums, builder.mul(line, s_down_)) for line in lines]
    # all loads before the first store: lines beyond the last are copies of it
    totals = [
        [builder.fadd(vector.load(vector.at(line, v)), builder.load(place))
         for place, v in zip(row, along, strict=True)]
        for row, line in zip(acc, of_lines, strict=True)
    ]  # fmt: skip
    for row, line in zip(totals, of_lines, strict=True):
        for sum_, v in zip(row, along, strict=True):
            vector.store(sum_, vector.at(line, v))
    builder.store(builder.fadd(builder.load(in_totals), builder.load(total)), in_totals)


@intrinsic
def add_patches(
    typing: Any, rows: Any, vectors: Any, width: Any, R: Any, values: Any, positions: Any,
    count: Any, weight: Any, w_at: Any, w_down: Any, out: Any, o_at: Any, down: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[positions[i] + r · down + j] += values[i] weight[r, j], for one i after the other.

    weight[r, j] is at w_at + r · w_down + j, and 0 where there is no such line or pixel: of it all
    lines and vectors of the tile are read. out is counted from o_at.
    """
    tile = literal(rows), literal(vectors), literal(width)
    n = types.intp
    signature = types.void(rows, vectors, width, n, values, positions, n, weight, n, n, out, n, n)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        (_, _, _, R_, values_, positions_, count_, w_, w_at_, w_down_, out_, o_at_,
         down_) = arguments  # fmt: skip
        at = functools.partial(pointer_to, context, builder)
        apart(
            builder, f"add_patches.{'x'.join(map(str, tile))}.{out.dtype}",
            [R_, at(values, values_, number(0)), at(positions, positions_, number(0)), count_,
             at(weight, w_, w_at_), w_down_, at(out, out_, o_at_), down_],
            functools.partial(_write_additions, *tile),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, write


def _write_additions(
    n_rows: int, n_vectors: int, width: int, builder: ir.IRBuilder, arguments: Sequence[ir.Value]
) -> None:
    R_, values, positions, count_, in_weight, w_down_, in_out, down_ = arguments
    vector = Vectors(builder, values.type.pointee, width)
    along = [number(v * vector.lanes) for v in range(n_vectors)]
    offsets = [builder.mul(line, down_) for line in clamped(builder, n_rows, R_)]
    weights = []
    for r in range(n_rows):
        line = vector.at(in_weight, builder.mul(number(r), w_down_))
        weights.append([vector.load(vector.at(line, v)) for v in along])
    with cgutils.for_range(builder, count_, intp=I64) as loop:
        value = vector.splat(builder.load(vector.at(values, loop.index)))
        patch = vector.at(in_out, builder.load(vector.at(positions, loop.index)))
        for row, offset in zip(weights, offsets, strict=True):
            for weight, v in zip(row, along, strict=True):
                place = vector.at(patch, offset, v)
                vector.store(vector.fma(value, weight, vector.load(place)), place)
