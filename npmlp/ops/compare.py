"""Comparisons: two inputs that broadcast, one truth value per pair, no gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npmlp.ops.binary import binary_bad_inputs, binary_layout, binary_samples
from npmlp.ops.common import ROUNDING
from npmlp.ops.spec import ArraySpec, Attrs, DTypes, Layout, Needs, OpSpec, Sample, Shapes


def compare_layout(op: str) -> Callable[..., Layout]:
    binary = binary_layout(op, keeps=lambda needs: ())

    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        shape = binary(shapes, dtypes, attrs, needs).outs[0].shape
        return Layout(outs=(ArraySpec(shape, np.dtype(bool)),))

    return layout


def compare_samples(rng: np.random.Generator) -> list[Sample]:
    """Small whole numbers, so that equal pairs occur, beside the usual pairs."""
    whole = rng.integers(-2, 3, (2, 4, 5)).astype(float)
    return [*binary_samples(rng), Sample((whole[0], whole[1]))]


def comparison(op: str, symbol: str, forward: Callable[..., np.ndarray]) -> OpSpec:
    """The six differ in nothing but the relation."""
    return OpSpec(
        name=op,
        forward=forward,
        backward=None,
        layout=compare_layout(op),
        samples=compare_samples,
        bad_inputs=binary_bad_inputs(op),
        tol=ROUNDING,
        source=f"PyTorch docs, torch.{op}: x {symbol} y",
        broadcasts=True,
    )


EQ = comparison("eq", "=", lambda x, y: x == y)
NE = comparison("ne", "≠", lambda x, y: x != y)
LT = comparison("lt", "<", lambda x, y: x < y)
LE = comparison("le", "≤", lambda x, y: x <= y)
GT = comparison("gt", ">", lambda x, y: x > y)
GE = comparison("ge", "≥", lambda x, y: x >= y)
