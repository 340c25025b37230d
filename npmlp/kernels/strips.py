"""Columns of a matrix, a vector of them wide: what BatchNorm of features does with each channel.

Channels are columns, a batch has some hundred rows, and a thread has some of the columns. A loop in
Numba's words over a short piece of a row takes as long to begin as to run. Here a strip of columns
is as wide as a vector, and goes down all rows with whatever belongs to the columns, mean, weight or
sums, in registers. `whole` says whether all lanes of the vector are columns, and is written as a
number in the call, 1 or 0; of `count` columns the others are masked.

x[i, j] is at x_at + i · x_down + j, other matrices alike; what belongs to columns is read from `at`
on. Each operation rounds as it is written: nothing is fused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.scratch import SUM_BYTES
from npmlp.kernels.vectors import I32, I64, Vectors, apart, literal, number, pointer_to

_DOUBLE, _BYTE = ir.DoubleType(), ir.IntType(8)


class _Strip:
    """Writes loads and stores of one strip."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, whole: int, count: ir.Value) -> None:
        self.builder, self.vector = builder, Vectors(builder, scalar, SUM_BYTES)
        self.lanes = self.vector.lanes
        self.doubles = Vectors(builder, _DOUBLE, 8 * self.lanes)
        self.mask = None if whole else self.vector.first(count)

    def load(self, pointer: ir.Value) -> ir.Value:
        return self._of(pointer).load(pointer, self.mask)

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        self._of(pointer).store(value, pointer, self.mask)

    def _of(self, pointer: ir.Value) -> Vectors:
        return self.doubles if pointer.type.pointee == _DOUBLE else self.vector

    def kept(self, value: ir.Value, keep: Any, row: Any, scale: ir.Value) -> ir.Value:
        """A value times scale where a boolean matrix, a pointer and a step, keeps it, else times 0;
        as it is where there is no such matrix.
        """
        pointer, down = keep
        if pointer is None:
            return value
        type_ = ir.VectorType(_BYTE, self.lanes)
        place = self.builder.bitcast(self.at(pointer, row, down), type_.as_pointer())
        nothing = ir.Constant(type_, None)
        if self.mask is None:
            found = self.builder.load(place, align=1)
        else:
            arguments = [place, number(1, I32), self.mask, nothing]
            name = f"llvm.masked.load.v{self.lanes}i8.p0"
            function = cgutils.get_or_insert_function(
                self.builder.module, ir.FunctionType(type_, [a.type for a in arguments]), name
            )
            found = self.builder.call(function, arguments)
        is_kept = self.builder.icmp_unsigned("!=", found, nothing)
        zero = ir.Constant(self.vector.type, None)
        return self.builder.fmul(value, self.builder.select(is_kept, scale, zero))

    def double(self, value: ir.Value) -> ir.Value:
        """In double precision."""
        if value.type.element == _DOUBLE:
            return value
        return self.builder.fpext(value, self.doubles.type)

    @contextlib.contextmanager
    def sum(self, total: ir.Value) -> Iterator[ir.Value]:
        """A place for sums in double precision, kept in registers, that go on from total's."""
        place = cgutils.alloca_once(self.builder, self.doubles.type)
        self.builder.store(self.load(total), place)
        yield place
        self.store(self.builder.load(place), total)

    def add(self, value: ir.Value, place: ir.Value) -> None:
        self.builder.store(self.builder.fadd(self.builder.load(place), value), place)

    def rows(self, count: ir.Value) -> Any:
        """A loop over rows."""
        return cgutils.for_range(self.builder, count, intp=I64)

    def at(self, pointer: ir.Value, row: Any, down: ir.Value) -> ir.Value:
        return self.vector.at(pointer, self.builder.mul(row.index, down))


Write = Callable[[_Strip, ir.Value, Any, Sequence[Any]], None]


def _typed(
    name: str, whole: Any, matrices: Sequence[Any], columns: Sequence[Any], write: Write
) -> tuple[Any, Callable[..., Any]]:
    """What an intrinsic below is: its signature, and its instructions as a function apart.

    Its arguments are whole, count, rows; array, position and step from row to row of each matrix;
    the array of each column; at. Of the types of arrays some may be None's: such a pointer is None
    for `write(strip, rows, pairs of pointer and step of the matrices, pointers of the columns)`.
    """
    n, is_whole, scalar = types.intp, literal(whole), matrices[0].dtype
    places = [part for kind in matrices for part in (kind, n, n)]
    signature = types.void(whole, n, n, *places, *columns, n)
    there = [not isinstance(kind, types.NoneType) for kind in (*matrices, *columns)]
    M = len(matrices)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        _, count, rows, *rest, at = values
        of_matrices, of_columns = rest[: 3 * M], rest[3 * M :]
        given = [*of_matrices[::3], *of_columns]
        begins = [*of_matrices[1::3], *[at] * len(columns)]
        pointers = [
            pointer_to(context, builder, kind, array, begin)
            for kind, array, begin, is_there in zip(
                (*matrices, *columns), given, begins, there, strict=True
            )
            if is_there
        ]

        def inside(own: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
            count_, rows_, *others = arguments
            left = iter(others[M:])
            found = [next(left) if is_there else None for is_there in there]
            strip = _Strip(own, context.get_value_type(scalar), is_whole, count_)
            write(strip, rows_, list(zip(found[:M], others[:M], strict=True)), found[M:])

        which = "".join("x" if is_there else "-" for is_there in there)
        arguments = [count, rows, *of_matrices[2::3], *pointers]
        apart(builder, f"{name}_strip.{is_whole}.{scalar}.{which}", arguments, inside)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def total_strip(
    typing: Any, whole: Any, count: Any, rows: Any, x: Any, x_at: Any, x_down: Any, m: Any,
    total: Any, at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """total[j] += Σ_i x[i, j] in double precision; with m, not None, Σ_i (x[i, j] - m[j])²."""

    def write(strip: _Strip, rows: ir.Value, matrices: Any, columns: Any) -> None:
        ((x, x_down),), (m, total) = matrices, columns
        build = strip.builder
        mean = None if m is None else strip.double(strip.load(m))
        with strip.sum(total) as place, strip.rows(rows) as row:
            value = strip.double(strip.load(strip.at(x, row, x_down)))
            if mean is not None:
                value = build.fsub(value, mean)
                value = build.fmul(value, value)
            strip.add(value, place)

    return _typed("total", whole, (x,), (m, total), write)


@intrinsic
def affine_strip(
    typing: Any, whole: Any, count: Any, rows: Any, x: Any, x_at: Any, x_down: Any, z: Any,
    z_at: Any, z_down: Any, m: Any, s: Any, w: Any, b: Any, at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """z[i, j] = (x[i, j] - m[j]) s[j] w[j] + b[j]."""

    def write(strip: _Strip, rows: ir.Value, matrices: Any, columns: Any) -> None:
        (x, x_down), (z, z_down) = matrices
        m, s, w, b = map(strip.load, columns)
        build = strip.builder
        with strip.rows(rows) as row:
            value = build.fsub(strip.load(strip.at(x, row, x_down)), m)
            value = build.fadd(build.fmul(build.fmul(value, s), w), b)
            strip.store(value, strip.at(z, row, z_down))

    return _typed("affine", whole, (x, z), (m, s, w, b), write)


@intrinsic
def kept_strip(
    typing: Any, whole: Any, count: Any, rows: Any, z: Any, z_at: Any, z_down: Any, keep: Any,
    k_at: Any, k_down: Any, out: Any, o_at: Any, o_down: Any, scale: Any, at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[i, j] = z[i, j]; unless keep is None, times scale[j] where keep[i, j], else times 0."""

    def write(strip: _Strip, rows: ir.Value, matrices: Any, columns: Any) -> None:
        (z, z_down), keep, (out, out_down) = matrices
        (scale,) = map(strip.load, columns)
        with strip.rows(rows) as row:
            value = strip.kept(strip.load(strip.at(z, row, z_down)), keep, row, scale)
            strip.store(value, strip.at(out, row, out_down))

    return _typed("kept", whole, (z, keep, out), (scale,), write)


@intrinsic
def back_strip(
    typing: Any, whole: Any, count: Any, rows: Any, given: Any, g_at: Any, g_down: Any, keep: Any,
    k_at: Any, k_down: Any, z: Any, z_at: Any, z_down: Any, x: Any, x_at: Any, x_down: Any, d: Any,
    d_at: Any, d_down: Any, scale: Any, m: Any, p: Any, q: Any, at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """d[i, j] = given[i, j] z[i, j], with scale[j] or 0 between them as in kept_strip; and in
    double precision p[j] += Σ_i d[i, j] and q[j] += Σ_i d[i, j] (x[i, j] - m[j]).
    """

    def write(strip: _Strip, rows: ir.Value, matrices: Any, columns: Any) -> None:
        (given, given_down), keep, (z, z_down), (x, x_down), (d, d_down) = matrices
        s, m, p, q = columns
        build = strip.builder
        scale, mean = strip.load(s), strip.double(strip.load(m))
        with strip.sum(p) as plain, strip.sum(q) as weighted, strip.rows(rows) as row:
            value = strip.kept(strip.load(strip.at(given, row, given_down)), keep, row, scale)
            value = build.fmul(value, strip.load(strip.at(z, row, z_down)))
            strip.store(value, strip.at(d, row, d_down))
            double = strip.double(value)
            deviation = build.fsub(strip.double(strip.load(strip.at(x, row, x_down))), mean)
            strip.add(double, plain)
            strip.add(build.fmul(double, deviation), weighted)

    return _typed("back", whole, (given, keep, z, x, d), (scale, m, p, q), write)


@intrinsic
def normal_strip(
    typing: Any, whole: Any, count: Any, rows: Any, x: Any, x_at: Any, x_down: Any, d: Any,
    d_at: Any, d_down: Any, m: Any, s: Any, w: Any, p: Any, q: Any, at: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """d[i, j] ← s[j] (d[i, j] - p[j] - (x[i, j] - m[j]) s[j] q[j]) w[j], all of one dtype."""

    def write(strip: _Strip, rows: ir.Value, matrices: Any, columns: Any) -> None:
        (x, x_down), (d, d_down) = matrices
        m, s, w, p, q = map(strip.load, columns)
        build = strip.builder
        with strip.rows(rows) as row:
            normal = build.fmul(build.fsub(strip.load(strip.at(x, row, x_down)), m), s)
            place = strip.at(d, row, d_down)
            rest = build.fsub(build.fsub(strip.load(place), p), build.fmul(normal, q))
            strip.store(build.fmul(build.fmul(s, rest), w), place)

    return _typed("normal", whole, (x, d), (m, s, w, p, q), write)
