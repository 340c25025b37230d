"""What the generated checks are made of: cases, runs of an operation, comparisons.

A case is one of an operation's samples. It is run as the engine runs it (npmlp.run_op), with the
oracle or with a kernel, and its gradients get the same random cotangent `dout` everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from npmlp import run_op
from npmlp.numeric_gradient import differences
from npmlp.ops.registry import OPS
from npmlp.ops.spec import Array, Kernel, Layout, OpSpec
from reference_torch.twins import TWINS

every_op = pytest.mark.parametrize("name", OPS)
every_gradient = pytest.mark.parametrize("name", [n for n, s in OPS.items() if s.backward])
every_kernel = pytest.mark.parametrize("name", [n for n, s in OPS.items() if s.kernels])
floats = pytest.mark.parametrize("dtype", ["float32", "float64"])


@dataclass(frozen=True)
class Case:
    """One sample of one operation."""

    name: str
    index: int
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]

    def __str__(self) -> str:
        shapes = ", ".join("None" if x is None else str(x.shape) for x in self.inputs)
        return f"{self.name}, sample {self.index}: {shapes} {self.attrs}"


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))  # hash() differs in each process


@cache
def cases(name: str) -> list[Case]:
    """All samples of an operation, the same ones at every call."""
    samples = OPS[name].samples(_rng(name))
    return [Case(name, i, tuple(s.inputs), dict(s.attrs)) for i, s in enumerate(samples)]


def cast(arrays: Sequence[Any], dtype: Any) -> tuple[Any, ...]:
    """The floating arrays among `arrays` in another dtype; the memory order stays."""
    return tuple(
        x if x is None or x.dtype.kind != "f" else x.astype(dtype, order="K") for x in arrays
    )


def wanted(spec: OpSpec, inputs: Sequence[Any]) -> tuple[bool, ...]:
    """Which inputs have a gradient, as the engine's `needs` when all of them are asked for."""
    if spec.backward is None:
        return (False,) * len(inputs)
    positions = range(len(inputs)) if spec.differentiable is None else spec.differentiable
    return tuple(
        x is not None and x.dtype.kind == "f" and i in positions for i, x in enumerate(inputs)
    )


# ---------------------------------------------------------------------------- running an operation


@dataclass
class Run:
    """An operation that ran forward, and what its backward may see."""

    spec: OpSpec
    layout: Layout
    kernel: Kernel | None
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    needs: tuple[bool, ...]
    outs: tuple[Array, ...]

    def backward(self, dout: Array) -> tuple[Any, ...]:
        """The gradients; only what the layout keeps is shown to the operation."""
        inputs = run_op.kept_inputs(self.layout, self.inputs)
        outs = [x if i in self.layout.keep_outs else None for i, x in enumerate(self.outs)]
        shapes = [None if x is None else x.shape for x in self.inputs]
        grads = run_op.run_backward(
            self.spec, self.layout, self.kernel, dout, inputs, outs, self.needs, shapes, self.attrs
        )
        return tuple(g if needed else None for g, needed in zip(grads, self.needs, strict=True))


def layout_of(
    spec: OpSpec, inputs: Sequence[Any], attrs: dict[str, Any], needs: Sequence[bool]
) -> Layout:
    shapes = tuple(None if x is None else x.shape for x in inputs)
    dtypes = tuple(None if x is None else x.dtype for x in inputs)
    return spec.layout(shapes, dtypes, attrs, tuple(needs))


def run(
    spec: OpSpec,
    inputs: Sequence[Any],
    attrs: dict[str, Any],
    needs: Sequence[bool] | None = None,
    kernel: Kernel | None = None,
) -> Run:
    """Run an operation forward: with `kernel`, or with its oracle."""
    inputs = tuple(inputs)
    needs = wanted(spec, inputs) if needs is None else tuple(needs)
    layout = layout_of(spec, inputs, attrs, needs)
    outs = run_op.run_forward(spec, layout, kernel, inputs, attrs)
    return Run(spec, layout, kernel, inputs, attrs, needs, outs)


def kernels_for(spec: OpSpec, inputs: Sequence[Any], attrs: dict[str, Any]) -> dict[str, Kernel]:
    """The compiled implementations that are meant for these inputs."""
    shapes = tuple(None if x is None else x.shape for x in inputs)
    dtypes = tuple(None if x is None else x.dtype for x in inputs)
    return {n: k for n, k in spec.kernels.items() if k.when(shapes, dtypes, attrs)}


def random_dout(case: Case, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """The cotangent of a case."""
    rng = np.random.default_rng(1000 + case.index)
    return rng.standard_normal(shape).astype(dtype)


# -------------------------------------------------------------------------------------- comparing


def largest(x: Any) -> float:
    """The largest finite entry, by size; 0 if there is none."""
    x = np.abs(np.asarray(x, np.float64))
    x = x[np.isfinite(x)]
    return float(x.max()) if x.size else 0.0


def assert_close(actual: Array, expected: Array, tol: float, terms: float, what: str) -> None:
    """Equal to `tol` times the largest entry of `expected`; whole numbers exactly.

    Where everything expected is below 1e-6 of `terms`, it is what was left when terms of that size
    cancelled (a softmax over one entry has gradient 0), and its own size means nothing: then
    `terms` is the scale.
    """
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if expected.dtype.kind != "f":
        assert np.array_equal(actual, expected), f"{what}: {actual} instead of {expected}"
        return
    scale = largest(expected)
    if scale < 1e-6 * terms:
        scale = terms
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(actual.astype(np.float64) - expected))
    worst = float(error.max()) if error.size else 0.0
    assert worst <= tol * scale, (
        f"{what}: off by {worst:.3g}, {worst / (scale or 1):.3g} of the largest entry, where "
        f"{tol:.3g} is allowed; {actual.reshape(-1)[error.argmax()]} instead of "
        f"{expected.reshape(-1)[error.argmax()]} at {np.unravel_index(error.argmax(), error.shape)}"
    )


# Central differences with h = 6e-6, the cube root of float64's rounding u: cutting the series off
# costs h²/6 f''' = 6e-12 f''', rounding costs u |f| / h = 2e-11 |f|, both u^(2/3) times what the
# function is like. f''' reaches a few hundred among the samples (1/y at y = 0.3: 6/y⁴ = 740), which
# with the other rounding makes 1000 u^(2/3). The sabotage below is 1e-2, far above.
STEP = float(np.finfo(np.float64).eps ** (1 / 3))
NUMERIC_TOL = 1000 * STEP**2
ENTRIES = 40  # of each input so many, drawn at random, are differentiated


@dataclass
class Numeric:
    """The gradients of a case by finite differences, at some entries of each input."""

    inputs: tuple[Any, ...]
    dout: Array
    entries: dict[int, Array]
    values: dict[int, Array]
    terms: float


@cache
def numeric(name: str, index: int) -> Numeric:
    """Finite differences of a case, taken once: the sabotaged operations are held against them."""
    spec, case = OPS[name], cases(name)[index]
    inputs = tuple(
        None if x is None else np.array(x) for x in spec.domain(*case.inputs, **case.attrs)
    )
    first = run(spec, inputs, case.attrs)
    dout = random_dout(case, first.outs[0].shape)

    def evaluate() -> Array:
        again = run_op.run_forward(spec, first.layout, None, inputs, case.attrs)[0]
        return np.array(again).reshape(-1)

    entries, values = {}, {}
    for i, needed in enumerate(first.needs):
        if needed:
            chosen = np.random.default_rng(i).permutation(inputs[i].size)[:ENTRIES]
            entries[i] = chosen
            slopes = differences(evaluate, inputs[i], chosen, STEP)
            values[i] = slopes @ dout.reshape(-1)
    return Numeric(inputs, dout, entries, values, largest(dout) * (1 + largest(first.outs[0])))


def check_finite_differences(spec: OpSpec, case: Case) -> None:
    """The oracle's gradients are the slopes of the oracle."""
    expected = numeric(case.name, case.index)
    grads = run(spec, expected.inputs, case.attrs).backward(expected.dout)
    for i, entries in expected.entries.items():
        actual = np.asarray(grads[i]).reshape(-1)[entries]
        what = f"{case}: gradient of input {i} against finite differences"
        assert_close(actual, expected.values[i], NUMERIC_TOL, expected.terms, what)


def to_torch(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(x, order="C"))


@cache
def by_torch(name: str, index: int) -> tuple[tuple[Array, ...], Array, tuple[Any, ...]]:
    """(outputs, dout, gradients) of a case, by PyTorch in float64."""
    spec, case = OPS[name], cases(name)[index]
    needs = wanted(spec, case.inputs)
    tensors = [
        None if x is None else to_torch(x).requires_grad_(needed)
        for x, needed in zip(case.inputs, needs, strict=True)
    ]
    result = TWINS[name](*tensors, **case.attrs)
    outputs = result if isinstance(result, tuple) else (result,)
    dout = random_dout(case, tuple(outputs[0].shape))
    asked = [t for t, needed in zip(tensors, needs, strict=True) if needed]
    grads: list[Any] = [None] * len(tensors)
    if asked:
        found = torch.autograd.grad(outputs[0], asked, torch.from_numpy(dout))
        for i, g in zip(np.flatnonzero(needs), found, strict=True):
            grads[i] = g.numpy()
    return tuple(t.detach().numpy() for t in outputs), dout, tuple(grads)


def check_against_torch(spec: OpSpec, case: Case) -> None:
    """The oracle's outputs and gradients are PyTorch's, on the raw sample, kinks included."""
    outputs, dout, grads = by_torch(case.name, case.index)
    ours = run(spec, case.inputs, case.attrs)
    terms = max(map(largest, [x for x in case.inputs if x is not None]), default=0.0)
    tol = spec.tol["float64"]
    assert ours.layout.n_outputs == len(outputs), f"{case}: the twin returns {len(outputs)} outputs"
    for i, (out, expected) in enumerate(zip(ours.outs, outputs, strict=False)):
        assert out.dtype == expected.dtype, f"{case}: output {i} has dtype {out.dtype}"
        assert_close(out, expected, tol, terms, f"{case}: output {i} against PyTorch")
    if spec.backward is not None:
        assert_gradients(ours.backward(dout), grads, tol, dout, f"{case}, against PyTorch")


def assert_gradients(
    actual: Sequence[Any], expected: Sequence[Any], tol: float, dout: Array, what: str
) -> None:
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert (a is None) == (e is None), f"{what}: gradient of input {i} is {a}, expected {e}"
        if e is not None:
            assert_close(a, e, tol, largest(dout), f"{what}: gradient of input {i}")


def check_against_float64(
    spec: OpSpec, case: Case, inputs: Sequence[Any], dtype: str, kernel: Kernel | None
) -> None:
    """Outs and gradients, of a kernel or the oracle, are those of the oracle in float64.

    `inputs` are the case's, perhaps with another memory layout.
    """
    inputs = cast(inputs, dtype)
    exact = run(spec, [None if x is None else np.array(x) for x in cast(inputs, "f8")], case.attrs)
    ours = run(spec, inputs, case.attrs, kernel=kernel)
    terms = max(map(largest, [x for x in inputs if x is not None]), default=0.0)
    tol, what = spec.tol[dtype], f"{case}, {dtype}"
    for i, (out, expected) in enumerate(zip(ours.outs, exact.outs, strict=True)):
        assert_close(out, expected, tol, terms, f"{what}: out {i}")
    if spec.backward is not None and any(ours.needs):
        dout = random_dout(case, ours.outs[0].shape, ours.outs[0].dtype)
        expected_grads = exact.backward(dout.astype(exact.outs[0].dtype))
        assert_gradients(ours.backward(dout), expected_grads, tol, dout, what)


# ------------------------------------------------------------------------- memory layouts, sabotage


def _strided(x: Array) -> Array:
    """Every second entry, in every dimension, of an array that is twice as large."""
    wide = np.full(tuple(2 * n for n in x.shape), 77, x.dtype)
    view = wide[(..., *(slice(0, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def _backwards(x: Array) -> Array:
    """The same entries with negative strides."""
    flip = (..., *(slice(None, None, -1) for _ in x.shape))
    return np.array(x[flip], order="C")[flip]


def _read_only(x: Array) -> Array:
    """As of a file that is mapped, or of a broadcast: kernels are compiled for it by themselves."""
    copy = x.copy()
    copy.setflags(write=False)
    return copy


MEMORY: dict[str, Callable[[Array], Array]] = {
    "transposed": lambda x: np.array(x, order="F"),
    "strided": _strided,
    "backwards": _backwards,
    "read-only": _read_only,
}


def _roll(g: Array) -> Array:
    return np.roll(g.reshape(-1), 1).reshape(g.shape)


SABOTAGE: dict[str, Callable[[Array], Array]] = {
    "scaled by 1.01": lambda g: g * g.dtype.type(1.01),
    "set to zero": np.zeros_like,
    "moved by one entry": _roll,
}


def one_more(g: Array) -> Array:
    """The sabotage of a gradient that is 0 everywhere."""
    return g + 1


def sabotaged(
    backward: Callable[..., tuple[Any, ...]], position: int, change: Callable[[Array], Array]
) -> Callable[..., tuple[Any, ...]]:
    """A backward with one wrong term."""

    def wrong(*args: Any, **attrs: Any) -> tuple[Any, ...]:
        grads = list(backward(*args, **attrs))
        if position < len(grads) and grads[position] is not None:
            grads[position] = change(np.asarray(grads[position]))
        return tuple(grads)

    return wrong
