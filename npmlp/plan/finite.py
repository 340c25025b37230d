"""A condition in the middle of a step, which a plan keeps as well."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp import config, recording
from npmlp.ops.spec import Array
from npmlp.tensor import Tensor


def require_finite(t: Tensor) -> None:
    """Go on with the step only if all numbers of a tensor are finite.

    A replay of the step stops there, too: called between a loss and the optimizer's step, it leaves
    the weights as they were.

    Raises: FloatingPointError, where an entry of t is infinite or NaN.
    """
    recording.do("require finite", _REQUIRE, t._data)


def _run(x: Array) -> None:
    if not np.isfinite(x).all():
        raise FloatingPointError("not finite")


def _keep(x: Array) -> bool:
    if config.get_kernels() != "numba":
        return False
    from npmlp.kernels.calls import call
    from npmlp.kernels.loss import require_finite as compiled

    call(compiled, x)
    return True


def _first(x: Array) -> Any:
    """What it looks at has not been computed yet."""


_REQUIRE = recording.Repeatable(_run, _first, _keep)
