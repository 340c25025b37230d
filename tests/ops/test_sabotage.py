"""The checks of the registry must fail: a wrong gradient, a wrong kernel, for every operation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from checks import (
    SABOTAGE,
    Case,
    cases,
    cast,
    check_against_float64,
    check_against_torch,
    check_finite_differences,
    every_gradient,
    every_kernel,
    floats,
    kernels_for,
    largest,
    numeric,
    one_more,
    run,
    sabotaged,
    wanted,
)

from npmlp.ops.registry import OPS
from npmlp.ops.spec import Array


def _noticeable(case: Case, position: int, wrong: Any) -> bool:
    """Whether the sabotage changes what the checks look at, by half a percent or more."""
    spec, expected = OPS[case.name], numeric(case.name, case.index)
    if position not in expected.entries:
        return False
    right, other = (
        np.asarray(run(s, expected.inputs, case.attrs).backward(expected.dout)[position])
        for s in (spec, wrong)
    )
    entries = expected.entries[position]
    right, other = right.reshape(-1)[entries], other.reshape(-1)[entries]
    return largest(right) > 1e-3 and largest(right - other) > 5e-3 * largest(right)


@every_gradient
@pytest.mark.parametrize("kind", SABOTAGE)
def test_a_wrong_gradient_fails_the_checks(name: str, kind: str) -> None:
    """One term of the backward is wrong: both checks of the oracle must say so."""
    spec = OPS[name]
    assert spec.backward is not None
    positions = {i for c in cases(name) for i, n in enumerate(wanted(spec, c.inputs)) if n}
    for position in positions:
        # a gradient that is 0 everywhere is wrong in one way only: by being another number
        change = one_more if spec.flat else SABOTAGE[kind]
        wrong = dataclasses.replace(spec, backward=sabotaged(spec.backward, position, change))
        tried = [
            case
            for case in cases(name)
            if (case.inputs[position].size if spec.flat else _noticeable(case, position, wrong))
        ][:3]
        if not tried and kind == "moved by one entry":  # as in a sum over all: equal entries
            continue
        assert tried, f"no sample shows a gradient of input {position} that is {kind}"
        for case in tried:
            with pytest.raises(AssertionError, match="finite differences: off by"):
                check_finite_differences(wrong, case)
        with pytest.raises(AssertionError, match="against PyTorch: gradient of input"):
            for case in cases(name):
                check_against_torch(wrong, case)


@every_kernel
@pytest.mark.parametrize("kind", SABOTAGE)
@floats
def test_a_wrong_kernel_fails_the_check(name: str, kind: str, dtype: str) -> None:
    spec = OPS[name]

    def compare_all(position: int | None) -> None:
        for case in cases(name):
            for kernel in kernels_for(spec, cast(case.inputs, dtype), case.attrs).values():
                broken = dataclasses.replace(kernel)
                _break(broken, position, SABOTAGE[kind])
                check_against_float64(spec, case, case.inputs, dtype, broken)

    with pytest.raises(AssertionError, match="out 0: off by"):
        compare_all(None)
    if any(not kernel.forward_only for kernel in spec.kernels.values()):
        positions = {i for c in cases(name) for i, n in enumerate(wanted(spec, c.inputs)) if n}
        for position in positions:
            with pytest.raises(AssertionError, match=f"gradient of input {position}: off by"):
                compare_all(position)


def _break(kernel: Any, position: int | None, change: Any) -> None:
    """Make a kernel write a wrong gradient at `position`, or a wrong output where that is None."""
    forward, backward = kernel.forward, None if kernel.forward_only else kernel.backward

    def wrong_forward(inputs: Any, outs: Any, scratch: Any, **attrs: Any) -> None:
        forward(inputs, outs, scratch, **attrs)
        if position is None:
            outs[0][...] = change(outs[0])

    def wrong_backward(dout: Array, inputs: Any, outs: Any, grads: Any, *rest: Any, **a: Any):
        backward(dout, inputs, outs, grads, *rest, **a)
        if position is not None and grads[position] is not None:
            grads[position][...] = change(grads[position])

    # the two are cached properties: what they found is kept in the instance's __dict__
    kernel.__dict__.update(forward=wrong_forward, backward=wrong_backward)
