"""The one special function that NumPy lacks."""

from __future__ import annotations

import math

import numpy as np

from npmlp.ops.spec import Array

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """2/√π ∫₀ˣ e^(-t²) dt, by the C library, entry by entry; in x's dtype."""
    return np.asarray(_erf(x), dtype=x.dtype)
