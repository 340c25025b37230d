"""OpSpec: everything that npmlp knows about one operation, in one frozen record.

An operation takes arrays and gives arrays. Its oracle, in NumPy, returns them and reads like the
equation; a compiled kernel of the same operation writes into arrays that it is given. What arrays
those are, the layout says before anything runs.

    forward(*inputs, **attrs)                           -> out, or (out, more outs ...)
    backward(dout, inputs, outs, needs, **attrs)        -> a gradient per input, None if not needed
    layout(shapes, dtypes, attrs, needs)                -> Layout
    kernel.forward(inputs, outs, scratch, **attrs)      -> None, has written outs
    kernel.backward(dout, inputs, outs, grads, scratch, **attrs)  -> None, has written grads

`outs` begins with the operation's outputs and goes on with the arrays that are saved for backward.
`dout` is the gradient of the first output; the others (indices, statistics) have none. An absent
optional input is None, with shape None and dtype None. A backward never changes what it is given
and never returns one of `inputs` or `outs` itself; it may return `dout`, or a view of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Sequence[Any]  # of arrays, None for an absent optional input
Shapes = Sequence[Any]  # of tuples, None for an absent optional input
DTypes = Sequence[Any]  # of numpy dtypes, None likewise
Attrs = Mapping[str, Any]
Needs = Sequence[bool]


class ArraySpec(NamedTuple):
    """An array that does not exist yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """What an operation needs before it runs.

    `keep_inputs` and `keep_outs` are the positions of the arrays that backward reads: the engine
    keeps these alive, and only these. Of the inputs in `keep_shapes` backward reads shape and dtype
    alone: it gets an array that has these and no memory.
    """

    outs: tuple[ArraySpec, ...]
    n_outputs: int = 1
    keep_inputs: tuple[int, ...] = ()
    keep_outs: tuple[int, ...] = ()
    keep_shapes: tuple[int, ...] = ()
    scratch: tuple[ArraySpec, ...] = ()
    backward_scratch: tuple[ArraySpec, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A compiled implementation, imported when it is first needed.

    `family` is a module of npmlp.kernels, which has `<op>_forward` and `<op>_backward`. `when` says
    for which shapes, dtypes and attributes it is meant; the oracle runs the others. Where
    `forward_only`, backward is the oracle's: it passes dout on and computes nothing.
    """

    family: str
    op: str
    when: Callable[[Shapes, DTypes, Attrs], bool]
    forward_only: bool = False

    @cached_property
    def forward(self) -> Callable[..., None]:
        return self._function("forward")

    @cached_property
    def backward(self) -> Callable[..., None]:
        return self._function("backward")

    def _function(self, direction: str) -> Callable[..., None]:
        module = importlib.import_module(f"npmlp.kernels.{self.family}")
        function: Callable[..., None] = getattr(module, f"{self.op}_{direction}")
        return function


ORACLE = "numpy"


class Sample(NamedTuple):
    """Valid inputs of an operation, for the generated checks: float64 arrays, to be cast."""

    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default is never written to


class BadInput(NamedTuple):
    """Inputs that must be refused, the error expected, and a part of its message."""

    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    error: type[Exception]
    message: str


def everywhere(*inputs: Any, **attrs: Any) -> tuple[Any, ...]:
    """The domain of a smooth operation: finite differences may be taken at any sample."""
    return inputs


@dataclass(frozen=True, eq=False)  # compared and hashed as the one object that it is
class OpSpec:
    """One operation. `npmlp.ops.registry.OPS` lists them all.

    Parameters
    ----------
    name : the operation's name, and its key in reference_torch/twins.py
    forward, backward, layout : as in this module's docstring; `backward=None`: not differentiable
    samples : rng -> list of Sample
    tol : {numpy dtype name: tolerance relative to the largest entry}; its origin in a comment
    source : the paper or documentation, with the equation
    kernels : compiled implementations by name, beside the oracle
    bad_inputs : () -> list of BadInput
    domain : (*inputs, **attrs) -> inputs moved off the kinks that finite differences must avoid
    differentiable : positions of the inputs that can have a gradient; None for all of them
    broadcasts : inputs broadcast against each other; the engine sums gradients back to their shapes
    view : the output is a view of the first input and copies nothing
    blas : the oracle calls BLAS
    flat : the gradient is 0 everywhere, since the output is constant between jumps
    """

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., tuple[Any, ...]] | None
    layout: Callable[[Shapes, DTypes, Attrs, Needs], Layout]
    samples: Callable[[np.random.Generator], list[Sample]]
    tol: Mapping[str, float]
    source: str
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    bad_inputs: Callable[[], list[BadInput]] = list
    domain: Callable[..., tuple[Any, ...]] = everywhere
    differentiable: tuple[int, ...] | None = None
    broadcasts: bool = False
    view: bool = False
    blas: bool = False
    flat: bool = False


def away_from(*kinks: float, by: float = 1e-2) -> Callable[..., tuple[Any, ...]]:
    """A domain that moves every entry of every input at least `by` away from the `kinks`."""

    def domain(*inputs: Any, **attrs: Any) -> tuple[Any, ...]:
        moved = []
        for x in inputs:
            if x is not None and x.dtype.kind == "f":
                for kink in kinks:
                    side = np.where(x >= kink, kink + by, kink - by)
                    x = np.where(np.abs(x - kink) < by, side, x)
            moved.append(x)
        return tuple(moved)

    return domain
