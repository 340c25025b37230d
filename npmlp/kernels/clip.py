"""Gradient clipping: the norm of all gradients together, and their scaling, each in one pass.

`rows` are a table's (npmlp.kernels.tables): number of entries, 0, address. Both passes run on the
calling thread: for the recipes' gradients they take some 10 µs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels.addresses import array_at
from npmlp.kernels.cache import njit

Array = np.ndarray[Any, np.dtype[Any]]


_CHUNK = 1024  # entries


# "reassoc" lets the compiler keep several partial sums, one for each lane of its registers, so that
# it adds at the speed of memory; how many depends on the processor and on nothing else. "contract"
# allows fused multiply-adds.
@njit(cache=True, fastmath={"contract", "reassoc"})
def _sum_of_squares(x: Array) -> float:
    """Σ x²: chunk by chunk in the dtype of x, and the chunks' sums in double precision. A lane adds
    up some tens of squares at most, so that float32 keeps its digits; NumPy's dot adds thousands.
    """
    total = 0.0
    for start in range(0, x.size, _CHUNK):
        chunk = x[start : start + _CHUNK]
        part = x.dtype.type(0)
        for i in range(chunk.size):
            part += chunk[i] * chunk[i]
        total += np.float64(part)
    return total


@njit(cache=True)
def norm(rows: Array, like: Array) -> Any:
    """The norm of the norms of all tensors, each rounded to their dtype, in the order of the rows.

    The sums are rounded as well, so that they are infinite where PyTorch's are.
    """
    number = like.dtype.type
    total = 0.0
    for row in rows:
        one = np.sqrt(number(_sum_of_squares(array_at(row[2], row[0], like))))
        total += np.float64(one) * np.float64(one)
    return np.sqrt(number(total))


@njit(cache=True)
def scale(rows: Array, like: Array, factor: float) -> None:
    """x ← factor · x for all tensors, with the factor in their dtype."""
    rounded = like.dtype.type(factor)
    for row in rows:
        x = array_at(row[2], row[0], like)
        for i in range(x.size):
            x[i] *= rounded


@njit(cache=True, error_model="numpy")
def clip(rows: Array, like: Array, max_norm: float, total: Array) -> None:
    """total[()] = the norm, and if that is above max_norm x ← max_norm / (total + 1e-6) · x: one
    operation after another in the norm's dtype, as PyTorch rounds it.
    """
    number = like.dtype.type
    found = number(norm(rows, like))
    total[()] = found
    factor = (number(1) / (found + number(1e-6))) * number(max_norm)
    if not factor >= 1:
        scale(rows, like, np.float64(factor))
