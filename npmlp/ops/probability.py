"""The loss of a probability against yes or no. loss.py has the one of logits, which is steadier.

x probability, y target, w weight or None; `reduction` as in loss.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import DataError, DTypeError, ShapeError
from npmlp.ops.common import broadcast_shape, check_float
from npmlp.ops.loss import REDUCTIONS, per_entry, reduced, reduced_shape
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

_OP = "binary_cross_entropy"
_LEAST = float(np.float32(1e-12))  # PyTorch has this constant in single precision


def bce_forward(x: Array, target: Array, weight: Array | None, reduction: str) -> Array:
    """-w [y log x + (1 - y) log(1 - x)], where a log is taken as -100 if it is below."""
    for name, values in (("input", x), ("target", target)):
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise DataError(f"{_OP}: an entry of {name} is not between 0 and 1; is it a logit?")
    yes, no = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    losses = (target - 1) * no - target * yes
    return reduced(losses if weight is None else losses * weight, reduction)


def bce_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, reduction: str
) -> tuple[Any, ...]:
    """dx = (x - y) / (x (1 - x)), the divisor held at 1e-12 or more; dy = log(1 - x) - log x."""
    x, target, weight = inputs
    d = per_entry(dout, reduction, x.size)
    d = d if weight is None else d * weight
    dx = d * (x - target) / np.maximum((1 - x) * x, _LEAST) if needs[0] else None
    dtarget = d * (np.log1p(-x) - np.log(x)) if needs[1] else None
    return dx, dtarget, None


def bce_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    dtype = check_float(_OP, dtypes, ("input", "target", "weight"))
    if shapes[1] != shapes[0]:
        raise ShapeError(
            f"{_OP}: target has shape {tuple(shapes[1])}, expected the input's {tuple(shapes[0])}"
        )
    if shapes[2] is not None and broadcast_shape(_OP, (shapes[0], shapes[2])) != shapes[0]:
        raise ShapeError(
            f"{_OP}: weight has shape {tuple(shapes[2])}, expected one that broadcasts to the "
            f"input's {tuple(shapes[0])}"
        )
    keep = tuple(i for i, s in enumerate(shapes) if s is not None) if any(needs) else ()
    return Layout(
        outs=(ArraySpec(reduced_shape(shapes[0], attrs["reduction"]), dtype),), keep_inputs=keep
    )


def inside(x: Array, target: Array, weight: Array | None, reduction: str) -> tuple[Any, ...]:
    """The domain: probabilities of 0.2 to 0.8, where 1 / x curves little."""
    return 0.2 + 0.6 * x, 0.05 + 0.9 * target, weight


def bce_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for shape in ((4, 5), (1,), (), (0, 3)):
        for reduction in REDUCTIONS if shape != (0, 3) else ("none", "sum"):
            for weight in (None, rng.random(shape)):
                x, y = np.asarray(rng.random(shape)), np.asarray(rng.random(shape))
                samples.append(Sample((x, y, weight), {"reduction": reduction}))
    return samples


BCE = OpSpec(
    name="bce",
    forward=bce_forward,
    backward=bce_backward,
    layout=bce_layout,
    samples=bce_samples,
    bad_inputs=lambda: [
        BadInput(
            (np.ones(3), np.ones(1), None), {"reduction": "mean"}, ShapeError,
            "target has shape (1,), expected the input's (3,)",
        ),
        BadInput(
            (np.ones(3), np.ones(3), np.ones((2, 3))), {"reduction": "mean"}, ShapeError,
            "weight has shape (2, 3), expected one that broadcasts to the input's (3,)",
        ),
        BadInput(
            (np.ones(3), np.arange(3), None), {"reduction": "mean"}, DTypeError,
            "target has dtype int64",
        ),
        BadInput(
            (np.full(3, 1.5), np.ones(3), None), {"reduction": "mean"}, DataError,
            "an entry of input is not between 0 and 1",
        ),
    ],
    domain=inside,
    differentiable=(0, 1),
    # a rounding of x near 0 or 1 is up to 1/x roundings of its logarithm's slope: here 1/x < 100
    tol={"float32": 2e-5, "float64": 1e-13},
    source="PyTorch docs, torch.nn.BCELoss: -w [y log x + (1 - y) log(1 - x)]",
)  # fmt: skip
