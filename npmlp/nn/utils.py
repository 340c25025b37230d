"""Gradient clipping: keep the step of an optimizer bounded where gradients explode."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable

import numpy as np

from npmlp import dtypes
from npmlp.autograd import no_grad
from npmlp.config import hold_blas_at_one_thread
from npmlp.errors import RunError
from npmlp.ops.spec import Array
from npmlp.recording import cannot, do
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
    dtypes_ = [g._data.dtype for g in grads] or [dtypes.get_default_dtype().numpy]
    total = Tensor._wrap(np.empty((), np.result_type(*dtypes_)))
    do("clip gradients", _clip, grads, max_norm, norm_type, error_if_nonfinite, total._data,
       writes=[g._data for g in grads], makes=(total._data,))  # fmt: skip
    return total


def _clip(
    grads: list[Tensor], max_norm: float, norm_type: float, error_if_nonfinite: bool, total: Array
) -> None:
    norm = get_total_norm(grads, norm_type, error_if_nonfinite)
    total[()] = norm._data
    _scale(grads, max_norm, norm)


@no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of several tensors taken together as one vector; see clip_grad_norm_."""
    arrays = [t._data for t in ([tensors] if isinstance(tensors, Tensor) else tensors)]
    if not arrays:
        return Tensor._wrap(np.zeros((), dtypes.get_default_dtype().numpy))
    p = float(norm_type)
    # the norm of the norms, each in its tensor's dtype, as in PyTorch
    with np.errstate(all="ignore"):
        total = _norm(np.array([_norm(a, p) for a in arrays]), p)
    if error_if_nonfinite and not np.isfinite(total):
        raise RunError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite "
            "norm anyway, set `error_if_nonfinite=False`"
        )
    return Tensor._wrap(np.asarray(total))


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients as clip_grad_norm_ does, for a norm that is known already."""
    cannot("clip_grads_with_norm_ is not recorded; use clip_grad_norm_")
    _scale(_grads(parameters), max_norm, total_norm)


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
        hold_blas_at_one_thread()
        flat = array.ravel(order="K")
        return dtype(math.sqrt(np.dot(flat, flat)))
    sizes = np.abs(array)
    if math.isinf(p):
        return dtype(sizes.max() if p > 0 else sizes.min())
    if p == 0:
        return dtype(np.count_nonzero(array))
    return dtype((sizes**p).sum() ** (1 / p))


def _scale(grads: list[Tensor], max_norm: float, total: Tensor) -> None:
    with np.errstate(all="ignore"):
        # one step after another in the norm's dtype, as PyTorch rounds it: x / t is x · (1 / t)
        norm = total._data
        factor = (1 / (norm + norm.dtype.type(1e-6))) * norm.dtype.type(max_norm)
        if factor >= 1:
            return
        for grad in grads:
            grad._data *= grad._data.dtype.type(factor)
            grad._storage.version += 1
