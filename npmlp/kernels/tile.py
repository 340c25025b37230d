"""The register tile: the heart of the matrix product.

A tile is a few rows by a few vectors of `out`, held in registers while k runs: for every k it
loads its vectors of b once, and every row's entry of a is multiplied with all of them,

    acc[r][v] = fma(a[r, k], b[k, v], acc[r][v])        a fused multiply-add of a whole vector

so 3 loads of b and 8 of a serve 24 vector multiplications, where rung 3 needs a load and a store
for each. A processor core starts two such instructions per cycle, each takes four cycles, and so at
least 8 must be under way; there are 32 registers (16 without AVX-512): 8 rows × 3 vectors fill
them. Every element of out is one chain of fused additions over k = 0, 1, 2, …, whichever tile it
falls in and however wide a vector is: all machines, tiles and edges give the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.vectors import (
    MANY_REGISTERS,
    VECTOR_BYTES,
    Vectors,
    apart,
    as_it_is,
    ask_for,
    clamped,
    literal,
    memory,
    number,
    pointer_to,
    with_masks,
)


@intrinsic
def product_tile(
    typing: Any, rows: Any, vectors: Any, N: Any, M: Any, K: Any,
    a: Any, a_at: Any, down: Any, along: Any, b: Any, b_at: Any, b_down: Any, places: Any,
    start: Any, start_at: Any, start_down: Any, floor: Any, out: Any, out_at: Any, out_down: Any,
    ask: Any, ask_at: Any, line: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[r, j] = max(floor, start[r, j] + Σ_k a[r, k] b[k, j]) for r < N, j < M, in one tile.

    The sum over k begins at 0, and start is added to it at the end. With floor 0 this is a ReLU
    (NaN stays NaN), with -∞ it is nothing.

    The tile has `rows` rows and `vectors` vectors, both written as numbers in the call. N may be
    smaller than rows: rows that are missing are computed as copies of the last. M may end in the
    last vector: lanes that are missing are neither loaded nor stored. a[r, k] is at
    a_at + r · down + k · along, b[k, j] at b_at + k · b_down + j, start and out alike. Where places
    is an array and not None, b[k, j] is at b_at + places[b_down + k] + j instead. start may be out
    itself, to add to it, or a bias, with start_down = 0.

    Where ask is an array and not None, each step of k asks for its memory from ask_at on, `line`
    elements further on each time, so that it is near when it is needed.
    """
    R, V = literal(rows), literal(vectors)
    n = types.intp
    asks = not isinstance(ask, types.NoneType)
    signature = types.void(
        rows, vectors, n, n, n, a, n, n, n, b, n, n, places, start, n, n, a.dtype, out, n, n,
        ask, *((n, n) if asks else (ask_at, line)),
    )  # fmt: skip

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        (_, _, N_, M_, K_, a_, a_at_, down_, along_, b_, b_at_, b_down_, places_,
         start_, start_at_, start_down_, floor_, out_, out_at_, out_down_,
         ask_, ask_at_, line_) = values  # fmt: skip
        at = functools.partial(pointer_to, context, builder)
        listed = not isinstance(places, types.NoneType)
        apart(
            builder, f"product_tile.{R}x{V}.{a.dtype}{'.places' * listed}{'.asks' * asks}",
            [N_, M_, K_, at(a, a_, a_at_), down_, along_, at(b, b_, b_at_), b_down_,
             at(places, places_, b_down_) if listed else number(0),
             at(start, start_, start_at_), start_down_, floor_,
             at(out, out_, out_at_), out_down_, *((at(ask, ask_, ask_at_), line_) if asks else ())],
            functools.partial(_write_product_tile, R, V, listed),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, write


def _write_product_tile(
    R: int, V: int, listed: bool, builder: ir.IRBuilder, values: Sequence[ir.Value]
) -> None:
    """The tile's own function."""
    (N_, M_, K_, in_a, down_, along_, in_b, b_down_, in_places, in_start, start_down_, floor_,
     in_out, out_down_, *asked) = values  # fmt: skip
    vector = Vectors(builder, floor_.type, VECTOR_BYTES)
    at = vector.at
    lanes_before = [number(v * vector.lanes) for v in range(V)]
    rows = clamped(builder, R, N_)

    def row_of(pointer: ir.Value, step: ir.Value) -> list[ir.Value]:
        return [at(pointer, builder.mul(step, row)) for row in rows]

    a_rows = row_of(in_a, down_)
    to_rows, of_rows = row_of(in_out, out_down_), row_of(in_start, start_down_)
    least = vector.splat(floor_)
    for pointer in of_rows:  # read after the loop, and of a large `out` from far away
        ask_for(builder, pointer, 1)

    def write(masks: Sequence[ir.Value | None]) -> None:
        def row_vectors(pointer: ir.Value) -> list[ir.Value]:
            return [vector.load(at(pointer, lanes_before[v]), masks[v]) for v in range(V)]

        # for k in range(K), with everything that changes as a variable of the loop
        before = builder.block
        test, body, done = (builder.append_basic_block(name) for name in ("k", "fma", "done"))
        builder.branch(test)
        builder.position_at_end(test)

        def variable(value: ir.Value) -> ir.Value:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            return phi

        k, steps_along, b_row = variable(number(0)), variable(number(0)), variable(in_b)
        asked_for = [variable(pointer) for pointer in asked[:1]]
        zero = ir.Constant(vector.type, None)
        acc = [[variable(zero) for _ in range(V)] for _ in range(R)]
        builder.cbranch(builder.icmp_signed("<", k, K_), body, done)

        builder.position_at_end(body)
        if not listed:
            b_vectors = row_vectors(b_row)
        else:
            b_vectors = row_vectors(at(in_b, builder.load(at(in_places, k))))
        for pointer in asked_for:
            ask_for(builder, pointer)
            pointer.add_incoming(at(pointer, asked[1]), body)
        for r in range(R):
            entry = vector.splat(builder.load(at(a_rows[r], steps_along)))
            for v in range(V):
                acc[r][v].add_incoming(vector.fma(entry, b_vectors[v], acc[r][v]), body)
        k.add_incoming(builder.add(k, number(1)), body)
        steps_along.add_incoming(builder.add(steps_along, along_), body)
        b_row.add_incoming(at(b_row, b_down_) if not listed else b_row, body)
        again = builder.branch(test)
        if not MANY_REGISTERS:  # two steps at once want more than there are
            as_it_is(builder, again)

        builder.position_at_end(done)
        # all loads before the first store: rows that are missing are copies of the last one
        totals = [
            [builder.fadd(x, y) for x, y in zip(row_vectors(pointer), acc[r], strict=True)]
            for r, pointer in enumerate(of_rows)
        ]
        for r, pointer in enumerate(to_rows):
            for v in range(V):
                below = builder.fcmp_ordered("<=", totals[r][v], least)
                result = builder.select(below, least, totals[r][v])
                vector.store(result, at(pointer, lanes_before[v]), masks[v])

    last_mask = vector.first(builder.sub(M_, lanes_before[-1]))
    is_full = builder.icmp_signed("==", M_, number(V * vector.lanes))
    with_masks(builder, is_full, [None] * (V - 1) + [last_mask], write)


@intrinsic
def transpose_tile(
    typing: Any, a: Any, a_at: Any, a_down: Any, last: Any, out: Any, out_at: Any, out_down: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[k, j] = a[j, k] for as many j and k as a vector has lanes, L.

    a[j, k] is at a_at + j · a_down + k, out[k, j] at out_at + k · out_down + j. Rows of a past
    `last` are read as row `last`. Vectors of row j and row j + L/2 are interleaved, all of them,
    log₂ L times over: then each has moved its entries to where the transpose has them.
    """
    n = types.intp
    signature = types.void(a, n, n, n, out, n, n)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        a_, a_at_, a_down_, last_, out_, out_at_, out_down_ = values
        scalar = context.get_value_type(a.dtype)
        vector = Vectors(builder, scalar, VECTOR_BYTES)
        L = vector.lanes
        in_a = vector.at(memory(context, builder, a, a_), a_at_)
        in_out = vector.at(memory(context, builder, out, out_), out_at_)
        there_are = builder.add(last_, number(1))
        rows = [
            vector.load(vector.at(in_a, builder.mul(row, a_down_)))
            for row in clamped(builder, L, there_are)
        ]
        for _ in range(L.bit_length() - 1):
            pairs = [vector.interleave(rows[j], rows[j + L // 2]) for j in range(L // 2)]
            rows = [half for pair in pairs for half in pair]
        for k, row in enumerate(rows):
            vector.store(row, vector.at(in_out, builder.mul(out_down_, number(k))))
        return context.get_dummy_value()

    return signature, write


@intrinsic
def copy_strip(
    typing: Any, vectors: Any, b: Any, b_at: Any, b_down: Any, K: Any, M: Any, out: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[k, j] = b[k, j] for k < K, j < M: so many vectors of columns, close together.

    M may end in the last vector, whose other lanes become 0. b[k, j] is at b_at + k · b_down + j.
    """
    V = literal(vectors)
    n = types.intp
    signature = types.void(vectors, b, n, n, n, n, out)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        _, b_, b_at_, b_down_, K_, M_, out_ = values
        vector = Vectors(builder, context.get_value_type(b.dtype), VECTOR_BYTES)
        L, at = vector.lanes, vector.at
        in_b = pointer_to(context, builder, b, b_, b_at_)
        in_out = memory(context, builder, out, out_)
        last = vector.first(builder.sub(M_, number((V - 1) * L)))
        with cgutils.for_range(builder, K_) as loop:
            row = at(in_b, builder.mul(loop.index, b_down_))
            place = at(in_out, builder.mul(loop.index, number(V * L)))
            for v in range(V):
                lanes_before = number(v * L)
                mask = last if v == V - 1 else None
                vector.store(vector.load(at(row, lanes_before), mask), at(place, lanes_before))
        return context.get_dummy_value()

    return signature, write
