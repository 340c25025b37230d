"""Vectors in LLVM's own words, for what NumPy's and Numba's cannot say: "these 24 registers stay
where they are", or "this vector's first five lanes".

Other files write with them: tile.py the matrix product, sums.py products whose sums are in lanes,
lines.py short lines, and more. Their functions are Numba intrinsics: called in compiled code, each
is replaced by the instructions that it writes. Positions are counted in elements from the beginning
of an array's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.core.imputils import impl_ret_borrowed
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

MANY_REGISTERS = VECTOR_BYTES == 64
"""Whether masks have registers of their own, and every instruction takes one: AVX-512."""

LINE = 64
"""Bytes that a processor fetches from memory at once, and keeps together."""


# -------------------------------------------------------------------------- a writer of vectors

I32, I64 = ir.IntType(32), ir.IntType(64)


def number(value: int, type_: ir.Type = I64) -> ir.Constant:
    return ir.Constant(type_, value)


class Vectors:
    """Writes loads, stores and arithmetic of whole vectors of one type."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, width: int) -> None:
        """Of numbers of this type, as many as a width in bytes has room for."""
        self.builder = builder
        self.bytes = 4 if isinstance(scalar, ir.FloatType) else 8
        self.lanes = lanes = width // self.bytes
        self.type = ir.VectorType(scalar, lanes)
        self.pointer = self.type.as_pointer()
        self.undefined = ir.Constant(self.type, ir.Undefined)
        self.all_first = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)

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
        vector = ir.VectorType(I64, self.lanes)
        lane = ir.Constant(vector, list(range(self.lanes)))
        undefined = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(undefined, count, number(0, I32))
        counts = self.builder.shuffle_vector(one, undefined, self.all_first)
        return self.builder.icmp_signed("<", lane, counts)

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """A vector from memory; lanes outside of the mask are 0, their memory is not touched."""
        pointer = self.builder.bitcast(pointer, self.pointer)
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        zero = ir.Constant(self.type, None)
        return self._call("masked.load", self.type, pointer, number(self.bytes, I32), mask, zero)

    def store(self, vector: ir.Value, pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """A vector to memory; where there is a mask its lanes alone."""
        pointer = self.builder.bitcast(pointer, self.pointer)
        if mask is None:
            self.builder.store(vector, pointer, align=self.bytes)
        else:
            arguments = vector, pointer, number(self.bytes, I32), mask
            self._call("masked.store", ir.VoidType(), *arguments)

    def splat(self, value: ir.Value) -> ir.Value:
        """A vector with one number in all lanes."""
        one = self.builder.insert_element(self.undefined, value, number(0, I32))
        return self.builder.shuffle_vector(one, self.undefined, self.all_first)

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x · y + z, rounded once."""
        return self._call("fma", self.type, x, y, z)

    def interleave(self, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
        """x0 y0 x1 y1 … as two vectors."""
        indices = [i for pair in zip(range(self.lanes), range(self.lanes, 2 * self.lanes),
                                     strict=True) for i in pair]  # fmt: skip
        halves = indices[: self.lanes], indices[self.lanes :]
        low, high = [ir.Constant(ir.VectorType(I32, self.lanes), half) for half in halves]
        return self.builder.shuffle_vector(x, y, low), self.builder.shuffle_vector(x, y, high)


def ask_for(builder: ir.IRBuilder, pointer: ir.Value, cache: int = 2) -> None:
    """Have the processor fetch a line of memory into its first or second cache, and not wait."""
    place = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    to_read, nearness, as_data = 0, 4 - cache, 1
    arguments = [place, *(number(value, I32) for value in (to_read, nearness, as_data))]
    type_ = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    function = cgutils.get_or_insert_function(builder.module, type_, "llvm.prefetch.p0")
    builder.call(function, arguments)


def with_masks(
    builder: ir.IRBuilder, is_whole: ir.Value, masks: Sequence[ir.Value | None],
    write: Callable[[Sequence[ir.Value | None]], None],
) -> None:  # fmt: skip
    """Write code whose vectors are masked; and once more, for when they are whole, without masks.

    With AVX-512 a mask costs nothing, and once is enough. Before it, a mask takes a register, and a
    store with one as long as ten without.
    """
    if MANY_REGISTERS:
        write(masks)
        return
    with builder.if_else(is_whole) as (whole, ragged):
        with whole:
            write([None] * len(masks))
        with ragged:
            write(masks)


def as_it_is(builder: ir.IRBuilder, back: ir.Instruction) -> None:
    """Have the compiler leave a loop, known by its jump back, unrolled no further."""
    module = builder.module
    no_unrolling = module.add_metadata(["llvm.loop.unroll.disable"])
    # the list that names a loop is like no other in that its first member is itself
    name = module.add_metadata([no_unrolling, number(len(module.metadata))])
    name.operands = (name, no_unrolling)
    back.set_metadata("llvm.loop", name)


def literal(argument: types.Type) -> int:
    """A number that must be known when the call is compiled."""
    if not isinstance(argument, types.IntegerLiteral):
        raise RequireLiteralValue("rows and vectors must be written as numbers")
    return int(argument.literal_value)


def memory(context: Any, builder: ir.IRBuilder, type_: Any, array: ir.Value) -> ir.Value:
    """The address of an array's first element."""
    return context.make_array(type_)(context, builder, array).data


def pointer_to(
    context: Any, builder: ir.IRBuilder, type_: Any, array: ir.Value, at: ir.Value
) -> ir.Value:
    """The address of an array's element at a position."""
    return builder.gep(memory(context, builder, type_, array), [at])


def clamped(builder: ir.IRBuilder, count: int, there_are: ir.Value) -> list[ir.Value]:
    """0 … count - 1, those that there are not as the last: a tile's rows at an edge."""
    last = builder.sub(there_are, number(1))
    return [
        builder.select(builder.icmp_signed("<", number(i), last), number(i), last)
        for i in range(count)
    ]


def apart(
    builder: ir.IRBuilder, name: str, arguments: Sequence[ir.Value],
    write: Callable[[ir.IRBuilder, Sequence[ir.Value]], None],
) -> None:  # fmt: skip
    """Write code as a function of its own, once in a module, and call it.

    The compiler gives out registers function by function. A tile needs nearly all of them: in the
    middle of other code, which wants some as well, its sums end up on the stack, and a step waits
    for them to be stored and loaded. That halves the speed, and by how much it does depends on
    where the stack happens to begin.
    """
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        type_ = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
        function = ir.Function(module, type_, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        own = ir.IRBuilder(function.append_basic_block("entry"))
        write(own, function.args)
        own.ret_void()
    builder.call(function, arguments)


# --------------------------------------------------------------------- words for loops in Numba


@intrinsic
def wide(typing: Any) -> tuple[Any, Callable[..., Any]]:
    """In compiled code, at the beginning of a function: its loops may use the widest registers.

    For processors with AVX-512 the compiler prefers half of a register's 64 bytes, since the first
    of them ran slower with whole ones. The matrix products use whole ones anyway; GELU's slope is
    1.7 times as fast with them. No number depends on it, unless a sum may be reassociated.
    """

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        # a set of names that llvmlite knows; LLVM has more, which are written in quotes
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), write


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> tuple[Any, Callable[..., Any]]:
    """x · y + z of three numbers of one type, rounded once."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return x(x, x, x), write


@intrinsic
def prefetch(typing: Any, x: Any, at: Any) -> tuple[Any, Callable[..., Any]]:
    """`ask_for` x[at]."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        ask_for(builder, pointer_to(context, builder, x, *values))
        return context.get_dummy_value()

    return types.void(x, types.intp), write


@intrinsic
def as_writable(typing: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    """x itself, whose type now says that it may be written, though it will not be.

    To Numba read-only arrays are another type, and one variable cannot be this here and that there.
    """

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return impl_ret_borrowed(context, builder, signature.return_type, values[0])

    return x.copy(readonly=False)(x), write
