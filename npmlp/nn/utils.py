"""Gradient clipping: keep the step of an optimizer bounded where gradients explode."""

from __future__ import annotations

import functools
import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from npmlp import config, dtypes
from npmlp.autograd import no_grad
from npmlp.errors import RunError
from npmlp.kernels.tables import LIKE, Table, place_of
from npmlp.ops.spec import Array
from npmlp.recording import Repeatable, cannot, do, now
from npmlp.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


@no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, taken together as one vector, down to a norm of `max_norm` at most.

    grad ← grad · min(1, max_norm / (norm + 1e-6))

    Parameters
    ----------
    parameters : a Tensor or several; those without a gradient are passed over
    norm_type : the norm's p, which may be infinite
    error_if_nonfinite : raise where the norm is infinite or NaN
    foreach : accepted, and changes nothing here

    Returns: the norm before clipping, a 0-dimensional Tensor.
    Raises: RunError, for `error_if_nonfinite`.

    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural
    networks, algorithm 1.
    """
    if isinstance(parameters, types.GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=3,
            )
    grads = _grads(parameters)
    table = _table_of(grads)
    if now.tape is not None:
        now.tape.found_grads([parameters] if isinstance(parameters, Tensor) else parameters)
    else:
        return _clip(grads, table, max_norm, norm_type, error_if_nonfinite)
    dtypes_ = [g._data.dtype for g in grads] or [dtypes.get_default_dtype().numpy]
    total = Tensor._wrap(np.empty((), np.result_type(*dtypes_)))
    do("clip gradients", _CLIP, grads, table, max_norm, norm_type, error_if_nonfinite,
       total._data, writes=[g._data for g in grads], makes=(total._data,))  # fmt: skip
    return total


def _clip_into(
    grads: list[Tensor], table: Table | None, max_norm: float, norm_type: float,
    error_if_nonfinite: bool, total: Array,
) -> None:  # fmt: skip
    total[()] = _clip(grads, table, max_norm, norm_type, error_if_nonfinite)._data


def _will_clip(grads: list[Tensor], *_: Any) -> None:
    for grad in grads:
        grad._storage.version += 1


def _clip_later(
    grads: list[Tensor], table: Table | None, max_norm: float, norm_type: float,
    error_if_nonfinite: bool, total: Array,
) -> bool:  # fmt: skip
    if table is None or norm_type != 2 or error_if_nonfinite:
        return False
    from npmlp.kernels.calls import call

    call(_compiled().clip, table.rows, table.like, float(max_norm), total)
    return True


_CLIP = Repeatable(_clip_into, first=_will_clip, keep=_clip_later)


def _clip(
    grads: list[Tensor],
    table: Table | None,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """The rest of clip_grad_norm_, with the gradients and their table."""
    total = _total_norm(grads, table, norm_type, error_if_nonfinite)
    _scale(grads, table, max_norm, total)
    return total


@no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of several tensors taken together as one vector; see clip_grad_norm_."""
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _total_norm(listed, _table_of(listed), norm_type, error_if_nonfinite)


def _total_norm(
    tensors: list[Tensor], table: Table | None, norm_type: float, error_if_nonfinite: bool
) -> Tensor:
    if not tensors:
        return Tensor._wrap(np.zeros((), dtypes.get_default_dtype().numpy))
    p = float(norm_type)
    # the norm of the norms, each in its tensor's dtype, as in PyTorch
    if table is not None and p == 2:
        total = np.asarray(_compiled().norm(table.rows, table.like), table.like.dtype)
    else:
        with np.errstate(all="ignore"):
            total = np.asarray(_norm(np.array([_norm(t._data, p) for t in tensors]), p))
    if error_if_nonfinite and not np.isfinite(total):
        raise RunError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite "
            "norm anyway, set `error_if_nonfinite=False`"
        )
    return Tensor._wrap(total)


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients as clip_grad_norm_ does, for a norm that is known already."""
    cannot("clip_grads_with_norm_ is not recorded; use clip_grad_norm_")
    grads = _grads(parameters)
    _scale(grads, _table_of(grads), max_norm, total_norm)


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every entry of the gradients into [-clip_value, clip_value]. NaN stays NaN."""
    cannot("clip_grad_value_ is not recorded; use clip_grad_norm_")
    limit = float(clip_value)
    for grad in _grads(parameters):
        np.clip(grad._data, -limit, limit, out=grad._data)
        grad._storage.version += 1


def _grads(parameters: Tensors) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p._grad for p in listed if p._grad is not None]


def _norm(array: Array, p: float) -> np.floating:
    """(Σ|x|^p)^(1/p), in the array's dtype."""
    dtype = array.dtype.type
    if array.size == 0:
        return dtype(0)
    if p == 2:
        config.hold_blas_at_one_thread()
        flat = array.ravel(order="K")
        return dtype(math.sqrt(np.dot(flat, flat)))
    sizes = np.abs(array)
    if math.isinf(p):
        return dtype(sizes.max() if p > 0 else sizes.min())
    if p == 0:
        return dtype(np.count_nonzero(array))
    return dtype((sizes**p).sum() ** (1 / p))


def _scale(grads: list[Tensor], table: Table | None, max_norm: float, total: Tensor) -> None:
    with np.errstate(all="ignore"):
        # one step after another in the norm's dtype, as PyTorch rounds it: x / t is x · (1 / t)
        norm = total._data
        factor = (1 / (norm + norm.dtype.type(1e-6))) * norm.dtype.type(max_norm)
        if factor >= 1:
            return
        if table is not None:
            _compiled().scale(table.rows, table.like, float(factor))
        for grad in grads:
            if table is None:
                grad._data *= grad._data.dtype.type(factor)
            grad._storage.version += 1


def _table_of(tensors: list[Tensor]) -> Table | None:
    """Where the tensors are, for compiled code that goes through all of them in one call. None if
    they differ in dtype, or if there is one whose entries do not lie in order.
    """
    if not tensors or config.get_kernels() != "numba" or tensors[0]._data.dtype not in LIKE:
        return None
    dtype = tensors[0]._data.dtype
    lines = [[t._data.size, 0, place_of(t._data, dtype)] for t in tensors]
    return Table(lines, dtype, ()) if all(line[2] for line in lines) else None


@functools.cache
def _compiled() -> Any:
    from npmlp.kernels import clip

    return clip
