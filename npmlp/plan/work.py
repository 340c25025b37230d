"""How much work an entry of a plan is: floating-point operations, and bytes that must be moved.

Counted as the equations have it, a multiplication with its addition as two operations, and every
array once: what a cache saves beyond that is not in it, nor what a kernel does twice.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from npmlp.plan.tape import Action, Backward, Entry, Forward, optimizer_of, owner


class Work(NamedTuple):
    """Operations and bytes; `flops` is None where nobody has counted them."""

    flops: float | None
    bytes: float


# operations for an entry of the output, forward and backward. exp, erf and the like are counted as
# the operations of the polynomials that compute them here (kernels/gelu.py)
_EACH = {
    "relu": (1, 1),
    "gelu": (26, 40),
    "dropout": (1, 1),
    "add": (1, 0),
    "sub": (1, 1),
    "mul": (1, 2),
    "batch_norm": (9, 12),
    "batch_norm_gelu": (36, 56),
    "max_pool2d": (3, 1),
    "cross_entropy": (0, 0),
}
_OF_LOGITS = (16, 14)  # cross-entropy, for an entry of the logits: an exponential and some more
_OF_PARAMETER = {"Adam": 14, "AdamW": 15}


def work_of(entry: Entry) -> Work:
    """What an entry has to do."""
    moved = sum(a.nbytes for a in _once(entry.reads())) + sum(
        a.nbytes for a in _once(entry.writes())
    )
    if isinstance(entry, Action):
        return _of_action(entry, moved)
    assert isinstance(entry, (Forward, Backward))
    return Work(_flops(entry), moved)


def _once(arrays: list[Any]) -> list[Any]:
    return list({id(owner(a)) if a.base is not None else id(a): a for a in arrays}.values())


def _flops(entry: Forward | Backward) -> float | None:
    name, backward = entry.spec.name, isinstance(entry, Backward)
    shapes = entry.shapes if isinstance(entry, Backward) else [_shape(x) for x in entry.inputs]
    wanted = sum(entry.needs[:2]) if isinstance(entry, Backward) else 1  # products of this size
    if name in ("linear", "linear_relu", "linear_gelu"):
        m, k = shapes[1]
        rows = math.prod(shapes[0][:-1])
        activation = _EACH["gelu"][backward] if name == "linear_gelu" else 0
        return 2.0 * rows * k * m * wanted + rows * m * (1 + activation)
    if name in ("conv2d", "conv_relu_pool"):
        outs = entry.dout if isinstance(entry, Backward) else entry.outs[0]
        # of each four entries of a convolution pooling keeps one
        convolved = outs.size * (4 if name == "conv_relu_pool" else 1)
        return 2.0 * convolved * math.prod(shapes[1][1:]) * wanted + convolved
    if name == "matmul" and len(shapes[0]) == len(shapes[1]) == 2:
        return 2.0 * shapes[0][0] * math.prod(shapes[1]) * wanted
    if name == "cross_entropy":
        return float(math.prod(shapes[0]) * _OF_LOGITS[backward])
    if name in _EACH:
        size = entry.dout.size if isinstance(entry, Backward) else entry.outs[0].size
        return float(size * _EACH[name][backward])
    return None


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, np.ndarray) else ()


def _of_action(entry: Action, moved: float) -> Work:
    optimizer = optimizer_of(entry.function)
    if optimizer is not None:
        return _of_step(optimizer)
    if entry.name == "clip gradients":  # read for the norm; read and written if that is too large
        grads = [a for a in (*entry.changes, *entry.makes) if a.ndim]
        return Work(3.0 * sum(a.size for a in grads), 3.0 * sum(a.nbytes for a in grads))
    if entry.name == "take images":  # of all images those of a batch; two divisions and a minus
        *_, index, x, y = entry.arguments
        return Work(3.0 * x.size, x.size + x.nbytes + index.nbytes + 2.0 * y.nbytes)
    return Work(None, moved)


def _of_step(optimizer: Any) -> Work:
    """Parameters and states are read and written, gradients read."""
    flops = moved = 0.0
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p._grad is None:
                continue
            state = [t._data for t in optimizer.state.get(p, {}).values() if hasattr(t, "_data")]
            states = sum(a.shape == p._data.shape and a.ndim > 0 for a in state)
            flops += p._data.size * _OF_PARAMETER.get(type(optimizer).__name__, 2 + 3 * states)
            moved += p._data.nbytes * (3 + 2 * states)
    return Work(flops, moved)
