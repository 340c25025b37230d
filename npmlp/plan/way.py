"""How a replay goes on a number of threads: what Python does, and programs of compiled calls."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from npmlp import config
from npmlp.kernels.calls import Call
from npmlp.kernels.tables import address_of
from npmlp.ops.spec import Array
from npmlp.plan.prepare import Prepared
from npmlp.plan.tape import set_grad


class Way:
    """A replay, prepared.

    Parameters: `prepared`, what each entry needs; `threads`; `inputs`, the plan's own arrays for
    the inputs; `is_written`, whether entries write an array's memory.

    Attributes: `calls`, made in turn between `begin` and `end`; `failed`, the number of the entry
    that raised an error last.
    """

    def __init__(
        self, prepared: Sequence[Prepared], threads: int, inputs: Sequence[Array],
        is_written: Callable[[Array], bool],
    ) -> None:  # fmt: skip
        self.prepared = prepared
        self._first = [(i, p.first) for i, p in enumerate(prepared) if p.first is not None]
        self._undo = [(i, p.undo) for i, p in enumerate(prepared) if p.undo is not None]
        calls = [(i, call) for i, p in enumerate(prepared) for call in p.calls]
        # of several gradients that a leaf is given in a step the last one stays
        given = {id(p.last[0]): p.last for p in prepared if p.last is not None}
        if not all(_can_be_in_a_program(call) for _, call in calls):
            # what Python does in between may look at them
            given = {}
            calls = [
                (i, call)
                for i, p in enumerate(prepared)
                for call in (*p.calls, *([] if p.last is None else [Call(set_grad, p.last)]))
            ]
        self._given = list(given.values())
        self.calls: list[Callable[[], None]] = []
        self.failed = 0
        by_python = [call for _, call in self._first]
        programs: list[Any] = []
        self._entries: list[list[int]] = []  # of each of `calls`, which entries are in it
        for is_compiled, group in itertools.groupby(calls, lambda c: _can_be_in_a_program(c[1])):
            entries, made = zip(*group, strict=True)
            if is_compiled:
                from npmlp.kernels.program import Program

                programs.append(Program(made, threads, self._copy_inputs))
                self.calls.append(programs[-1])
                self._entries.append(list(entries))
            else:
                by_python += made
                self.calls += [call.make for call in made]
                self._entries += [[i] for i in entries]
        read_here = [a for call in by_python for a in _arrays_in(call.arguments)]
        self._inputs = [
            _Input(own, () if is_written(own) or _reads(read_here, own) else programs)
            for own in inputs
        ]

    def begin(self, arrays: Sequence[Array]) -> bool:
        """Take inputs, and do what Python does before the rest.

        Returns: whether this way still does what the step does; if not, make another, and have it
        `take` the inputs.
        """
        self.failed = 0
        self.take(arrays)
        good = True
        for i, call in self._first:
            try:
                if call.function(*call.arguments) is False:
                    good = False
            except BaseException:  # a label out of range: the step fails where it would have
                self.failed = i
                self._do_before(i)
                raise
        return good

    def _copy_inputs(self) -> None:
        """Put the inputs into the plan's own arrays, where calls from Python read them."""
        for its in self._inputs:
            np.copyto(its.own, its.array)

    def _do_before(self, entry: int) -> None:
        """What the step does until it comes to an entry."""
        self._copy_inputs()
        for prepared in self.prepared[:entry]:
            for call in prepared.calls:
                call.make()

    def seconds(self, arrays: Sequence[Array]) -> tuple[list[float], float]:
        """Replay the step. Returns: how long each entry took, and all that is between them."""
        taken = [0.0] * len(self.prepared)
        clock = time.perf_counter
        start = clock()
        self.take(arrays)
        for i, call in self._first:
            began = clock()
            call.function(*call.arguments)
            taken[i] += clock() - began
        for entries, group in zip(self._entries, self.calls, strict=True):
            began = clock()
            if hasattr(group, "seconds"):
                each, _ = group.seconds()
            else:
                group()
                each = [clock() - began]
            for i, one in zip(entries, each, strict=True):
                taken[i] += one
        self.end()
        return taken, clock() - start - sum(taken)

    def take(self, arrays: Sequence[Array]) -> None:
        """Read inputs from these arrays."""
        for its, array in zip(self._inputs, arrays, strict=True):
            its.take(array)

    def run(self) -> None:
        """Make all calls. Where one raises an error, what Python did for those that were not
        reached is taken back.
        """
        for entries, call in zip(self._entries, self.calls, strict=True):
            try:
                call()
            except BaseException:
                self.failed = entries[getattr(call, "failed", 0)]
                for i, undo in self._undo:
                    if i > self.failed:
                        undo.make()
                raise

    def end(self) -> None:
        """What Python does after the rest."""
        for leaf, grad in self._given:
            leaf._grad = grad


class _Input:
    """An input: programs read it where it is, if they alone do; otherwise it is copied."""

    def __init__(self, own: Array, programs: Sequence[Any]) -> None:
        self.own = self.array = own
        self._address = self._now = address_of(own)
        found = [program.places_of(own) for program in programs]
        self._words = [(code, at, offset) for each in found for code, at, offset in each]

    def take(self, array: Array) -> None:
        """Have this array read."""
        self.array = array
        address = self._address
        if array is not self.own:
            if self._words and array.strides == self.own.strides and array.flags.aligned:
                address = address_of(array)
            else:
                np.copyto(self.own, array)
        if address != self._now:
            self._now = address
            for code, at, offset in self._words:
                code[at] = address + offset


def _arrays_in(value: Any) -> Iterator[Array]:
    """The arrays among a call's arguments, however deep: an oracle has its inputs in a tuple."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        yield from _arrays_in(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _arrays_in(part)
    elif hasattr(value, "_data"):
        yield from _arrays_in(value._data)


def _reads(arrays: Sequence[Array], own: Array) -> bool:
    return any(np.may_share_memory(a, own) for a in arrays)


def _can_be_in_a_program(call: Call) -> bool:
    if config.get_kernels() != "numba":
        return False
    from npmlp.kernels.program import compiled

    return compiled(call)
