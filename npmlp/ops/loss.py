"""Losses of numbers against numbers: squared and absolute distance, and yes or no with logits.

`reduction`: "none", a loss per entry; "sum"; "mean", the sum over the number of entries. Losses of
classes are in classification.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.activation import sigmoid_forward
from npmlp.ops.common import broadcast_shape, check_float
from npmlp.ops.reduce import SUMMED
from npmlp.ops.spec import (
    Array,
    ArraySpec,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
)

PYTORCH = "PyTorch docs, torch.nn."
REDUCTIONS = ("none", "mean", "sum")


def reduced(losses: Array, reduction: str, divisor: Any = None) -> Array:
    """The losses, their sum, or their sum over `divisor`, by default how many they are."""
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    return total / losses.dtype.type(losses.size if divisor is None else divisor)


def reduced_shape(shape: tuple[int, ...], reduction: str) -> tuple[int, ...]:
    return shape if reduction == "none" else ()


def per_entry(dout: Array, reduction: str, count: int) -> Array:
    """The gradient of each entry's loss: `dout` itself, or the one number that all have."""
    return dout / dout.dtype.type(count) if reduction == "mean" else dout


# ------------------------------------------------------------------------------------- distances


def mse_loss_forward(x: Array, y: Array, reduction: str) -> Array:
    return reduced(np.square(x - y), reduction)


def mse_loss_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, reduction: str
) -> tuple[Any, ...]:
    x, y = inputs
    difference = x - y
    dx = 2 * difference * per_entry(dout, reduction, difference.size)
    return dx, -dx if needs[1] else None


def distance_layout(op: str) -> Any:
    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        dtype = check_float(op, dtypes, ("input", "target"))
        shape = reduced_shape(broadcast_shape(op, shapes), attrs["reduction"])
        return Layout(outs=(ArraySpec(shape, dtype),), keep_inputs=(0, 1) if any(needs) else ())

    return layout


def distance_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = [((4, 5), (4, 5)), ((3, 1), (3, 4)), ((), ()), ((1,), (1,)), ((7,), ()), ((0, 3),) * 2]
    return [
        Sample((rng.standard_normal(a), rng.standard_normal(b)), {"reduction": reduction})
        for a, b in shapes
        for reduction in REDUCTIONS
        if reduction != "mean" or a != (0, 3)  # the mean over nothing is NaN
    ]


def bad_distances(op: str) -> Any:
    return lambda: [
        BadInput((np.arange(3), np.ones(3)), {"reduction": "mean"}, DTypeError, f"{op}: input has"),
        BadInput((np.ones(3), np.ones(4)), {"reduction": "sum"}, ShapeError, "do not broadcast"),
    ]


MSE_LOSS = OpSpec(
    name="mse_loss",
    forward=mse_loss_forward,
    backward=mse_loss_backward,
    layout=distance_layout("mse_loss"),
    samples=distance_samples,
    bad_inputs=bad_distances("mse_loss"),
    tol=SUMMED,
    source=PYTORCH + "MSELoss: (x - y)²",
    broadcasts=True,
)


def l1_loss_forward(x: Array, y: Array, reduction: str) -> Array:
    return reduced(np.abs(x - y), reduction)


def l1_loss_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, reduction: str
) -> tuple[Any, ...]:
    x, y = inputs
    side = np.sign(x - y)  # 0 where they are equal
    dx = side * per_entry(dout, reduction, side.size)
    return dx, -dx if needs[1] else None


def apart(x: Array, y: Array, **attrs: Any) -> tuple[Any, ...]:
    """The domain of a distance: no entry of x within 1/4 of one of y."""
    return np.round(x) + 0.25, np.round(y)


L1_LOSS = OpSpec(
    name="l1_loss",
    forward=l1_loss_forward,
    backward=l1_loss_backward,
    layout=distance_layout("l1_loss"),
    samples=distance_samples,
    bad_inputs=bad_distances("l1_loss"),
    domain=apart,
    tol=SUMMED,
    source=PYTORCH + "L1Loss: |x - y|",
    broadcasts=True,
)


# ------------------------------------------------------------------------------------- yes or no


def log_sigmoid(x: Array) -> Array:
    """log σ(x) = min(x, 0) - log(1 + e^-|x|), in which nothing overflows."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def bce_with_logits_forward(
    x: Array, target: Array, weight: Array | None, pos_weight: Array | None, reduction: str
) -> Array:
    """-w [p y log σ(x) + (1 - y) log(1 - σ(x))], where log(1 - σ(x)) = log σ(x) - x."""
    losses = (1 - target) * x - _log_weight(target, pos_weight) * log_sigmoid(x)
    return reduced(losses if weight is None else losses * weight, reduction)


def _log_weight(target: Array, pos_weight: Array | None) -> Any:
    """What multiplies log σ(x): p y + 1 - y."""
    return 1 if pos_weight is None else 1 + (pos_weight - 1) * target


def bce_with_logits_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, reduction: str
) -> tuple[Any, ...]:
    """With p = 1, dx = σ(x) - y and dy = -x."""
    x, target, weight, pos_weight = inputs
    d = per_entry(dout, reduction, x.size)
    d = d if weight is None else d * weight
    dx = dtarget = None
    if needs[0]:
        yes = target if pos_weight is None else pos_weight * target
        dx = d * (_log_weight(target, pos_weight) * sigmoid_forward(x) - yes)
    if needs[1]:
        more = 0 if pos_weight is None else (pos_weight - 1) * log_sigmoid(x)
        dtarget = d * (-x - more)
    return dx, dtarget, None, None


def bce_with_logits_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    op, names = "binary_cross_entropy_with_logits", ("input", "target", "weight", "pos_weight")
    dtype = check_float(op, dtypes, names)
    for name, shape in zip(names, shapes, strict=True):
        if shape is not None and broadcast_shape(op, (shapes[0], shape)) != shapes[0]:
            raise ShapeError(
                f"{op}: {name} has shape {tuple(shape)}, expected one that broadcasts to the "
                f"input's {tuple(shapes[0])}"
            )
    if shapes[1] != shapes[0]:
        raise ShapeError(
            f"{op}: target has shape {tuple(shapes[1])}, expected the input's {tuple(shapes[0])}"
        )
    keep = tuple(i for i, s in enumerate(shapes) if s is not None) if any(needs) else ()
    shape = reduced_shape(shapes[0], attrs["reduction"])
    return Layout(outs=(ArraySpec(shape, dtype),), keep_inputs=keep)


def bce_with_logits_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for shape in ((4, 5), (1,), (), (0, 3)):
        for reduction in REDUCTIONS if shape != (0, 3) else ("none", "sum"):
            x, y = 3 * rng.standard_normal(shape), rng.random(shape)
            w, p = rng.random(shape), 2 * rng.random(shape[-1:])
            for extra in ((None, None), (w, None), (None, p), (w, p)):
                samples.append(Sample((x, y, *extra), {"reduction": reduction}))
    # logits in the hundreds, where the exponential alone would overflow in float32
    x, y = 200 * rng.standard_normal((2, 3)), rng.integers(0, 2, (2, 3)).astype(float)
    return [*samples, Sample((x, y, None, None), {"reduction": "mean"})]


BCE_WITH_LOGITS = OpSpec(
    name="bce_with_logits",
    forward=bce_with_logits_forward,
    backward=bce_with_logits_backward,
    layout=bce_with_logits_layout,
    samples=bce_with_logits_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones(3), np.ones(1), None, None), {"reduction": "mean"}, ShapeError,
            "target has shape (1,), expected the input's (3,)",
        ),
        BadInput(
            (np.ones(3), np.ones(3), np.ones((2, 3)), None), {"reduction": "mean"}, ShapeError,
            "weight has shape (2, 3), expected one that broadcasts to the input's (3,)",
        ),
        BadInput(
            (np.ones(3), np.arange(3), None, None), {"reduction": "mean"}, DTypeError,
            "target has dtype int64",
        ),
    ],
    differentiable=(0, 1),
    # some roundings of σ(x) and y, whose difference in the samples of one entry is 1/40 of them
    tol={"float32": 1e-5, "float64": 1e-14},
    source=PYTORCH + "BCEWithLogitsLoss: -w [p y log σ(x) + (1 - y) log(1 - σ(x))]",
)  # fmt: skip
