"""Softmax cross-entropy of class indices: the loss, and the gradient with respect to the logits.

Letters: logits (N, C), target (N,), weight w (C,) per class, s label smoothing. With p = softmax
and t the target, a row costs

    (1 - s) · w_t · (-log p_t)  +  s/C · Σ_c w_c · (-log p_c)

and rows whose target is `ignore_index` cost 0. "mean" divides by the sum of w_t over the others.
Source: PyTorch docs, torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.kernels import threads
from npmlp.kernels.cache import njit
from npmlp.kernels.calls import call, in_order

Array = np.ndarray[Any, np.dtype[Any]]

_COST = 16  # of an entry with its exponential, a load and a store being 1
_THREADS_FROM = 1 << 18
_NONE = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}  # an absent weight


def cross_entropy_forward(
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    scratch: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> None:
    """outs = (loss, log-probabilities (N, C), total weight ()).

    The loss is (N,) with reduction "none", else (). Targets must be checked before: each is
    `ignore_index` or from 0 to C - 1.
    """
    logits, target, weight = inputs
    loss, log_probs, total = outs
    weight = _NONE[logits.dtype] if weight is None else weight
    _rows(_log_softmax, in_order(logits), log_probs)
    smoothing = float(label_smoothing)
    if reduction == "none":
        call(_losses, log_probs, target, weight, ignore_index, smoothing, loss, total)
    else:
        mean = reduction == "mean"
        call(_loss, log_probs, target, weight, ignore_index, smoothing, mean, loss, total)


def cross_entropy_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: tuple[Any, ...],
    grads: tuple[Any, ...],
    scratch: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> None:
    """dlogits_c = dout · (p_c · W - (1 - s) w_t [c = t] - s/C · w_c), W the sum of what is taken
    off; for "mean" divided by the total weight; 0 in ignored rows.
    """
    if grads[0] is None:
        return
    _, target, weight = inputs
    _, log_probs, total = outs
    weight = _NONE[log_probs.dtype] if weight is None else weight
    mean, smoothing = reduction == "mean", float(label_smoothing)
    _rows(
        _gradient, dout.reshape(-1), log_probs, target, weight, ignore_index, smoothing, mean,
        total, grads[0],
    )  # fmt: skip


def _rows(part: Any, *arguments: Any) -> None:
    """Call a loop over rows, in a plan on all threads. The last argument has as many."""
    out = arguments[-1]
    threads.call_on_threads(part, None, arguments, len(out), 8, _COST * out.size, _THREADS_FROM)


@njit(cache=True)
def _log_softmax(x: Array, out: Array, first: int, last: int) -> None:
    """out = x - max - log Σ e^(x - max), rows first … last: nothing overflows, and log p is exact
    where p is too small for a number. A row of -inf, or with NaN or +inf, is NaN, as in PyTorch.
    """
    C = x.shape[1]
    for n in range(first, last):
        top = x[n, 0]
        for c in range(1, C):
            top = max(top, x[n, c])
        total = x.dtype.type(0)
        for c in range(C):
            out[n, c] = x[n, c] - top
            total += np.exp(out[n, c])
        log_total = np.log(total)
        for c in range(C):
            out[n, c] -= log_total


@njit(cache=True)
def _row_loss(log_probs: Array, t: int, weight: Array, smoothing: float) -> float:
    """The loss of one row, in double precision, which sums over the batch then keep."""
    C = log_probs.shape[0]
    loss = -(1 - smoothing) * log_probs[t] * (weight[t] if weight.size else 1.0)
    if smoothing != 0:
        spread = 0.0
        for c in range(C):
            spread -= log_probs[c] * (weight[c] if weight.size else 1.0)
        loss += smoothing / C * spread
    return loss


@njit(cache=True)
def _losses(
    log_probs: Array,
    target: Array,
    weight: Array,
    ignore_index: int,
    smoothing: float,
    loss: Array,
    total: Array,
) -> None:
    taken = 0.0
    for n in range(log_probs.shape[0]):
        t = target[n]
        if t == ignore_index:
            loss[n] = 0
        else:
            loss[n] = _row_loss(log_probs[n], t, weight, smoothing)
            taken += weight[t] if weight.size else 1.0
    total[()] = taken


# error_model="numpy": the mean over no targets is NaN, as in PyTorch, and not an exception
@njit(cache=True, error_model="numpy")
def _loss(
    log_probs: Array,
    target: Array,
    weight: Array,
    ignore_index: int,
    smoothing: float,
    mean: bool,
    loss: Array,
    total: Array,
) -> None:
    taken, cost = 0.0, 0.0
    for n in range(log_probs.shape[0]):
        t = target[n]
        if t != ignore_index:
            cost += _row_loss(log_probs[n], t, weight, smoothing)
            taken += weight[t] if weight.size else 1.0
    total[()] = taken
    loss[()] = cost / taken if mean else cost


@njit(cache=True, error_model="numpy")
def _gradient(
    dout: Array,
    log_probs: Array,
    target: Array,
    weight: Array,
    ignore_index: int,
    smoothing: float,
    mean: bool,
    total: Array,
    dlogits: Array,
    first: int,
    last: int,
) -> None:
    N, C = log_probs.shape
    number = log_probs.dtype.type
    divisor = float(total[()]) if mean else 1.0
    each = 0.0  # Σ_c of what smoothing takes off each class
    for c in range(C):
        each += smoothing / C * (weight[c] if weight.size else 1.0)
    for n in range(first, last):
        t = target[n]
        if t == ignore_index:
            for c in range(C):
                dlogits[n, c] = 0
            continue
        scale = (dout[n] if dout.size == N else dout[0]) / divisor
        hit = (1 - smoothing) * (weight[t] if weight.size else 1.0)
        share, taken = number(scale * (hit + each)), number(scale * smoothing / C)
        for c in range(C):
            dlogits[n, c] = share * np.exp(log_probs[n, c])
        if smoothing != 0:
            for c in range(C):
                dlogits[n, c] -= taken * weight[c] if weight.size else taken
        dlogits[n, t] -= number(scale * hit)


@njit(cache=True)
def count_correct(logits: Array, target: Array, count: Array) -> None:
    """count = how many rows have their largest entry, the first of equals, at the target; NaN is
    most.
    """
    correct = 0
    for n in range(logits.shape[0]):
        best = 0
        for c in range(1, logits.shape[1]):
            value, most = logits[n, c], logits[n, best]
            if value > most or (np.isnan(value) and not np.isnan(most)):
                best = c
        correct += best == target[n]
    count[()] = correct


@njit(cache=True)
def all_classes(target: Array, classes: int, ignore_index: int) -> bool:
    """Whether each entry of target (N,) is from 0 to classes - 1, or the one that is ignored."""
    for n in range(target.size):
        if not 0 <= target[n] < classes and target[n] != ignore_index:
            return False
    return True


@njit()
def require_classes(target: Array, classes: int, ignore_index: int) -> None:
    """Raises ValueError unless `all_classes`."""
    if not all_classes(target, classes, ignore_index):
        raise ValueError("a class that the step computed is beyond the network's")


@njit()
def require_finite(x: Array) -> None:
    """Raises FloatingPointError where an entry of x is infinite or NaN."""
    for value in x.flat:
        if not np.isfinite(value):
            raise FloatingPointError("not finite")
