"""Products whose sums are in the lanes of vectors: over positions of an image, and dot products.

tile.py has an entry of out in each lane. Here a lane has a part of one entry's sum: of every so
many products one. So both factors are read as they lie in memory, a vector at a time, and at the
end the lanes of each sum are added up. There are as many lanes as SUM_BYTES hold on every
processor, and halves are added to halves: the bits are the same on all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.scratch import SUM_BYTES
from npmlp.kernels.vectors import (
    I32,
    I64,
    VECTOR_BYTES,
    Vectors,
    apart,
    clamped,
    literal,
    memory,
    number,
    pointer_to,
)


@intrinsic
def dot_tile(
    typing: Any, rows: Any, columns: Any, N: Any, M: Any, K: Any, a: Any, a_at: Any, a_down: Any,
    b: Any, b_at: Any, b_down: Any, start: Any, start_at: Any, floor: Any, out: Any, out_at: Any,
    out_down: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[r, c] = max(floor, start[c] + Σ_k a[r, k] b[c, k]) for r < N, c < M, in one tile.

    Both matrices are read along their rows, a vector of k at a time. So the partial sums are in the
    lanes of SUM_BYTES, one for the k that leave l divided by L, and are added up at the end, halves
    by halves. `rows` and `columns` are written as numbers; what is past N and M is a copy of the
    last. a[r, k] is at a_at + r · a_down + k, b and out alike.
    """
    R, C = literal(rows), literal(columns)
    n = types.intp
    signature = types.void(
        rows, columns, n, n, n, a, n, n, b, n, n, start, n, a.dtype, out, n, n
    )  # fmt: skip

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        (_, _, N_, M_, K_, a_, a_at_, a_down_, b_, b_at_, b_down_, start_, start_at_, floor_,
         out_, out_at_, out_down_) = values  # fmt: skip
        at = functools.partial(pointer_to, context, builder)
        apart(
            builder, f"dot_tile.{R}x{C}.{a.dtype}",
            [N_, M_, K_, at(a, a_, a_at_), a_down_, at(b, b_, b_at_), b_down_,
             at(start, start_, start_at_), floor_, at(out, out_, out_at_), out_down_],
            functools.partial(_write_dot_tile, R, C),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, write


def _variables(builder: ir.IRBuilder, values: Any, from_: ir.Block) -> Any:
    """Rows of variables at the beginning of a block, and their values from `from_`."""
    found = [[builder.phi(v.type) for v in row] for row in values]
    _come_back(found, values, from_)
    return found


def _come_back(phis: Any, values: Any, from_: ir.Block) -> None:
    """Their values from another block."""
    for row, new in zip(phis, values, strict=True):
        for phi, value in zip(row, new, strict=True):
            phi.add_incoming(value, from_)


def _write_dot_tile(R: int, C: int, builder: ir.IRBuilder, values: Sequence[ir.Value]) -> None:
    """The tile's own function."""
    N_, M_, K_, in_a, a_down_, in_b, b_down_, in_start, floor_, in_out, out_down_ = values
    scalar = floor_.type
    vector = Vectors(builder, scalar, VECTOR_BYTES)
    at, L = vector.at, vector.lanes
    parts = SUM_BYTES // VECTOR_BYTES  # vectors in which a sum has its lanes
    number_at_once = number(parts * L)

    r_, c_ = clamped(builder, R, N_), clamped(builder, C, M_)
    a_rows = [at(in_a, builder.mul(r, a_down_)) for r in r_]
    b_rows = [at(in_b, builder.mul(c, b_down_)) for c in c_]
    whole = builder.sub(K_, builder.srem(K_, number_at_once))

    def step(acc: Any, k: ir.Value, mask: Any) -> Any:
        bs = [vector.load(at(row, k), mask) for row in b_rows]
        result = []
        for row, sums in zip(a_rows, acc, strict=True):
            one = vector.load(at(row, k), mask)
            result.append([vector.fma(one, x, s) for x, s in zip(bs, sums, strict=True)])
        return result

    def sums_of(part: int) -> Any:
        """One vector of each sum: of every `parts` vectors of k the one that is its own."""
        before = builder.block
        names = ("k", "fma", "rest", "done")
        test, body, last, done = (builder.append_basic_block(name) for name in names)
        builder.branch(test)
        builder.position_at_end(test)
        k = builder.phi(I64)
        k.add_incoming(number(0), before)
        acc = _variables(builder, [[ir.Constant(vector.type, None)] * C] * R, before)
        builder.cbranch(builder.icmp_signed("<", k, whole), body, last)
        builder.position_at_end(body)
        _come_back(acc, step(acc, builder.add(k, number(part * L)), None), body)
        k.add_incoming(builder.add(k, number_at_once), body)
        builder.branch(test)
        builder.position_at_end(last)
        first = builder.add(whole, number(part * L))
        rest = builder.sub(K_, first)
        ragged = builder.append_basic_block("ragged")
        builder.cbranch(builder.icmp_signed(">", rest, number(0)), ragged, done)
        builder.position_at_end(ragged)
        more = step(acc, first, vector.first(rest))
        builder.branch(done)
        builder.position_at_end(done)
        result = _variables(builder, acc, last)
        _come_back(result, more, ragged)
        return result

    # one vector after the other, so that there are registers for more sums
    of_parts = [[value for sums in sums_of(part) for value in sums] for part in range(parts)]
    while len(of_parts) > 1:  # halves to halves
        half = len(of_parts) // 2
        of_parts = [
            [builder.fadd(x, y) for x, y in zip(lower, upper, strict=True)]
            for lower, upper in zip(of_parts[:half], of_parts[half:], strict=True)
        ]
    [each] = of_parts
    each += each[:1] * (-len(each) % L)
    totals = [_added_up(vector, each[i : i + L]) for i in range(0, len(each), L)]
    place = cgutils.alloca_once(builder, ir.ArrayType(vector.type, len(totals)))
    first = builder.bitcast(place, scalar.as_pointer())
    for i, total in enumerate(totals):
        vector.store(total, at(first, number(i * L)))
    begins = [builder.load(at(in_start, c)) for c in c_]
    for i, r in enumerate(r_):
        row = at(in_out, builder.mul(r, out_down_))
        for j, c in enumerate(c_):
            value = builder.fadd(begins[j], builder.load(at(first, number(i * C + j))))
            below = builder.fcmp_ordered("<=", value, floor_)
            builder.store(builder.select(below, floor_, value), at(row, c))


@intrinsic
def correlate_tile(
    typing: Any, rows: Any, columns: Any, sums: Any, s_at: Any, s_down: Any, R: Any,
    d: Any, d_at: Any, d_down: Any, d_step: Any, x: Any, x_at: Any, x_step: Any, places: Any,
    p_at: Any, C: Any, P: Any, images: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """sums[r, c, l] += Σ_n Σ_p d[n, r, p] x[n, places[c] + p], over p that leave l divided by L.

    The L lanes of a sum have SUM_BYTES: a vector, or several of a narrower processor. The tile has
    `rows` rows and `columns` columns, both written as numbers in the call; those past R and C are
    copies of the last. d[n, r, p] is at d_at + n · d_step +
    r · d_down + p, x alike, places[c] at p_at + c, sums[r, c, l] at s_at + r · s_down + c · L + l.
    """
    n_rows, n_columns = literal(rows), literal(columns)
    n = types.intp
    signature = types.void(
        rows, columns, sums, n, n, n, d, n, n, n, x, n, n, places, n, n, n, n
    )  # fmt: skip

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        (_, _, sums_, s_at_, s_down_, R_, d_, d_at_, d_down_, d_step_, x_, x_at_, x_step_,
         places_, p_at_, C_, P_, images_) = values  # fmt: skip
        at = functools.partial(pointer_to, context, builder)
        apart(
            builder, f"correlate_tile.{n_rows}x{n_columns}.{d.dtype}",
            [at(sums, sums_, s_at_), s_down_, R_, at(d, d_, d_at_), d_down_, d_step_,
             at(x, x_, x_at_), x_step_, at(places, places_, p_at_), C_, P_, images_],
            functools.partial(_write_correlate_tile, n_rows, n_columns),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, write


def _write_correlate_tile(
    n_rows: int, n_columns: int, builder: ir.IRBuilder, values: Sequence[ir.Value]
) -> None:
    """The tile's own function."""
    (in_sums, s_down_, R_, before_d, d_down_, d_step_, before_x, x_step_, in_places, C_, P_,
     images_) = values  # fmt: skip
    vector = Vectors(builder, before_d.type.pointee, SUM_BYTES)
    at, lanes = vector.at, number(vector.lanes)

    rows_, columns_ = clamped(builder, n_rows, R_), clamped(builder, n_columns, C_)
    own = [
        [at(in_sums, builder.mul(r, s_down_), builder.mul(c, lanes)) for c in columns_]
        for r in rows_
    ]
    d_rows = [builder.mul(r, d_down_) for r in rows_]
    x_columns = [builder.load(at(in_places, c)) for c in columns_]
    whole = builder.sub(P_, builder.srem(P_, lanes))
    rest = vector.first(builder.sub(P_, whole))
    start = [[vector.load(pointer) for pointer in row] for row in own]

    names = ("image", "first", "p", "fma", "rest", "done")
    image, first, test, body, last, done = (builder.append_basic_block(m) for m in names)
    before = builder.block
    builder.branch(image)

    def step(acc: Any, d_now: ir.Value, x_now: ir.Value, p: ir.Value, mask: Any) -> Any:
        xs = [vector.load(at(x_now, c, p), mask) for c in x_columns]
        result = []
        for r, row in zip(d_rows, acc, strict=True):
            one = vector.load(at(d_now, r, p), mask)
            result.append([vector.fma(one, v, s) for v, s in zip(xs, row, strict=True)])
        return result

    builder.position_at_end(image)
    n_, d_now, x_now = _variables(builder, [[number(0), before_d, before_x]], before)[0]
    outer = _variables(builder, start, before)
    builder.cbranch(builder.icmp_signed("<", n_, images_), first, done)
    builder.position_at_end(first)
    builder.branch(test)
    builder.position_at_end(test)
    p = builder.phi(I64)
    p.add_incoming(number(0), first)
    inner = _variables(builder, outer, first)
    builder.cbranch(builder.icmp_signed("<", p, whole), body, last)
    builder.position_at_end(body)
    _come_back(inner, step(inner, d_now, x_now, p, None), body)
    p.add_incoming(builder.add(p, lanes), body)
    builder.branch(test)
    builder.position_at_end(last)
    _come_back(outer, step(inner, d_now, x_now, whole, rest), last)
    n_.add_incoming(builder.add(n_, number(1)), last)
    d_now.add_incoming(at(d_now, d_step_), last)
    x_now.add_incoming(at(x_now, x_step_), last)
    builder.branch(image)
    builder.position_at_end(done)
    for pointers, row in zip(own, outer, strict=True):
        for pointer, value in zip(pointers, row, strict=True):
            vector.store(value, pointer)


@intrinsic
def sum_of_lanes(
    typing: Any, chunks: Any, sums: Any, at: Any, step: Any
) -> tuple[Any, Callable[..., Any]]:
    """What correlate_tile has left of one sum in `chunks` places, a `step` apart, as a number.

    The places are added one after the other, and then of the lanes each one of the first half and
    its partner in the second, until one is left.
    """
    count = literal(chunks)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        _, sums_, at_, step_ = values
        scalar = context.get_value_type(sums.dtype)
        vector = Vectors(builder, scalar, SUM_BYTES)
        place = vector.at(memory(context, builder, sums, sums_), at_)
        total = vector.load(place)
        for _ in range(1, count):
            place = vector.at(place, step_)
            total = builder.fadd(total, vector.load(place))
        half = vector.lanes // 2
        while half:
            lanes = [*range(half, 2 * half), *[0] * (vector.lanes - half)]
            partner = ir.Constant(ir.VectorType(I32, vector.lanes), lanes)
            total = builder.fadd(total, builder.shuffle_vector(total, total, partner))
            half //= 2
        return builder.extract_element(total, number(0, I32))

    return sums.dtype(chunks, sums, types.intp, types.intp), write


def _added_up(vector: Vectors, sums: list[ir.Value]) -> ir.Value:
    """A vector of each vector's sum, of as many vectors as there are lanes in one.

    In each the first half is added to the second, and so on with what is left, as sum_of_lanes
    does: two vectors at a time, whose halves make one. Numbers of 16 bytes stay together until
    halves are smaller, and then halves stay within 16 bytes: other moves cost several times more.
    """
    builder, L, width = vector.builder, vector.lanes, vector.lanes
    together = 16 // vector.bytes
    groups = L // together
    # what that does to their order, undone beforehand
    sums = [sums[together * q + p] for p in range(together) for q in range(groups)]
    while len(sums) > 1:
        half = width // 2
        if half >= together:
            lower = [g + i for g in range(0, 2 * L, width) for i in range(half)]
        else:
            lower = [
                of + g + w + i
                for g in range(0, L, together)
                for of in (0, L)
                for w in range(0, together, width)
                for i in range(half)
            ]
        halves = [
            ir.Constant(ir.VectorType(I32, L), [place + up for place in lower]) for up in (0, half)
        ]
        sums = [
            builder.fadd(*(builder.shuffle_vector(x, y, places) for places in halves))
            for x, y in zip(sums[::2], sums[1::2], strict=True)
        ]
        width = half
    return sums[0]
