"""What program.py needs and Numba has no word for: a call of a function by its address, words that
several threads read and write, and the processor's clock.

How a function is called by its address. Numba compiles kernel(array, 3, 0.5) into a function of
plain numbers, as C has them: a place for its result, a place for an error, then for each array its
owner twice (nobody: 0), size, itemsize, address, lengths and steps, and each number as it is. The
convention of 64-bit Unix (System V AMD64 ABI, section 3.2.3) puts the first six whole numbers and
addresses in registers, the first eight floating-point numbers in others, and what is left on the
stack, in order, eight bytes each. A caller that fills all of the registers, and puts more on the
stack than a function reads, has called it correctly: so one piece of code calls them all.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from npmlp.kernels.vectors import I32, I64, literal

WHOLE, FLOATING = 6, 8  # registers for arguments
HEAD = 2 + FLOATING + WHOLE  # address, words on the stack, registers


def _address_of(context: Any, builder: ir.IRBuilder, type_: Any, array: Any, at: Any) -> ir.Value:
    return builder.gep(context.make_array(type_)(context, builder, array).data, [at])


@intrinsic
def call_at(typing: Any, code: Any, at: Any, stack: Any) -> Any:
    """Call code[at] with the registers and `stack` words, written as a number, that follow it.

    Returns: 0, or another number where the function raised.
    """
    size = literal(stack)

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        code_, at_, _ = values
        first = _address_of(context, builder, code, code_, at_)

        def word(i: int) -> ir.Value:
            return builder.gep(first, [ir.Constant(I64, i)])

        double = ir.DoubleType()
        places = range(2 + FLOATING, HEAD + size)
        whole = [builder.load(word(i)) for i in places]
        floating = [
            builder.load(builder.bitcast(word(2 + i), double.as_pointer())) for i in range(FLOATING)
        ]
        kinds = [*[I64] * WHOLE, *[double] * FLOATING, *[I64] * size]
        type_ = ir.FunctionType(I32, kinds)
        function = builder.inttoptr(builder.load(first), type_.as_pointer())
        status = builder.call(function, [*whole[:WHOLE], *floating, *whole[WHOLE:]])
        return builder.sext(status, I64)

    return types.int64(code, types.int64, stack), write


@intrinsic
def add(typing: Any, words: Any, at: Any, value: Any) -> Any:
    """words[at] += value, in one go for all threads. Returns: what was there before."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = _address_of(context, builder, words, values[0], values[1])
        return builder.atomic_rmw("add", place, values[2], "seq_cst")

    return types.int64(words, types.int64, types.int64), write


@intrinsic
def look(typing: Any, words: Any, at: Any) -> Any:
    """words[at] as other threads have left it."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = _address_of(context, builder, words, *values)
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(words, types.int64), write


@intrinsic
def put(typing: Any, words: Any, at: Any, value: Any) -> Any:
    """words[at] = value, for other threads to see."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = _address_of(context, builder, words, values[0], values[1])
        builder.store_atomic(values[2], place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), write


def _function(name: str, result: ir.Type, doc: str) -> Any:
    """A function of the system or of LLVM without arguments."""

    @intrinsic
    def function(typing: Any) -> Any:
        def write(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            type_ = ir.FunctionType(result, [])
            found = builder.call(cgutils.get_or_insert_function(builder.module, type_, name), [])
            return found if result is I64 else context.get_dummy_value()

        return (types.int64 if result is I64 else types.void)(), write

    function.__doc__ = doc
    return function


pause = _function("llvm.x86.sse2.pause", ir.VoidType(), "Wait some cycles, as in a loop that asks.")
give_way = _function("sched_yield", I32, "Let the system run another program on this core.")
clock = _function("llvm.readcyclecounter", I64, "The processor's clock.")
