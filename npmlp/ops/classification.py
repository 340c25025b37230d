"""Losses of classes: softmax cross-entropy with classes or probabilities as targets, and nll.

Letters: logits (N, C) of N examples, target (N,) of classes or (N, C, ...) of probabilities,
w (C,) the weight of each class, s label smoothing, p = softmax(logits).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.activation import log_softmax_forward
from npmlp.ops.common import check_float
from npmlp.ops.linear import floats
from npmlp.ops.loss import REDUCTIONS, reduced, reduced_shape
from npmlp.ops.reduce import SUMMED
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Kernel,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
)

PYTORCH = "PyTorch docs, torch.nn."


# ------------------------------------------------------------------------- classes as the target


def class_weights(
    target: Array, weight: Array | None, ignore_index: int, dtype: Any
) -> tuple[Array, Array, Array]:
    """Which examples count; for each its class and what it weighs, both 0 where it does not."""
    counts = target != ignore_index
    t = np.where(counts, target, 0)
    return counts, t, counts.astype(dtype) if weight is None else np.where(counts, weight[t], 0)


def nll_loss_forward(
    log_probs: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> tuple[Array, Array]:
    """-w_t log p_t; "mean" divides by the sum of w_t, which is kept."""
    counts, t, w = class_weights(target, weight, ignore_index, log_probs.dtype)
    losses = np.where(counts, -w * log_probs[np.arange(len(t)), t], 0)
    return reduced(losses, reduction, w.sum()), w.sum()


def nll_loss_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, ignore_index: int, reduction: str
) -> tuple[Any, ...]:
    log_probs, target, weight = inputs
    counts, t, w = class_weights(target, weight, ignore_index, dout.dtype)
    d = dout / outs[1] if reduction == "mean" else dout
    dlog_probs = np.zeros(log_probs.shape, dout.dtype)
    dlog_probs[np.arange(len(t)), t] = np.where(counts, -w * d, 0)
    return dlog_probs, None, None


def check_classes(op: str, shapes: Shapes, dtypes: DTypes) -> Any:
    """logits (N, C), target (N,) of int64, weight (C,). The dtype of the logits is returned."""
    x, target, weight = shapes
    if len(x) != 2 or x[1] == 0:
        raise ShapeError(f"{op}: input has shape {tuple(x)}, expected (N, C) with C at least 1")
    if target != x[:1]:
        raise ShapeError(f"{op}: target has shape {tuple(target)}, expected ({x[0]},)")
    if dtypes[1] != np.int64:
        raise DTypeError(f"{op}: target has dtype {dtypes[1].name}, expected int64")
    check_weight(op, weight, x[1])
    return check_float(op, (dtypes[0], dtypes[2]), ("input", "weight"))


def check_weight(op: str, weight: Any, classes: int) -> None:
    if weight is not None and weight != (classes,):
        raise ShapeError(
            f"{op}: weight has shape {tuple(weight)}, expected ({classes},), one per class"
        )


def nll_loss_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    dtype = check_classes("nll_loss", shapes, dtypes)
    loss = ArraySpec(reduced_shape(shapes[1], attrs["reduction"]), dtype)
    keep = (1, 2) if shapes[2] is not None else (1,)
    return Layout(
        outs=(loss, ArraySpec((), dtype)),
        keep_inputs=keep if needs[0] else (),
        keep_shapes=(0,) if needs[0] else (),
        keep_outs=(1,) if needs[0] else (),
    )


def class_samples(rng: np.random.Generator, **attrs: Any) -> list[Sample]:
    samples = []
    for n, c in [(5, 4), (1, 1), (17, 10), (0, 3)]:
        x, target = 2 * rng.standard_normal((n, c)), rng.integers(0, c, n)
        weight = 0.5 + rng.random(c)
        for reduction in REDUCTIONS if n else ("none", "sum"):  # the mean over nothing is NaN
            given = {"ignore_index": -100, "reduction": reduction, **attrs}
            some = {**given, "ignore_index": 1} if c > 1 else given
            samples += [Sample((x, target, None), given), Sample((x, target, weight), some)]
    return samples


def bad_classes(op: str, **attrs: Any) -> list[BadInput]:
    attrs = {"ignore_index": -100, "reduction": "mean", **attrs}
    x, t = np.ones((2, 3)), np.zeros(2, np.int64)
    return [
        BadInput(
            (x, t[:1], None), attrs, ShapeError, f"{op}: target has shape (1,), expected (2,)"
        ),
        BadInput(
            (x[0], t, None), attrs, ShapeError, f"{op}: input has shape (3,), expected (N, C)"
        ),
        BadInput((x, t, np.ones(2)), attrs, ShapeError, f"{op}: weight has shape (2,)"),
        BadInput((x, t.astype(float), None), attrs, DTypeError, "target has dtype float64"),
        BadInput((x.astype(int), t, None), attrs, DTypeError, "input has dtype int64"),
    ]


NLL_LOSS = OpSpec(
    name="nll_loss",
    forward=nll_loss_forward,
    backward=nll_loss_backward,
    layout=nll_loss_layout,
    samples=class_samples,
    bad_inputs=lambda: bad_classes("nll_loss"),
    differentiable=(0,),
    tol=SUMMED,
    source=PYTORCH + "NLLLoss: -w_t log p_t",
)


def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> tuple[Array, Array, Array]:
    """-(1 - s) w_t log p_t - s/C Σ_c w_c log p_c; "mean" divides by the sum of w_t."""
    log_probs = log_softmax_forward(logits, 1)
    losses, total = nll_loss_forward(log_probs, target, weight, ignore_index, "none")
    if label_smoothing:
        spread = -(log_probs if weight is None else log_probs * weight).sum(axis=1)
        spread[target == ignore_index] = 0
        share = label_smoothing / logits.shape[1]
        losses = (1 - label_smoothing) * losses + share * spread
    return reduced(losses, reduction, total), log_probs, total


def cross_entropy_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> tuple[Any, ...]:
    """A loss -Σ_c a_c log p_c has the gradient p_c Σ_j a_j - a_c; here a = (1 - s) w_t [c = t]
    + s/C w_c, and 0 for an ignored example.
    """
    _, target, weight = inputs
    _, log_probs, total = outs
    counts, t, w = class_weights(target, weight, ignore_index, dout.dtype)
    a = np.zeros_like(log_probs)
    if label_smoothing:
        a += label_smoothing / a.shape[1] * (1 if weight is None else weight)
    a[np.arange(len(t)), t] += (1 - label_smoothing) * w
    d = dout / total if reduction == "mean" else dout
    dlogits = np.where(counts[:, None], gradient_of_logits(d, log_probs, a), 0)
    return dlogits, None, None


def gradient_of_logits(d: Array, log_probs: Array, a: Array) -> Array:
    """d (p_c Σ_j a_j - a_c), the classes being dimension 1; d a number or one per example."""
    d = np.expand_dims(d, 1) if d.ndim else d
    return d * (np.exp(log_probs) * a.sum(axis=1, keepdims=True) - a)


def cross_entropy_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    dtype = check_classes("cross_entropy", shapes, dtypes)
    loss = ArraySpec(reduced_shape(shapes[1], attrs["reduction"]), dtype)
    keep = (1, 2) if shapes[2] is not None else (1,)
    return Layout(
        outs=(loss, ArraySpec(shapes[0], dtype), ArraySpec((), dtype)),
        keep_inputs=keep if needs[0] else (),
        keep_outs=(1, 2) if needs[0] else (),
    )


CROSS_ENTROPY = OpSpec(
    name="cross_entropy",
    forward=cross_entropy_forward,
    backward=cross_entropy_backward,
    layout=cross_entropy_layout,
    kernels={"numba": Kernel("loss", "cross_entropy", when=floats)},
    samples=lambda rng: [
        *class_samples(rng, label_smoothing=0.0),
        *class_samples(rng, label_smoothing=0.1),
        # logits in the hundreds, where exp without a shift would overflow
        Sample(
            (300 * rng.standard_normal((3, 4)), np.array([0, 3, 1]), None),
            {"ignore_index": -100, "reduction": "sum", "label_smoothing": 0.0},
        ),
    ],
    bad_inputs=lambda: bad_classes("cross_entropy", label_smoothing=0.0),
    differentiable=(0,),
    tol=SUMMED,
    source=PYTORCH + "CrossEntropyLoss: -w_t log softmax(x)_t",
)


# -------------------------------------------------------------------- probabilities as the target


def cross_entropy_soft_forward(
    logits: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float
) -> tuple[Array, Array]:
    """-Σ_c w_c q_c log p_c, with q = (1 - s) target + s/C; "mean" divides by the examples."""
    log_probs = log_softmax_forward(logits, 1)
    losses = -(log_probs * _smoothed(target, weight, label_smoothing)).sum(axis=1)
    return reduced(losses, reduction), log_probs


def _smoothed(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """w q, the factors of -log p."""
    q = target
    if label_smoothing:
        q = target * (1 - label_smoothing) + label_smoothing / target.shape[1]
    return q if weight is None else q * _along_classes(weight, target.ndim)


def _along_classes(weight: Array, ndim: int) -> Array:
    return weight.reshape(-1, *(1,) * (ndim - 2))


def cross_entropy_soft_backward(
    dout: Array,
    inputs: Inputs,
    outs: Inputs,
    needs: Needs,
    reduction: str,
    label_smoothing: float,
) -> tuple[Any, ...]:
    """As of cross_entropy with a = w q; and the loss is linear in q and in w."""
    _, target, weight = inputs
    log_probs = outs[1]
    dlogits = dtarget = dweight = None
    if reduction == "mean":
        dout = dout / dout.dtype.type(log_probs.size // log_probs.shape[1])
    if needs[0]:
        a = _smoothed(target, weight, label_smoothing)
        dlogits = gradient_of_logits(dout, log_probs, a)
    d = np.expand_dims(dout, 1) if dout.ndim else dout
    if needs[1]:
        w = 1 if weight is None else _along_classes(weight, log_probs.ndim)
        dtarget = -d * log_probs * w * (1 - label_smoothing)
    if needs[2]:
        others = (0, *range(2, log_probs.ndim))
        dweight = (-d * log_probs * _smoothed(target, None, label_smoothing)).sum(axis=others)
    return dlogits, dtarget, dweight


def cross_entropy_soft_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    x, target, weight = shapes
    if len(x) < 2 or x[1] == 0:
        raise ShapeError(
            f"cross_entropy: input has shape {tuple(x)}, expected (N, C, ...) with C at least 1"
        )
    if target != x:
        raise ShapeError(
            f"cross_entropy: target has shape {tuple(target)}, expected the input's {tuple(x)}"
        )
    check_weight("cross_entropy", weight, x[1])
    dtype = check_float("cross_entropy", dtypes, ("input", "target", "weight"))
    loss = ArraySpec(reduced_shape((x[0], *x[2:]), attrs["reduction"]), dtype)
    keep = (1,) * (needs[0] or needs[2]) + (2,) * (weight is not None and (needs[0] or needs[1]))
    return Layout(
        outs=(loss, ArraySpec(x, dtype)),
        keep_inputs=keep,
        keep_outs=(1,) if any(needs) else (),
    )


def cross_entropy_soft_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for shape in ((5, 4), (2, 3, 4), (1, 1), (0, 3)):
        x, target = 2 * rng.standard_normal(shape), rng.random(shape)
        target = target / target.sum(axis=1, keepdims=True)
        for reduction in REDUCTIONS if shape[0] else ("none", "sum"):
            for smoothing in (0.0, 0.1):
                attrs = {"reduction": reduction, "label_smoothing": smoothing}
                weight = 0.5 + rng.random(shape[1]) if smoothing else None
                samples.append(Sample((x, target, weight), attrs))
    return samples


CROSS_ENTROPY_SOFT = OpSpec(
    name="cross_entropy_soft",
    forward=cross_entropy_soft_forward,
    backward=cross_entropy_soft_backward,
    layout=cross_entropy_soft_layout,
    samples=cross_entropy_soft_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones((2, 3)), np.ones((3, 2)), None),
            {"reduction": "mean", "label_smoothing": 0.0},
            ShapeError,
            "target has shape (3, 2), expected the input's (2, 3)",
        ),
        BadInput(
            (np.ones(3), np.ones(3), None),
            {"reduction": "mean", "label_smoothing": 0.0},
            ShapeError,
            "expected (N, C, ...)",
        ),
    ],
    tol=SUMMED,
    source=PYTORCH + "CrossEntropyLoss: -Σ_c w_c y_c log softmax(x)_c",
)
