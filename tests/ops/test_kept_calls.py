"""Kernels whose calls are kept and made later, as a plan does: over every operation that has one.

A face must not read an entry of an array, or copy one, outside of the calls that it makes: what it
read would be the value of the day on which the plan was made.
"""

from __future__ import annotations

import numpy as np

from npmlp import run_op
from npmlp.kernels.calls import keeping
from npmlp.ops.registry import OPS
from tests.ops.checks import (
    cases,
    cast,
    every_kernel,
    floats,
    kernels_for,
    layout_of,
    random_dout,
    wanted,
)


def nan_arrays(specs):
    """Arrays to be written, as the layout says: full of what would be seen if read."""
    return tuple(
        np.full(shape, np.nan if dtype.kind == "f" else 99, dtype) for shape, dtype in specs
    )


def make(calls):
    for call in calls:
        call.make()


@every_kernel
@floats
def test_calls_that_are_kept_see_the_values_of_the_day_they_are_made(name, dtype):
    spec, compared = OPS[name], 0
    for case in cases(name):
        new = cast(case.inputs, dtype)
        # the very arrays that the calls keep, in the same memory order, first with other values
        kept = tuple(None if x is None else np.array(x, order="K") for x in new)
        for x in kept:
            if x is not None and x.dtype.kind == "f":
                x[...] = 0.5
        needs = wanted(spec, new)
        layout = layout_of(spec, new, case.attrs, needs)
        for kernel in kernels_for(spec, new, case.attrs).values():
            outs = nan_arrays(layout.outs)
            with keeping(on_threads=False) as forward:
                kernel.forward(kept, outs, nan_arrays(layout.scratch), **case.attrs)
            dout = random_dout(case, layout.outs[0].shape, dtype)
            kept_dout = np.zeros_like(dout)
            grads = tuple(
                np.full(x.shape, np.nan, x.dtype) if need else None
                for x, need in zip(kept, needs, strict=True)
            )
            inputs = run_op.kept_inputs(layout, kept)
            seen = tuple(x if i in layout.keep_outs else None for i, x in enumerate(outs))
            with keeping(on_threads=False) as backward:
                if not kernel.forward_only:
                    kernel.backward(
                        kept_dout, inputs, seen, grads, nan_arrays(layout.backward_scratch),
                        **case.attrs,
                    )  # fmt: skip
            assert all(np.isnan(x).all() for x in outs if x.dtype.kind == "f"), "it ran at once"

            for x, value in zip(kept, new, strict=True):
                if x is not None:
                    x[...] = value
            kept_dout[...] = dout
            make(forward)
            make(backward)
            expected = run_op.run_forward(spec, layout, kernel, new, case.attrs)
            for got, right in zip(outs, expected, strict=True):
                assert got.tobytes() == right.tobytes(), case
            compared += 1
            if kernel.forward_only:
                continue
            shapes = tuple(None if x is None else x.shape for x in new)
            right_seen = tuple(x if i in layout.keep_outs else None for i, x in enumerate(expected))
            right_grads = run_op.run_backward(
                spec, layout, kernel, dout, run_op.kept_inputs(layout, new), right_seen, needs,
                shapes, case.attrs,
            )  # fmt: skip
            for got, right in zip(grads, right_grads, strict=True):
                assert (got is None) == (right is None)
                assert got is None or got.tobytes() == right.tobytes(), case
    assert compared
