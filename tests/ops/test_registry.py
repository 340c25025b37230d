"""What is checked of every operation in the registry, with no line per operation.

An operation brings its samples, bad inputs, domain and tolerances; the checks are in checks.py.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from checks import (
    MEMORY,
    assert_close,
    assert_gradients,
    cases,
    cast,
    check_against_float64,
    check_against_torch,
    check_finite_differences,
    every_gradient,
    every_kernel,
    every_op,
    floats,
    kernels_for,
    largest,
    layout_of,
    random_dout,
    run,
    to_torch,
    wanted,
)

from npmlp import config, run_op
from npmlp.errors import NpmlpError
from npmlp.ops.registry import OPS
from npmlp.ops.spec import Array
from reference_torch.twins import TWINS


def test_every_operation_has_a_pytorch_twin() -> None:
    assert set(TWINS) == set(OPS)


@every_op
def test_an_operation_is_documented_and_samples_odd_shapes(name: str) -> None:
    spec = OPS[name]
    assert spec.source
    assert set(spec.tol) == {"float32", "float64"}
    sizes = [x.size for case in cases(name) for x in case.inputs if x is not None]
    assert 0 in sizes, "no sample is empty"
    assert 1 in sizes, "no sample has one entry"


# ------------------------------------------------------------------------------ layout and dtypes


@every_op
@floats
def test_the_layout_is_what_comes_out(name: str, dtype: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        inputs = cast(case.inputs, dtype)
        implementations = [None, *kernels_for(spec, inputs, case.attrs).values()]
        for needs in {(False,) * len(inputs), wanted(spec, inputs)}:
            for kernel in implementations:
                ran = run(spec, inputs, case.attrs, needs, kernel)
                assert len(ran.outs) == len(ran.layout.outs), case
                for out, (shape, expected) in zip(ran.outs, ran.layout.outs, strict=True):
                    assert out.shape == shape, case
                    assert out.dtype == expected, case
        nothing = layout_of(spec, inputs, case.attrs, (False,) * len(inputs))
        kept = nothing.keep_inputs + nothing.keep_outs + nothing.keep_shapes
        assert not kept, f"{case}: keeps arrays for a backward that will not come"


@every_op
def test_float32_never_creeps_to_float64(name: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        inputs = cast(case.inputs, "float32")
        for kernel in [None, *kernels_for(spec, inputs, case.attrs).values()]:
            ran = run(spec, inputs, case.attrs, kernel=kernel)
            expected = np.dtype(case.attrs.get("dtype", "float32"))
            for out in ran.outs[: ran.layout.n_outputs]:
                assert out.dtype == expected or out.dtype.kind != "f", case
            if any(ran.needs):
                for grad in ran.backward(random_dout(case, ran.outs[0].shape, expected)):
                    assert grad is None or grad.dtype == np.float32, case


@every_op
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_whole_numbers_are_refused_or_computed_as_pytorch_does(name: str, dtype: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        if not any(x is not None and x.dtype.kind == "f" for x in case.inputs):
            continue
        with np.errstate(invalid="ignore"):
            inputs = tuple(
                x if x is None or x.dtype.kind != "f" else np.abs(3 * x).astype(dtype)
                for x in case.inputs
            )
        try:
            ran = run(spec, inputs, case.attrs)
        except (NpmlpError, TypeError, ValueError):
            continue
        tensors = [None if x is None else to_torch(x) for x in inputs]
        try:
            theirs = TWINS[name](*tensors, **case.attrs)
        except RuntimeError:  # PyTorch has no kernel, such as for the power of two bools
            continue
        outputs = theirs if isinstance(theirs, tuple) else (theirs,)
        for out, expected, layout in zip(ran.outs, outputs, ran.layout.outs, strict=False):
            assert out.dtype == layout.dtype == expected.numpy().dtype, case
            assert np.array_equal(out, expected.numpy()), case


# ---------------------------------------------------------------------------------- right numbers


@pytest.mark.parametrize("name", [n for n, s in OPS.items() if s.flat])
def test_a_flat_operation_has_a_gradient_of_zero(name: str) -> None:
    for case in cases(name):
        ran = run(OPS[name], case.inputs, case.attrs)
        (grad,) = ran.backward(random_dout(case, ran.outs[0].shape))
        assert not grad.any(), case


@every_gradient
def test_gradients_are_the_finite_differences(name: str) -> None:
    for case in cases(name):
        check_finite_differences(OPS[name], case)


@every_op
def test_outputs_and_gradients_are_pytorchs(name: str) -> None:
    for case in cases(name):
        check_against_torch(OPS[name], case)


@every_op
def test_the_oracle_in_float32_is_the_oracle_in_float64(name: str) -> None:
    for case in cases(name):
        check_against_float64(OPS[name], case, case.inputs, "float32", None)


@every_kernel
@floats
def test_kernels_compute_what_the_oracle_says(name: str, dtype: str) -> None:
    compared = 0
    for case in cases(name):
        for kernel in kernels_for(OPS[name], cast(case.inputs, dtype), case.attrs).values():
            check_against_float64(OPS[name], case, case.inputs, dtype, kernel)
            compared += 1
    assert compared, "no sample is one that a kernel is meant for"


@every_op
@floats
@pytest.mark.parametrize("memory", MEMORY)
def test_inputs_may_lie_in_memory_in_any_way(name: str, dtype: str, memory: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        inputs = [None if x is None else MEMORY[memory](x) for x in cast(case.inputs, dtype)]
        if name == "reshape" and not _can_be_seen_as(inputs[0], case.attrs["shape"]):
            continue  # functions.reshape copies first
        check_against_float64(spec, case, inputs, dtype, None)
        for kernel in kernels_for(spec, inputs, case.attrs).values():
            check_against_float64(spec, case, inputs, dtype, kernel)


def _can_be_seen_as(x: Array, shape: tuple[int, ...]) -> bool:
    try:
        x.reshape(shape, copy=False)
    except ValueError:
        return False
    return True


@every_gradient
def test_the_cotangent_may_lie_in_memory_in_any_way(name: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        for kernel in [None, *kernels_for(spec, case.inputs, case.attrs).values()]:
            ran = run(spec, case.inputs, case.attrs, kernel=kernel)
            dout = random_dout(case, ran.outs[0].shape)
            expected = ran.backward(dout)
            variants = [change(dout) for change in MEMORY.values()]
            for variant in variants:
                grads = ran.backward(variant)
                assert_gradients(grads, expected, spec.tol["float64"], dout, f"{case}, dout")
            # sum's backward hands on one number, seen as an array of them
            number = np.asarray(dout.reshape(-1)[:1].sum())
            repeated = ran.backward(np.broadcast_to(number, dout.shape))
            plain = ran.backward(np.full(dout.shape, number))
            for i, (a, b, usual) in enumerate(zip(repeated, plain, expected, strict=True)):
                if a is not None:  # some are 0 but for rounding: the usual gradient is the measure
                    scale = max(largest(usual), largest(number)) / (largest(b) or 1)
                    tol = spec.tol["float64"] * max(1.0, scale)
                    assert_close(a, b, tol, largest(number), f"{case}, repeated dout, input {i}")


# -------------------------------------------------------------------------------------- contracts


@every_gradient
def test_gradients_that_are_not_needed_change_nothing(name: str) -> None:
    """Every subset of the gradients, each from the arrays that its layout keeps."""
    spec = OPS[name]
    for case in cases(name):
        for kernel in [None, *kernels_for(spec, case.inputs, case.attrs).values()]:
            everything = run(spec, case.inputs, case.attrs, kernel=kernel)
            dout = random_dout(case, everything.outs[0].shape)
            expected = everything.backward(dout)
            positions = np.flatnonzero(everything.needs)
            for count in range(1, len(positions)):
                for chosen in itertools.combinations(positions, count):
                    needs = tuple(i in chosen for i in range(len(case.inputs)))
                    grads = run(spec, case.inputs, case.attrs, needs, kernel).backward(dout)
                    some = [g if i in chosen else None for i, g in enumerate(expected)]
                    assert_gradients(
                        grads, some, spec.tol["float64"], dout, f"{case}, needs {needs}"
                    )


@every_op
def test_nothing_that_is_given_is_changed(name: str) -> None:
    spec = OPS[name]
    for case in cases(name):
        for kernel in [None, *kernels_for(spec, case.inputs, case.attrs).values()]:
            inputs = tuple(None if x is None else np.array(x) for x in case.inputs)
            ran = run(spec, inputs, case.attrs, kernel=kernel)
            for before, after in zip(case.inputs, inputs, strict=True):
                assert before is None or np.array_equal(before, after, equal_nan=True), case
            if any(ran.needs):
                dout = random_dout(case, ran.outs[0].shape)
                given = [x for x in (*inputs, *ran.outs, dout) if x is not None]
                before = [x.tobytes() for x in given]
                ran.backward(dout)
                assert [x.tobytes() for x in given] == before, case


@every_gradient
def test_gradients_are_arrays_of_their_own(name: str) -> None:
    """Neither an input nor an out, and shared with each other only where all are dout."""
    spec = OPS[name]
    for case in cases(name):
        for kernel in [None, *kernels_for(spec, case.inputs, case.attrs).values()]:
            ran = run(spec, case.inputs, case.attrs, kernel=kernel)
            dout = random_dout(case, ran.outs[0].shape)
            grads = [g for g in ran.backward(dout) if g is not None]
            for grad in grads:
                for other in [x for x in (*ran.inputs, *ran.outs) if x is not None]:
                    assert not np.shares_memory(grad, other), case
            for a, b in itertools.combinations(grads, 2):
                assert np.shares_memory(a, dout) or not np.shares_memory(a, b), case


@every_kernel
@floats
def test_kernels_write_every_entry_and_read_none_before(name: str, dtype: str) -> None:
    """Memory that is handed to a kernel holds what was there before: here, what would be seen."""
    spec = OPS[name]
    for case in cases(name):
        inputs = cast(case.inputs, dtype)
        for kernel in kernels_for(spec, inputs, case.attrs).values():
            ran = run(spec, inputs, case.attrs, kernel=kernel)
            layout, what = ran.layout, f"{case}, {dtype}"
            outs = _poisoned(layout.outs)
            kernel.forward(inputs, outs, _poisoned(layout.scratch), **case.attrs)
            for out, expected in zip(outs, ran.outs, strict=True):
                assert np.array_equal(out, expected, equal_nan=True), what
            if any(ran.needs) and not kernel.forward_only:
                dout = random_dout(case, ran.outs[0].shape, dtype)
                kept = run_op.kept_inputs(layout, inputs)
                kept_outs = [x if i in layout.keep_outs else None for i, x in enumerate(outs)]
                places = [
                    (x.shape, x.dtype) if needed else None
                    for x, needed in zip(inputs, ran.needs, strict=True)
                ]
                grads = _poisoned(places)
                scratch = _poisoned(layout.backward_scratch)
                kernel.backward(dout, kept, kept_outs, grads, scratch, **case.attrs)
                for grad, expected in zip(grads, ran.backward(dout), strict=True):
                    assert (grad is None) == (expected is None), what
                    assert grad is None or np.array_equal(grad, expected), what


def _poisoned(places: Any) -> tuple[Any, ...]:
    """Arrays full of what no kernel computes."""
    return tuple(
        None if p is None else np.full(p[0], np.nan if p[1].kind == "f" else 113).astype(p[1])
        for p in places
    )


@every_op
def test_bad_inputs_are_refused_with_the_stated_message(name: str, kernels: str) -> None:
    spec = OPS[name]
    for bad in spec.bad_inputs():
        with pytest.raises(bad.error, match=re.escape(bad.message)):
            layout, kernel = run_op.prepare(spec, bad.inputs, bad.attrs, (False,) * len(bad.inputs))
            run_op.run_forward(spec, layout, kernel, bad.inputs, bad.attrs)


@pytest.mark.parametrize("name", [n for n, s in OPS.items() if s.view])
def test_views_share_memory(name: str) -> None:
    for case in cases(name):
        (out,) = run(OPS[name], case.inputs, case.attrs).outs
        assert out.size == 0 or np.shares_memory(out, case.inputs[0]), case


@pytest.mark.parametrize("name", [n for n, s in OPS.items() if not s.view])
def test_operations_that_are_not_views_share_no_memory(name: str) -> None:
    for case in cases(name):
        for out in run(OPS[name], case.inputs, case.attrs).outs:
            given = [x for x in case.inputs if x is not None]
            assert not any(np.shares_memory(out, x) for x in given), case


def test_the_engine_prepares_an_operation_once_for_equal_inputs() -> None:
    config.set_kernels("numpy")
    spec, x = OPS["relu"], np.ones((3, 4))
    assert run_op.prepare(spec, [x], {}, (True,)) is run_op.prepare(spec, [2 * x], {}, (True,))
    assert run_op.prepare(spec, [x], {}, (False,)) != run_op.prepare(spec, [x], {}, (True,))
