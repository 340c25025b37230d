"""The register tile: the one file here that writes LLVM itself, because NumPy's and Numba's words
end where a matrix product wants to say "these 24 registers stay where they are".

A tile is a few rows by a few vectors of `out`, held in registers while k runs: for every k it
loads its vectors of b once, and every row's entry of a is multiplied with all of them,

    acc[r][v] = fma(a[r, k], b[k, v], acc[r][v])        a fused multiply-add of a whole vector

so 3 loads of b and 8 of a serve 24 vector multiplications, where rung 3 needs a load and a store
for each. A processor core starts two such instructions per cycle, each takes four cycles, and so at
least 8 must be under way; there are 32 registers (16 without AVX-512): 8 rows × 3 vectors fill
them. Every element of out is one chain of fused additions over k = 0, 1, 2, …, whichever tile it
falls in and however wide a vector is: all machines, tiles and edges give the same bits.

The functions are Numba intrinsics: called in compiled code, each is replaced by the instructions
that it writes. Positions are counted in elements from the beginning of an array's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

# ------------------------------------------------------------------- what the processor has


def processor_features() -> frozenset[str]:
    """The features that Numba compiles for, such as "+avx2": the host's, or NUMBA_CPU_FEATURES."""
    chosen: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    text = llvm.get_host_cpu_features().flatten() if chosen is None else chosen
    return frozenset(text.split(","))


def tile_for(features: frozenset[str]) -> tuple[int, int, int]:
    """(bytes in a vector, rows, vectors) of the tile; no bytes where there is no such tile.

    Rows × vectors sums, the vectors of b and one entry of a fit the registers: 24 + 3 + 1 of 32
    with AVX-512 (whose instructions take a straight from memory) and with NEON, 12 + 2 + 1 of 16
    with AVX2.
    """
    if "+avx512f" in features:
        return 64, 8, 3
    if {"+avx2", "+fma"} <= features:
        return 32, 6, 2
    if "+neon" in features:
        return 16, 8, 3
    return 0, 0, 0


VECTOR_BYTES, ROWS, VECTORS = tile_for(processor_features())
"""Of this machine. Numba's cache of compiled code is per processor too."""


# -------------------------------------------------------------------------- a writer of vectors

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _number(value: int, type_: ir.Type = _I64) -> ir.Constant:
    return ir.Constant(type_, value)


class _Vectors:
    """Writes loads, stores and arithmetic of whole vectors of one type."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.bytes = 4 if isinstance(scalar, ir.FloatType) else 8
        self.type = ir.VectorType(scalar, lanes)
        self.pointer = self.type.as_pointer()
        self.undefined = ir.Constant(self.type, ir.Undefined)
        self.all_first = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)

    def _call(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        """One of LLVM's own functions for this type, such as llvm.fma.v16f32."""
        full = f"llvm.{name}.v{self.lanes}f{8 * self.bytes}"
        if name.startswith("masked"):
            full += ".p0"
        type_ = ir.FunctionType(result, [a.type for a in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, type_, full)
        return self.builder.call(function, arguments)

    def at(self, pointer: ir.Value, *elements: ir.Value) -> ir.Value:
        """The pointer moved on by numbers of elements."""
        for count in elements:
            pointer = self.builder.gep(pointer, [count])
        return pointer

    def first(self, count: ir.Value) -> ir.Value:
        """A mask of the first `count` lanes: none where it is below 1, all from `lanes` on."""
        vector = ir.VectorType(_I64, self.lanes)
        lane = ir.Constant(vector, list(range(self.lanes)))
        undefined = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(undefined, count, _number(0, _I32))
        counts = self.builder.shuffle_vector(one, undefined, self.all_first)
        return self.builder.icmp_signed("<", lane, counts)

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """A vector from memory; lanes outside of the mask are 0, their memory is not touched."""
        pointer = self.builder.bitcast(pointer, self.pointer)
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        zero = ir.Constant(self.type, None)
        return self._call("masked.load", self.type, pointer, _number(self.bytes, _I32), mask, zero)

    def store(self, vector: ir.Value, pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """A vector to memory; where there is a mask its lanes alone."""
        pointer = self.builder.bitcast(pointer, self.pointer)
        if mask is None:
            self.builder.store(vector, pointer, align=self.bytes)
        else:
            arguments = vector, pointer, _number(self.bytes, _I32), mask
            self._call("masked.store", ir.VoidType(), *arguments)

    def splat(self, number: ir.Value) -> ir.Value:
        """A vector with one number in all lanes."""
        one = self.builder.insert_element(self.undefined, number, _number(0, _I32))
        return self.builder.shuffle_vector(one, self.undefined, self.all_first)

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x · y + z, rounded once."""
        return self._call("fma", self.type, x, y, z)

    def interleave(self, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
        """x0 y0 x1 y1 … as two vectors."""
        indices = [i for pair in zip(range(self.lanes), range(self.lanes, 2 * self.lanes),
                                     strict=True) for i in pair]  # fmt: skip
        halves = indices[: self.lanes], indices[self.lanes :]
        low, high = [ir.Constant(ir.VectorType(_I32, self.lanes), half) for half in halves]
        return self.builder.shuffle_vector(x, y, low), self.builder.shuffle_vector(x, y, high)


def literal(argument: types.Type) -> int:
    """A number that must be known when the call is compiled."""
    if not isinstance(argument, types.IntegerLiteral):
        raise RequireLiteralValue("rows and vectors must be written as numbers")
    return int(argument.literal_value)


def _memory(context: Any, builder: ir.IRBuilder, type_: Any, array: ir.Value) -> ir.Value:
    """The address of an array's first element."""
    return context.make_array(type_)(context, builder, array).data


# ------------------------------------------------------------------------------------ the tile


@intrinsic
def product_tile(
    typing: Any, rows: Any, vectors: Any, N: Any, M: Any, K: Any,
    a: Any, a_at: Any, down: Any, along: Any, b: Any, b_at: Any, b_down: Any, places: Any,
    start: Any, start_at: Any, start_down: Any, floor: Any, out: Any, out_at: Any, out_down: Any,
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
    """
    R, V = literal(rows), literal(vectors)
    n = types.intp
    signature = types.void(
        rows, vectors, n, n, n, a, n, n, n, b, n, n, places, start, n, n, a.dtype, out, n, n
    )  # fmt: skip

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        (_, _, N_, M_, K_, a_, a_at_, down_, along_, b_, b_at_, b_down_, places_,
         start_, start_at_, start_down_, floor_, out_, out_at_, out_down_) = values  # fmt: skip
        scalar = context.get_value_type(a.dtype)
        vector = _Vectors(builder, scalar, VECTOR_BYTES * 8 // a.dtype.bitwidth)
        at = vector.at
        in_a = at(_memory(context, builder, a, a_), a_at_)
        in_b = at(_memory(context, builder, b, b_), b_at_)
        in_places = None
        if not isinstance(places, types.NoneType):
            in_places = at(_memory(context, builder, places, places_), b_down_)
        in_start = at(_memory(context, builder, start, start_), start_at_)
        in_out = at(_memory(context, builder, out, out_), out_at_)
        lanes_before = [_number(v * vector.lanes) for v in range(V)]
        last_mask = vector.first(builder.sub(M_, lanes_before[-1]))
        masks = [None] * (V - 1) + [last_mask]
        last_row = builder.sub(N_, _number(1))

        def row_of(pointer: ir.Value, step: ir.Value) -> list[ir.Value]:
            found = []
            for r in range(R):
                exists = builder.icmp_signed("<", _number(r), last_row)
                row = builder.select(exists, _number(r), last_row)
                found.append(at(pointer, builder.mul(step, row)))
            return found

        def row_vectors(pointer: ir.Value) -> list[ir.Value]:
            return [vector.load(at(pointer, lanes_before[v]), masks[v]) for v in range(V)]

        a_rows = row_of(in_a, down_)

        # for k in range(K), with everything that changes as a variable of the loop
        before = builder.block
        test, body, done = (builder.append_basic_block(name) for name in ("k", "fma", "done"))
        builder.branch(test)
        builder.position_at_end(test)

        def variable(value: ir.Value) -> ir.Value:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            return phi

        k, steps_along, b_row = variable(_number(0)), variable(_number(0)), variable(in_b)
        zero = ir.Constant(vector.type, None)
        acc = [[variable(zero) for _ in range(V)] for _ in range(R)]
        builder.cbranch(builder.icmp_signed("<", k, K_), body, done)

        builder.position_at_end(body)
        if in_places is None:
            b_vectors = row_vectors(b_row)
        else:
            b_vectors = row_vectors(at(in_b, builder.load(at(in_places, k))))
        for r in range(R):
            entry = vector.splat(builder.load(at(a_rows[r], steps_along)))
            for v in range(V):
                acc[r][v].add_incoming(vector.fma(entry, b_vectors[v], acc[r][v]), body)
        k.add_incoming(builder.add(k, _number(1)), body)
        steps_along.add_incoming(builder.add(steps_along, along_), body)
        b_row.add_incoming(at(b_row, b_down_) if in_places is None else b_row, body)
        builder.branch(test)

        builder.position_at_end(done)
        to_rows, of_rows = row_of(in_out, out_down_), row_of(in_start, start_down_)
        # all loads before the first store: rows that are missing are copies of the last one
        totals = [
            [builder.fadd(x, y) for x, y in zip(row_vectors(pointer), acc[r], strict=True)]
            for r, pointer in enumerate(of_rows)
        ]
        least = vector.splat(floor_)
        for r, pointer in enumerate(to_rows):
            for v in range(V):
                below = builder.fcmp_ordered("<=", totals[r][v], least)
                result = builder.select(below, least, totals[r][v])
                vector.store(result, at(pointer, lanes_before[v]), masks[v])
        return context.get_dummy_value()

    return signature, write


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
        vector = _Vectors(builder, scalar, VECTOR_BYTES * 8 // a.dtype.bitwidth)
        L = vector.lanes
        in_a = vector.at(_memory(context, builder, a, a_), a_at_)
        in_out = vector.at(_memory(context, builder, out, out_), out_at_)
        rows = []
        for j in range(L):
            exists = builder.icmp_signed("<", _number(j), last_)
            row = builder.select(exists, _number(j), last_)
            rows.append(vector.load(vector.at(in_a, builder.mul(row, a_down_))))
        for _ in range(L.bit_length() - 1):
            pairs = [vector.interleave(rows[j], rows[j + L // 2]) for j in range(L // 2)]
            rows = [half for pair in pairs for half in pair]
        for k, row in enumerate(rows):
            vector.store(row, vector.at(in_out, builder.mul(out_down_, _number(k))))
        return context.get_dummy_value()

    return signature, write


SUM_BYTES = 64
"""A sum over positions is kept in so many bytes of partial sums, on every processor."""


@intrinsic
def correlate_tile(
    typing: Any, rows: Any, columns: Any, sums: Any, s_at: Any, s_down: Any, R: Any,
    d: Any, d_at: Any, d_down: Any, d_step: Any, x: Any, x_at: Any, x_step: Any, places: Any,
    p_at: Any, C: Any, P: Any, images: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """sums[r, c, l] += Σ_n Σ_p d[n, r, p] x[n, places[c] + p], over p that leave l divided by L.

    The L lanes of a sum have SUM_BYTES: a vector, or several of a narrower processor, whose bits are
    then the same. The tile has `rows` rows and `columns` columns, both written as numbers in the
    call; those past R and C are copies of the last. d[n, r, p] is at d_at + n · d_step +
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
        scalar = context.get_value_type(d.dtype)
        vector = _Vectors(builder, scalar, SUM_BYTES * 8 // d.dtype.bitwidth)
        at, lanes = vector.at, _number(vector.lanes)

        def clamped(i: int, count: ir.Value) -> ir.Value:
            last = builder.sub(count, _number(1))
            return builder.select(builder.icmp_signed("<", _number(i), last), _number(i), last)

        rows_ = [clamped(r, R_) for r in range(n_rows)]
        columns_ = [clamped(c, C_) for c in range(n_columns)]
        in_sums = at(_memory(context, builder, sums, sums_), s_at_)
        own = [
            [at(in_sums, builder.mul(r, s_down_), builder.mul(c, lanes)) for c in columns_]
            for r in rows_
        ]
        in_places = at(_memory(context, builder, places, places_), p_at_)
        d_rows = [builder.mul(r, d_down_) for r in rows_]
        x_columns = [builder.load(at(in_places, c)) for c in columns_]
        before_d = at(_memory(context, builder, d, d_), d_at_)
        before_x = at(_memory(context, builder, x, x_), x_at_)
        whole = builder.sub(P_, builder.srem(P_, lanes))
        rest = vector.first(builder.sub(P_, whole))
        start = [[vector.load(pointer) for pointer in row] for row in own]

        names = ("image", "first", "p", "fma", "rest", "done")
        image, first, test, body, last, done = (builder.append_basic_block(m) for m in names)
        before = builder.block
        builder.branch(image)

        def variables(values: Any, from_: ir.Block) -> Any:
            found = [[builder.phi(v.type) for v in row] for row in values]
            for phis, row in zip(found, values, strict=True):
                for phi, value in zip(phis, row, strict=True):
                    phi.add_incoming(value, from_)
            return found

        def come_back(phis: Any, values: Any, from_: ir.Block) -> None:
            for row, new in zip(phis, values, strict=True):
                for phi, value in zip(row, new, strict=True):
                    phi.add_incoming(value, from_)

        def step(acc: Any, d_now: ir.Value, x_now: ir.Value, p: ir.Value, mask: Any) -> Any:
            xs = [vector.load(at(x_now, c, p), mask) for c in x_columns]
            result = []
            for r, row in zip(d_rows, acc, strict=True):
                one = vector.load(at(d_now, r, p), mask)
                result.append([vector.fma(one, v, s) for v, s in zip(xs, row, strict=True)])
            return result

        builder.position_at_end(image)
        n_, d_now, x_now = variables([[_number(0), before_d, before_x]], before)[0]
        outer = variables(start, before)
        builder.cbranch(builder.icmp_signed("<", n_, images_), first, done)
        builder.position_at_end(first)
        builder.branch(test)
        builder.position_at_end(test)
        p = builder.phi(_I64)
        p.add_incoming(_number(0), first)
        inner = variables(outer, first)
        builder.cbranch(builder.icmp_signed("<", p, whole), body, last)
        builder.position_at_end(body)
        come_back(inner, step(inner, d_now, x_now, p, None), body)
        p.add_incoming(builder.add(p, lanes), body)
        builder.branch(test)
        builder.position_at_end(last)
        come_back(outer, step(inner, d_now, x_now, whole, rest), last)
        n_.add_incoming(builder.add(n_, _number(1)), last)
        d_now.add_incoming(at(d_now, d_step_), last)
        x_now.add_incoming(at(x_now, x_step_), last)
        builder.branch(image)
        builder.position_at_end(done)
        for pointers, row in zip(own, outer, strict=True):
            for pointer, value in zip(pointers, row, strict=True):
                vector.store(value, pointer)
        return context.get_dummy_value()

    return signature, write


def _added_up(vector: _Vectors, sums: list[ir.Value]) -> list[ir.Value]:
    """Each vector's sum, of as many vectors as there are lanes in one. In each the first half is
    added to the second, and so on with what is left, as sum_of_lanes does: two vectors at a time,
    whose halves make one.
    """
    builder, L, width = vector.builder, vector.lanes, vector.lanes
    while len(sums) > 1:
        half = width // 2
        lower = [g + i for g in range(0, 2 * L, width) for i in range(half)]
        halves = [
            ir.Constant(ir.VectorType(_I32, L), [place + up for place in lower]) for up in (0, half)
        ]
        sums = [
            builder.fadd(*(builder.shuffle_vector(x, y, places) for places in halves))
            for x, y in zip(sums[::2], sums[1::2], strict=True)
        ]
        width = half
    return sums


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
        scalar = context.get_value_type(a.dtype)
        vector = _Vectors(builder, scalar, SUM_BYTES * 8 // a.dtype.bitwidth)
        at, L = vector.at, vector.lanes

        def clamped(count: int, there_are: ir.Value) -> list[ir.Value]:
            last = builder.sub(there_are, _number(1))
            return [
                builder.select(builder.icmp_signed("<", _number(i), last), _number(i), last)
                for i in range(count)
            ]

        r_, c_ = clamped(R, N_), clamped(C, M_)
        in_a = at(_memory(context, builder, a, a_), a_at_)
        in_b = at(_memory(context, builder, b, b_), b_at_)
        a_rows = [at(in_a, builder.mul(r, a_down_)) for r in r_]
        b_rows = [at(in_b, builder.mul(c, b_down_)) for c in c_]
        whole = builder.sub(K_, builder.srem(K_, _number(L)))
        rest = vector.first(builder.sub(K_, whole))

        def step(acc: Any, k: ir.Value, mask: Any) -> Any:
            bs = [vector.load(at(row, k), mask) for row in b_rows]
            result = []
            for row, sums in zip(a_rows, acc, strict=True):
                one = vector.load(at(row, k), mask)
                result.append([vector.fma(one, x, s) for x, s in zip(bs, sums, strict=True)])
            return result

        before = builder.block
        test, body, done = (builder.append_basic_block(name) for name in ("k", "fma", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        k = builder.phi(_I64)
        k.add_incoming(_number(0), before)
        zero = ir.Constant(vector.type, None)
        acc = [[builder.phi(vector.type) for _ in range(C)] for _ in range(R)]
        for sums in acc:
            for phi in sums:
                phi.add_incoming(zero, before)
        builder.cbranch(builder.icmp_signed("<", k, whole), body, done)
        builder.position_at_end(body)
        for phis, sums in zip(acc, step(acc, k, None), strict=True):
            for phi, value in zip(phis, sums, strict=True):
                phi.add_incoming(value, body)
        k.add_incoming(builder.add(k, _number(L)), body)
        builder.branch(test)
        builder.position_at_end(done)

        each = [value for sums in step(acc, whole, rest) for value in sums]
        each += each[:1] * (-len(each) % L)
        totals = [_added_up(vector, each[i : i + L])[0] for i in range(0, len(each), L)]
        place = cgutils.alloca_once(builder, ir.ArrayType(vector.type, len(totals)))
        first = builder.bitcast(place, scalar.as_pointer())
        for i, total in enumerate(totals):
            vector.store(total, at(first, _number(i * L)))
        in_start = at(_memory(context, builder, start, start_), start_at_)
        begins = [builder.load(at(in_start, c)) for c in c_]
        in_out = at(_memory(context, builder, out, out_), out_at_)
        for i, r in enumerate(r_):
            row = at(in_out, builder.mul(r, out_down_))
            for j, c in enumerate(c_):
                value = builder.fadd(begins[j], builder.load(at(first, _number(i * C + j))))
                below = builder.fcmp_ordered("<=", value, floor_)
                builder.store(builder.select(below, floor_, value), at(row, c))
        return context.get_dummy_value()

    return signature, write


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
        vector = _Vectors(builder, scalar, SUM_BYTES * 8 // sums.dtype.bitwidth)
        place = vector.at(_memory(context, builder, sums, sums_), at_)
        total = vector.load(place)
        for _ in range(1, count):
            place = vector.at(place, step_)
            total = builder.fadd(total, vector.load(place))
        half = vector.lanes // 2
        while half:
            partner = ir.Constant(
                ir.VectorType(_I32, vector.lanes), [*range(half, 2 * half), *[0] * (vector.lanes - half)]
            )  # fmt: skip
            total = builder.fadd(total, builder.shuffle_vector(total, total, partner))
            half //= 2
        return builder.extract_element(total, _number(0, _I32))

    return sums.dtype(chunks, sums, types.intp, types.intp), write


@intrinsic
def pool_tile(
    typing: Any, x: Any, x_at: Any, down: Any, W: Any, number: Any, out: Any, indices: Any,
    out_at: Any, count: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[o] = the largest of the four entries of x at 2 o and 2 o + 1 of two lines, for o < count.

    The first line begins at x_at, the second `down` later. indices[o] is where it was in a plane of
    lines W long, in which the first entry has `number`. One entry after another takes the place of
    the largest so far if it is larger, or NaN: so does PyTorch.
    """
    n = types.intp
    signature = types.void(x, n, n, n, n, out, indices, n, n)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        x_, x_at_, down_, W_, number_, out_, indices_, out_at_, count_ = values
        scalar = context.get_value_type(x.dtype)
        vector = _Vectors(builder, scalar, SUM_BYTES * 8 // x.dtype.bitwidth)
        L = vector.lanes
        whole = ir.VectorType(_I64, L)
        in_x = vector.at(_memory(context, builder, x, x_), x_at_)
        in_out = vector.at(_memory(context, builder, out, out_), out_at_)
        in_indices = vector.at(_memory(context, builder, indices, indices_), out_at_)

        def splat(value: ir.Value) -> ir.Value:
            undefined = ir.Constant(whole, ir.Undefined)
            one = builder.insert_element(undefined, value, _number(0, _I32))
            return builder.shuffle_vector(one, undefined, vector.all_first)

        def chosen(first: ir.Value, second: ir.Value, odd: int) -> ir.Value:
            places = ir.Constant(ir.VectorType(_I32, L), [2 * i + odd for i in range(L)])
            return builder.shuffle_vector(first, second, places)

        with cgutils.for_range_slice(
            builder, _number(0), count_, _number(L), intp=_I64
        ) as (o, _):  # fmt: skip
            left = builder.sub(count_, o)
            two = builder.mul(left, _number(2))
            masks = vector.first(two), vector.first(builder.sub(two, _number(L)))
            line = vector.at(in_x, builder.mul(o, _number(2)))
            entries = []
            for pointer in (line, vector.at(line, down_)):
                halves = [
                    vector.load(vector.at(pointer, _number(h * L)), masks[h]) for h in (0, 1)
                ]
                entries += [chosen(*halves, odd) for odd in (0, 1)]
            ways = [_number(0), _number(1), W_, builder.add(W_, _number(1))]
            best, way = entries[0], splat(ways[0])
            for entry, its_way in zip(entries[1:], ways[1:], strict=True):
                larger = builder.fcmp_ordered(">", entry, best)
                taken = builder.or_(larger, builder.fcmp_unordered("uno", entry, entry))
                best = builder.select(taken, entry, best)
                way = builder.select(taken, splat(its_way), way)
            twice = ir.Constant(whole, [2 * i for i in range(L)])
            first = splat(builder.add(number_, builder.mul(o, _number(2))))
            way = builder.add(way, builder.add(first, twice))
            mask = vector.first(left)
            vector.store(best, vector.at(in_out, o), mask)
            place = builder.bitcast(vector.at(in_indices, o), whole.as_pointer())
            name = f"llvm.masked.store.v{L}i64.p0"
            arguments = [way, place, _number(8, _I32), mask]
            type_ = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, type_, name), arguments)
        return context.get_dummy_value()

    return signature, write


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
        vector = _Vectors(builder, scalar, SUM_BYTES * 8 // to.dtype.bitwidth)
        lanes = _number(vector.lanes)
        whole = builder.sub(count_, builder.srem(count_, lanes))
        mask = vector.first(builder.sub(count_, whole))
        of = vector.at(_memory(context, builder, source, source_), s_at_)
        at = vector.at(_memory(context, builder, to, to_), t_at_)
        with cgutils.for_range(builder, lines_, intp=_I64) as line:
            of_line = vector.at(of, builder.mul(line.index, s_down_))
            to_line = vector.at(at, builder.mul(line.index, t_down_))
            with cgutils.for_range_slice(
                builder, _number(0), whole, lanes, intp=_I64
            ) as (j, _):  # fmt: skip
                vector.store(vector.load(vector.at(of_line, j)), vector.at(to_line, j))
            vector.store(
                vector.load(vector.at(of_line, whole), mask), vector.at(to_line, whole), mask
            )
        return context.get_dummy_value()

    return signature, write
