"""Activations that are a straight line on one side: ELU, Softplus, Hardtanh.

x input, dout and dx gradients. activation.py has the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.errors import NpmlpError
from npmlp.ops.common import ROUNDING, like_input, refuses_integers, some_shapes
from npmlp.ops.spec import (
    Array,
    Attrs,
    BadInput,
    DTypes,
    Inputs,
    Layout,
    Needs,
    OpSpec,
    Sample,
    Shapes,
    away_from,
)

PYTORCH = "PyTorch docs, torch.nn."


def elu_forward(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def elu_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, alpha: float
) -> tuple[Any, ...]:
    (x,) = inputs
    return (np.where(x > 0, dout, dout * x.dtype.type(alpha) * np.exp(np.minimum(x, 0))),)


ELU = OpSpec(
    name="elu",
    forward=elu_forward,
    backward=elu_backward,
    layout=like_input("elu", keep_input=True),
    samples=lambda rng: [
        Sample((x,), {"alpha": alpha}) for x in some_shapes(rng) for alpha in (1.0, 0.4)
    ],
    bad_inputs=refuses_integers("elu", alpha=1.0),
    domain=lambda x, alpha: away_from(0.0)(x),
    tol=ROUNDING,
    source=PYTORCH + "ELU: x where x > 0, else alpha (e^x - 1)",
)


def softplus_forward(x: Array, beta: float, threshold: float) -> Array:
    """ln(1 + e^βx) / β; from a threshold on x itself, which it then is but for rounding."""
    scaled = x * x.dtype.type(beta)
    soft = np.log1p(np.exp(np.minimum(scaled, threshold))) / x.dtype.type(beta)
    return np.where(scaled > threshold, x, soft)


def softplus_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, beta: float, threshold: float
) -> tuple[Any, ...]:
    (x,) = inputs
    scaled = x * x.dtype.type(beta)
    power = np.exp(np.minimum(scaled, threshold))
    return (np.where(scaled > threshold, dout, dout * (power / (power + 1))),)


SOFTPLUS = OpSpec(
    name="softplus",
    forward=softplus_forward,
    backward=softplus_backward,
    layout=like_input("softplus", keep_input=True),
    samples=lambda rng: [
        Sample((x,), {"beta": beta, "threshold": threshold})
        for x in some_shapes(rng, 2.0)
        for beta, threshold in ((1.0, 20.0), (2.0, 3.0))
    ],
    bad_inputs=refuses_integers("softplus", beta=1.0, threshold=20.0),
    domain=lambda x, beta, threshold: away_from(threshold / beta)(x),
    tol=ROUNDING,
    source=PYTORCH + "Softplus: ln(1 + e^(beta x)) / beta",
)


def hardtanh_forward(x: Array, min_val: float, max_val: float) -> Array:
    return np.clip(x, x.dtype.type(min_val), x.dtype.type(max_val))


def hardtanh_backward(
    dout: Array, inputs: Inputs, outs: Inputs, needs: Needs, min_val: float, max_val: float
) -> tuple[Any, ...]:
    (x,) = inputs
    # the bounds count as outside, as in PyTorch, where clamp counts them as inside
    return (np.where((x <= min_val) | (x >= max_val), 0, dout),)


def hardtanh_layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
    if attrs["min_val"] > attrs["max_val"]:
        raise NpmlpError(
            f"hardtanh: min_val {attrs['min_val']} is above max_val {attrs['max_val']}"
        )
    return like_input("hardtanh", keep_input=True)(shapes, dtypes, attrs, needs)


HARDTANH = OpSpec(
    name="hardtanh",
    forward=hardtanh_forward,
    backward=hardtanh_backward,
    layout=hardtanh_layout,
    samples=lambda rng: [
        Sample((x,), {"min_val": low, "max_val": high})
        for x in some_shapes(rng)
        for low, high in ((-1.0, 1.0), (0.0, 0.5))
    ],
    bad_inputs=lambda: [
        *refuses_integers("hardtanh", min_val=-1.0, max_val=1.0)(),
        BadInput((np.ones(2),), {"min_val": 1.0, "max_val": 0.0}, NpmlpError, "is above max_val"),
    ],
    domain=lambda x, min_val, max_val: away_from(min_val, max_val)(x),
    tol=ROUNDING,
    source=PYTORCH + "Hardtanh: min(max(x, min_val), max_val)",
)
