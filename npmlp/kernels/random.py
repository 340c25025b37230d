"""The loop of randperm, compiled: one swap after another is what NumPy cannot do in bulk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def shuffle(draws: NDArray[np.uint32], out: NDArray[np.int64]) -> Any:
    """Shuffle `out`, shape (N,), in place: element i changes places with one of i … N−1.

    `draws`, shape (N − 1,), says which: the one that is `draws[i] mod (N − i)` places further.
    Oracle: the loop in `npmlp.random.Generator.randperm`.
    """
    n = out.size
    for i in range(n - 1):
        j = i + np.int64(draws[i] % np.uint32(n - i))
        out[i], out[j] = out[j], out[i]
