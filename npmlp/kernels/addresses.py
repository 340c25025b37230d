"""An address in memory, read as an array in compiled code: how one call walks over any number of
arrays. npmlp.kernels.tables is the Python side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from npmlp.kernels.cache import njit

Array = np.ndarray[Any, np.dtype[Any]]


@intrinsic
def _pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """The int64 `address` as a pointer to entries of the dtype of `like`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.int64, like), build


@njit()
def array_at(address: int, length: int, like: Array) -> Array:
    """In compiled code: the `length` entries from `address` on as an array (length,), not copied.

    Parameters
    ----------
    address : as of tables.place_of, or some entries further
    length : 0 or more; nothing checks that so many are there
    like : any array of one dimension, whose dtype is taken and nothing else: an empty one will do

    The result does not own its memory. It is valid while whoever made the table holds the array at
    this address, and must not outlive the call.
    """
    pointer: Any = _pointer(address, like)  # type: ignore[call-arg]  # the compiler adds the context
    return carray(pointer, (length,))
