"""What a step does beside its arithmetic, and a plan keeps as well: a condition, and a count."""

from __future__ import annotations

import numpy as np

from npmlp import config, recording
from npmlp.kernels.calls import call
from npmlp.ops.spec import Array
from npmlp.tensor import Tensor


def require_finite(t: Tensor) -> None:
    """Go on with the step only if all numbers of a tensor are finite.

    A replay of the step stops there, too: called between a loss and the optimizer's step, it leaves
    the weights as they were.

    Raises: FloatingPointError, where an entry of t is infinite or NaN.
    """
    recording.do("require finite", _REQUIRE, t._data)


def count_correct(logits: Tensor, y: Tensor) -> Tensor:
    """How many rows of logits (N, C) have their largest entry, the first of equals, at y (N,).

    Returns: int64 of shape ().
    """
    correct = np.zeros((), np.int64)
    recording.do("count correct", _COUNT, logits._data, y._data, correct, makes=(correct,))
    return Tensor._wrap(correct)


def _require(x: Array) -> None:
    if not np.isfinite(x).all():
        raise FloatingPointError("not finite")


def _keep_requirement(x: Array) -> bool:
    if config.get_kernels() != "numba":
        return False
    from npmlp.kernels.loss import require_finite as compiled

    call(compiled, x)
    return True


def _count(rows: Array, classes: Array, correct: Array) -> None:
    if not _keep_count(rows, classes, correct):
        correct[...] = (rows.argmax(axis=1) == classes).sum()


def _keep_count(rows: Array, classes: Array, correct: Array) -> bool:
    if config.get_kernels() != "numba":
        return False
    from npmlp.kernels.loss import count_correct as compiled

    call(compiled, rows, classes, correct)
    return True


_REQUIRE = recording.Repeatable(_require, first=None, keep=_keep_requirement)
_COUNT = recording.Repeatable(_count, first=None, keep=_keep_count)
