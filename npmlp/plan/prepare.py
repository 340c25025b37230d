"""From entries to calls: what each operation's face would do, without the face.

A face is run once, with calls kept instead of made (npmlp.kernels.calls): what is left are compiled
functions with their arguments. An operation without a kernel, or with kernels "numpy", is a call of
its oracle, whose results are copied to their places.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp import config
from npmlp.kernels.calls import Call, keeping
from npmlp.ops.spec import Array, OpSpec
from npmlp.plan.tape import Action, Backward, Entry, Forward, owner, set_grad
from npmlp.recording import Repeatable


def scratch_of(entry: Entry) -> tuple[Any, ...]:
    """What an entry's kernel needs to work: (shape, dtype) for each array."""
    if isinstance(entry, Forward) and entry.kernel is not None:
        return entry.layout.scratch
    if isinstance(entry, Backward) and _has_kernel(entry):
        return entry.layout.backward_scratch
    return ()


def _has_kernel(entry: Backward) -> bool:
    return entry.kernel is not None and not entry.kernel.forward_only


def prepare(
    entry: Entry, scratch: tuple[Array, ...], on_threads: bool, written: set[int]
) -> Prepared:
    """What a replay does of one entry, on the plan's arrays.

    Parameters: `written`, ids of the memory that entries write.
    """
    if isinstance(entry, Forward):
        return Prepared(_forward(entry, scratch, on_threads))
    if isinstance(entry, Backward):
        return Prepared(_backward(entry, scratch, on_threads))
    assert isinstance(entry, Action)
    return _action(entry, on_threads, written)


def again(entry: Entry) -> Entry:
    """The same entry in the step that follows in the same replay."""
    if isinstance(entry, Action):
        function = entry.function
        if isinstance(function, Repeatable) and function.again is not None:
            return dataclasses.replace(entry, function=function.again())
    return entry


@dataclass
class Prepared:
    """Of one entry: its calls, in their place among the others'; what Python does before all of
    them (recording.Repeatable), and what takes that back; and the leaf that is given a gradient
    after them, with that.
    """

    calls: list[Call]
    first: Call | None = None
    undo: Call | None = None
    last: tuple[Any, Any] | None = None


def _action(entry: Action, on_threads: bool, written: set[int]) -> Prepared:
    function, arguments = entry.function, entry.arguments
    if function is set_grad:
        leaf, grad = arguments
        return Prepared([], last=(leaf, grad))
    if isinstance(function, Repeatable):
        first = None if function.first is None else Call(function.first, arguments)
        undo = None if function.undo is None else Call(function.undo, arguments)
        if function.keep is not None:
            with keeping(on_threads) as calls:
                kept = function.keep(*arguments)
            if kept:
                return Prepared(calls, first, undo)
        elif first is not None and not any(id(owner(a)) in written for a in entry.reads()):
            return Prepared([], first, undo)
    return Prepared([Call(function, arguments)])


def _forward(entry: Forward, scratch: Any, on_threads: bool) -> list[Call]:
    if entry.kernel is not None:
        with keeping(on_threads) as calls:
            entry.kernel.forward(entry.inputs, entry.outs, scratch, **entry.attrs)
        return calls
    if _aliases(entry.outs, entry.inputs):
        return []
    return [Call(_oracle_forward, (entry.spec, entry.inputs, entry.attrs, entry.outs))]


def _backward(entry: Backward, scratch: Any, on_threads: bool) -> list[Call]:
    dout, inputs, outs, grads = entry.dout, entry.inputs, entry.outs, entry.grads
    if _has_kernel(entry):
        assert entry.kernel is not None
        with keeping(on_threads) as calls:
            entry.kernel.backward(dout, inputs, outs, grads, scratch, **entry.attrs)
        return calls
    # what is passed on, dout itself or a view of it, need not be written
    written = tuple(
        g if isinstance(g, np.ndarray) and not np.shares_memory(g, dout) else None for g in grads
    )
    if all(g is None for g in written):
        return []
    arguments = (entry.spec, dout, inputs, outs, entry.needs, entry.shapes, entry.attrs, written)
    return [Call(_oracle_backward, arguments)]


def written_by(entry: Entry) -> list[Array]:
    """The arrays that an entry writes; what a reshape gives has not been written by it."""
    if isinstance(entry, Forward) and entry.kernel is None and _aliases(entry.outs, entry.inputs):
        return []
    return entry.writes()


def _aliases(outs: tuple[Array, ...], inputs: tuple[Any, ...]) -> bool:
    """Whether all that comes out is an input's own memory, as of a reshape."""
    arrays = [x for x in inputs if isinstance(x, np.ndarray)]
    return all(any(np.may_share_memory(out, x) for x in arrays) for out in outs)


def _oracle_forward(spec: OpSpec, inputs: Any, attrs: Any, outs: tuple[Array, ...]) -> None:
    if spec.blas:
        config.hold_blas_at_one_thread()
    with np.errstate(all="ignore"):
        results = spec.forward(*inputs, **attrs)
    for out, result in zip(
        outs, results if isinstance(results, tuple) else (results,), strict=True
    ):
        np.copyto(out, result)


def _oracle_backward(
    spec: OpSpec, dout: Array, inputs: Any, outs: Any, needs: Any, shapes: Any, attrs: Any,
    written: tuple[Any, ...],
) -> None:  # fmt: skip
    from npmlp.run_op import unbroadcast

    assert spec.backward is not None
    with np.errstate(all="ignore"):
        grads = spec.backward(dout, inputs, outs, needs, **attrs)
        for to, grad, shape in zip(written, grads, shapes, strict=True):
            if to is not None:
                grad = unbroadcast(np.asarray(grad), shape) if spec.broadcasts else grad
                np.copyto(to, grad)
