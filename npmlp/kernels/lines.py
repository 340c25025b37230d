"""Short lines, of an image or a matrix: copied, pooled, added up. A loop in Numba's words spends
its time on such a line before it begins; here a line is a few vectors, the last of which is masked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.cache import njit
from npmlp.kernels.scratch import SUM_BYTES
from npmlp.kernels.vectors import (
    I32,
    I64,
    MANY_REGISTERS,
    VECTOR_BYTES,
    Vectors,
    literal,
    memory,
    number,
    pointer_to,
    with_masks,
)


@intrinsic
def move_lines(
    typing: Any, source: Any, s_at: Any, s_down: Any, to: Any, t_at: Any, t_down: Any, lines: Any,
    count: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """to[t_at + i · t_down + j] = source[s_at + i · s_down + j] for i < lines, j < count.

    For short lines, of which a loop in Numba's words spends its time on whether they may overlap.
    They must not.
    """
    n = types.intp
    signature = types.void(source, n, n, to, n, n, n, n)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        source_, s_at_, s_down_, to_, t_at_, t_down_, lines_, count_ = values
        scalar = context.get_value_type(to.dtype)
        vector = Vectors(builder, scalar, SUM_BYTES)
        lanes = number(vector.lanes)
        whole = builder.sub(count_, builder.srem(count_, lanes))
        mask = vector.first(builder.sub(count_, whole))
        of = vector.at(memory(context, builder, source, source_), s_at_)
        at = vector.at(memory(context, builder, to, to_), t_at_)
        with cgutils.for_range(builder, lines_, intp=I64) as line:
            of_line = vector.at(of, builder.mul(line.index, s_down_))
            to_line = vector.at(at, builder.mul(line.index, t_down_))
            with cgutils.for_range_slice(
                builder, number(0), whole, lanes, intp=I64
            ) as (j, _):  # fmt: skip
                vector.store(vector.load(vector.at(of_line, j)), vector.at(to_line, j))
            with builder.if_then(builder.icmp_signed(">", count_, whole)):
                rest = vector.load(vector.at(of_line, whole), mask)
                vector.store(rest, vector.at(to_line, whole), mask)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def add_lines(
    typing: Any, vectors: Any, x: Any, x_at: Any, out: Any, o_at: Any, d: Any, d_at: Any, down: Any,
    lines: Any, count: Any, sums: Any, s_at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """sums[j] += Σ_i x[i, j] for i < lines, j < count, the sum by itself first, in registers.

    Where out and d are arrays and not None, it is that of d[i, j] = x[i, j] where out[i, j] > 0 or
    is NaN, else 0, which is written. Without sums, None, that alone. A line has `vectors` vectors,
    written as a number in the call, and may end in the last. x[i, j] is at x_at + i · down + j, out
    and d alike.
    """
    V = literal(vectors)
    n = types.intp
    signature = types.void(vectors, x, n, out, n, d, n, n, n, n, sums, n)
    masking, summing = (not isinstance(kind, types.NoneType) for kind in (out, sums))

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        _, x_, x_at_, out_, o_at_, d_, d_at_, down_, lines_, count_, sums_, s_at_ = values
        vector = Vectors(builder, context.get_value_type(x.dtype), SUM_BYTES)
        before = [number(v * vector.lanes) for v in range(V)]
        masks = [None] * (V - 1) + [vector.first(builder.sub(count_, before[-1]))]
        zero = ir.Constant(vector.type, None)
        in_x = pointer_to(context, builder, x, x_, x_at_)
        if masking:
            in_out = pointer_to(context, builder, out, out_, o_at_)
            in_d = pointer_to(context, builder, d, d_, d_at_)
        places = [cgutils.alloca_once(builder, vector.type) for _ in range(V)]
        for place in places:
            builder.store(zero, place)

        def add(masks: Sequence[ir.Value | None]) -> None:
            with cgutils.for_range(builder, lines_, intp=I64) as line:
                step = builder.mul(line.index, down_)
                for v in range(V):
                    value = vector.load(vector.at(in_x, step, before[v]), masks[v])
                    if masking:
                        result = vector.load(vector.at(in_out, step, before[v]), masks[v])
                        below = builder.fcmp_ordered("<=", result, zero)
                        value = builder.select(below, zero, value)
                        vector.store(value, vector.at(in_d, step, before[v]), masks[v])
                    builder.store(builder.fadd(builder.load(places[v]), value), places[v])

        is_whole = builder.icmp_signed("==", count_, number(V * vector.lanes))
        with_masks(builder, is_whole, masks, add)
        if summing:
            in_sums = pointer_to(context, builder, sums, sums_, s_at_)
            for v in range(V):
                place = vector.at(in_sums, before[v])
                total = builder.fadd(vector.load(place, masks[v]), builder.load(places[v]))
                vector.store(total, place, masks[v])
        return context.get_dummy_value()

    return signature, write


@njit()
def add_columns(
    x: Any, at: int, out: Any, d: Any, down: int, lines: int, columns: int, sums: Any, to: int
) -> None:
    """add_lines for any number of columns, a few vectors of them at a time.

    x[i, j] is at `at` + i · down + j, out and d alike, and sums[j] at `to` + j.
    """
    lanes, j = SUM_BYTES // x.itemsize, 0
    while j < columns:
        a, left = at + j, columns - j
        if left >= 4 * lanes:
            add_lines(4, x, a, out, a, d, a, down, lines, 4 * lanes, sums, to + j)  # type: ignore[call-arg]
            j += 4 * lanes
        else:
            add_lines(1, x, a, out, a, d, a, down, lines, min(left, lanes), sums, to + j)  # type: ignore[call-arg]
            j += lanes


@intrinsic
def pool_tile(
    typing: Any, x: Any, x_at: Any, down: Any, W: Any, first: Any, out: Any, indices: Any,
    out_at: Any, count: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[o] = the largest of the four entries of x at 2 o and 2 o + 1 of two lines, for o < count.

    The first line begins at x_at, the second `down` later. indices[o] is where it was in a plane of
    lines W long, where the first entry has number `first`. One entry after another takes the place
    of the largest so far if it is larger, or NaN: so does PyTorch.
    """
    n = types.intp
    signature = types.void(x, n, n, n, n, out, indices, n, n)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        x_, x_at_, down_, W_, first_, out_, indices_, out_at_, count_ = values
        scalar = context.get_value_type(x.dtype)
        # without AVX-512 as many entries as a vector has room for their indices
        itemsize = x.dtype.bitwidth // 8
        vector = Vectors(
            builder, scalar, SUM_BYTES if MANY_REGISTERS else VECTOR_BYTES // 8 * itemsize
        )
        L = vector.lanes
        whole = ir.VectorType(I64, L)
        in_x = vector.at(memory(context, builder, x, x_), x_at_)
        in_out = vector.at(memory(context, builder, out, out_), out_at_)
        in_indices = vector.at(memory(context, builder, indices, indices_), out_at_)

        def splat(value: ir.Value) -> ir.Value:
            undefined = ir.Constant(whole, ir.Undefined)
            one = builder.insert_element(undefined, value, number(0, I32))
            return builder.shuffle_vector(one, undefined, vector.all_first)

        def every_second(left: ir.Value, right: ir.Value, odd: int) -> ir.Value:
            places = ir.Constant(ir.VectorType(I32, L), [2 * i + odd for i in range(L)])
            return builder.shuffle_vector(left, right, places)

        def pool(o: ir.Value, masks: Sequence[ir.Value | None]) -> None:
            line = vector.at(in_x, builder.mul(o, number(2)))
            entries = []
            for pointer in (line, vector.at(line, down_)):
                halves = [vector.load(vector.at(pointer, number(h * L)), masks[h]) for h in (0, 1)]
                entries += [every_second(halves[0], halves[1], odd) for odd in (0, 1)]
            ways = [number(0), number(1), W_, builder.add(W_, number(1))]
            best, way = entries[0], splat(ways[0])
            for entry, its_way in zip(entries[1:], ways[1:], strict=True):
                larger = builder.fcmp_ordered(">", entry, best)
                taken = builder.or_(larger, builder.fcmp_unordered("uno", entry, entry))
                best = builder.select(taken, entry, best)
                way = builder.select(taken, splat(its_way), way)
            twice = ir.Constant(whole, [2 * i for i in range(L)])
            start = splat(builder.add(first_, builder.mul(o, number(2))))
            way = builder.add(way, builder.add(start, twice))
            vector.store(best, vector.at(in_out, o), masks[2])
            place = builder.bitcast(vector.at(in_indices, o), whole.as_pointer())
            if masks[2] is None:
                builder.store(way, place, align=8)
                return
            name = f"llvm.masked.store.v{L}i64.p0"
            arguments = [way, place, number(8, I32), masks[2]]
            type_ = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, type_, name), arguments)

        with cgutils.for_range_slice(
            builder, number(0), count_, number(L), intp=I64
        ) as (o, _):  # fmt: skip
            left = builder.sub(count_, o)
            two = builder.mul(left, number(2))
            masks = vector.first(two), vector.first(builder.sub(two, number(L))), vector.first(left)
            is_whole = builder.icmp_signed(">=", left, number(L))
            with_masks(builder, is_whole, masks, functools.partial(pool, o))
        return context.get_dummy_value()

    return signature, write
