"""The probe's loops: each does one thing as fast as the processor can.

Written as LLVM vectors (Numba intrinsics), so that it is certain what is measured: whole vectors,
of the widest that the processor has. Every loop leaves numbers behind that show that it ran: tests
look at them, and at the instructions. npmlp.plan.measure holds a clock to them.

Letters: L lanes, the numbers in a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from npmlp.kernels.cache import njit, prange
from npmlp.kernels.vectors import processor_features

intrinsic: Any = extending.intrinsic  # its annotations count the first argument, which no call has

Array = np.ndarray[Any, np.dtype[Any]]


# ------------------------------------------------------------------- what the processor has


def vectors_for(features: frozenset[str]) -> tuple[int, int]:
    """(bytes in a vector with a fused multiply-add, registers); no bytes where there is none."""
    if "+avx512f" in features:
        return 64, 32
    if {"+avx2", "+fma"} <= features:
        return 32, 16
    return (16, 32) if "+neon" in features else (0, 16)


FUSED_BYTES, REGISTERS = vectors_for(processor_features())
VECTOR_BYTES = FUSED_BYTES or 16
# A processor starts two multiply-adds a cycle (some of ARM's four) and has each result after four
# or five: so many chains of them must be under way, and must fit the registers with two operands
CHAINS = 24 if REGISTERS == 32 else 12
STREAMS = REGISTERS // 2  # vectors in one round of a loop over memory


# ------------------------------------------------------------------------------- the loops


class _Writer:
    """Writes vector instructions for one type of numbers."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: Any) -> None:
        self.builder, self.bits = builder, dtype.bitwidth
        self.lanes = VECTOR_BYTES * 8 // self.bits
        self.scalar = context.get_value_type(dtype)
        self.type = ir.VectorType(self.scalar, self.lanes)

    def pointer(self, memory: ir.Value, vector: ir.Value | int) -> ir.Value:
        """To the vector of that number in memory."""
        place = ir.Constant(ir.IntType(64), vector) if isinstance(vector, int) else vector
        base = self.builder.bitcast(memory, self.type.as_pointer())
        return self.builder.gep(base, [place])

    def load(self, pointer: ir.Value) -> ir.Value:
        return self.builder.load(pointer, align=self.bits // 8)

    def store(self, vector: ir.Value, pointer: ir.Value) -> None:
        self.builder.store(vector, pointer, align=self.bits // 8)

    def splat(self, number: ir.Value) -> ir.Value:
        """A vector with one number in all lanes."""
        nothing = ir.Constant(self.type, ir.Undefined)
        one = self.builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, nothing, first)

    def multiply_add(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x · y + z: fused where the processor can, else in two instructions."""
        if not FUSED_BYTES:
            return self.builder.fadd(self.builder.fmul(x, y), z)
        name = f"llvm.fma.v{self.lanes}f{self.bits}"
        type_ = ir.FunctionType(self.type, [self.type] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, type_, name), [x, y, z]
        )


def _data(context: Any, builder: ir.IRBuilder, type_: Any, array: ir.Value) -> ir.Value:
    return context.make_array(type_)(context, builder, array).data


@intrinsic
def chains(typing: Any, steps: Any, factor: Any, addend: Any, values: Any) -> Any:
    """values ← values · factor + addend, `steps` times over, in registers.

    `values` has CHAINS · L numbers: as many chains of operations, none of which waits for another.
    """
    signature = types.void(types.intp, values.dtype, values.dtype, values)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        steps_, factor_, addend_, values_ = arguments
        w = _Writer(context, builder, values.dtype)
        memory = _data(context, builder, values, values_)
        x, y = w.splat(factor_), w.splat(addend_)
        places = [w.pointer(memory, v) for v in range(CHAINS)]
        held = [cgutils.alloca_once_value(builder, w.load(place)) for place in places]
        with cgutils.for_range(builder, steps_):
            for variable in held:
                builder.store(w.multiply_add(builder.load(variable), x, y), variable)
        for variable, place in zip(held, places, strict=True):
            w.store(builder.load(variable), place)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def read(typing: Any, times: Any, memory: Any, rounds: Any, sums: Any) -> Any:
    """sums (STREAMS · L) += memory, so many numbers in a round, all rounds `times` times over."""
    signature = types.void(types.intp, memory, types.intp, memory)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        times_, memory_, rounds_, sums_ = arguments
        w = _Writer(context, builder, memory.dtype)
        source = _data(context, builder, memory, memory_)
        places = [w.pointer(_data(context, builder, memory, sums_), v) for v in range(STREAMS)]
        held = [cgutils.alloca_once_value(builder, w.load(place)) for place in places]
        with cgutils.for_range(builder, times_), cgutils.for_range(builder, rounds_) as loop:
            first = w.pointer(source, builder.mul(loop.index, loop.index.type(STREAMS)))
            for v, variable in enumerate(held):
                vector = w.load(w.pointer(first, v))
                builder.store(builder.fadd(builder.load(variable), vector), variable)
        for variable, place in zip(held, places, strict=True):
            w.store(builder.load(variable), place)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def fill(typing: Any, memory: Any, rounds: Any, value: Any) -> Any:
    """memory ← value, STREAMS vectors in a round."""
    signature = types.void(memory, types.intp, memory.dtype)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        memory_, rounds_, value_ = arguments
        w = _Writer(context, builder, memory.dtype)
        to, vector = _data(context, builder, memory, memory_), w.splat(value_)
        with cgutils.for_range(builder, rounds_) as loop:
            first = w.pointer(to, builder.mul(loop.index, loop.index.type(STREAMS)))
            for v in range(STREAMS):
                w.store(vector, w.pointer(first, v))
        return context.get_dummy_value()

    return signature, write


@intrinsic
def triad(typing: Any, b: Any, factor: Any, c: Any, rounds: Any, out: Any) -> Any:
    """out ← b · factor + c, STREAMS vectors in a round."""
    signature = types.void(b, b.dtype, b, types.intp, b)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b_, factor_, c_, rounds_, out_ = arguments
        w = _Writer(context, builder, b.dtype)
        x = w.splat(factor_)
        arrays = [_data(context, builder, b, array) for array in (b_, c_, out_)]
        with cgutils.for_range(builder, rounds_) as loop:
            start = builder.mul(loop.index, loop.index.type(STREAMS))
            b_at, c_at, out_at = (w.pointer(array, start) for array in arrays)
            for v in range(STREAMS):
                vectors = w.load(w.pointer(b_at, v)), x, w.load(w.pointer(c_at, v))
                w.store(w.multiply_add(*vectors), w.pointer(out_at, v))
        return context.get_dummy_value()

    return signature, write


# ---------------------------------------------------------------------- what is called from Python

MULTIPLY_ADD, READ, FILL, TRIAD = range(4)
ROUND = STREAMS * VECTOR_BYTES  # bytes of memory in a round


@njit(cache=True)
def _work(what: int, times: int, x: Any, y: Any, memory: Array, sums: Array) -> None:
    """One of the loops, `times` times over `memory`, whose size is a multiple of three rounds.

    MULTIPLY_ADD has `times` steps, for the first numbers of memory. READ adds to `sums`, FILL ends
    with y + times - 1 everywhere, and TRIAD computes the first third from the other two.
    """
    rounds = memory.size * memory.itemsize // ROUND
    if what == MULTIPLY_ADD:
        chains(times, x, y, memory)
    elif what == READ:
        read(times, memory, rounds, sums)
    elif what == FILL:
        for i in range(times):  # another value each time, or one time would do
            fill(memory, rounds, memory.dtype.type(y + i))
    else:
        third = memory.size // 3
        for _ in range(times):
            triad(memory[third : 2 * third], x, memory[2 * third :], rounds // 3, memory[:third])


@njit(cache=True, parallel=True)
def _work_on_threads(what: int, times: int, x: Any, y: Any, memory: Array, sums: Array) -> None:
    """`_work` on as many threads as memory (threads, size) has rows, each with its own."""
    for t in prange(memory.shape[0]):
        _work(what, times, x, y, memory[t], sums[t])


def work(what: int, times: int, x: float, y: float, memory: Array, sums: Array) -> None:
    """`_work` for each row of memory (threads, size) and sums (threads, STREAMS · L).

    Several rows need npmlp.kernels.threads.enter before.
    """
    number = memory.dtype.type
    if len(memory) == 1:
        _work(what, times, number(x), number(y), memory[0], sums[0])
    else:
        _work_on_threads(what, times, number(x), number(y), memory, sums)


@njit(cache=True)
def nothing(a: Array, b: Array, c: Array, d: Array) -> None:
    """What a call costs."""
