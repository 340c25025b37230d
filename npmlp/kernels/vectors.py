"""How wide the vectors are that the compiler makes of loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba import types
from numba.extending import intrinsic


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
