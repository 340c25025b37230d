"""A step as it was recorded: its entries on the plan's arrays, when they hold, their replays."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from npmlp import config
from npmlp.ops.spec import Array
from npmlp.plan.arena import Arena, Others
from npmlp.plan.fuse import fuse
from npmlp.plan.prepare import again, prepare, scratch_of, written_by
from npmlp.plan.tape import Entry, Tape, grads_given, owner
from npmlp.plan.way import Way
from npmlp.tensor import Tensor


@dataclass
class _Step:
    """A step as a replay does it. Of several in a replay each has inputs and results of its own."""

    entries: list[Entry]
    inputs: list[Array]
    result: Any


class Recording:
    """A step for inputs of some shapes: its calls, and what must be as it was for them to hold."""

    def __init__(self, tape: Tape, inputs: list[Tensor], result: Any) -> None:
        self._before = _Before(tape)
        self._threads: Any = None  # the module, where there are kernels that use them
        if config.get_kernels() == "numba":
            from npmlp.kernels import threads

            self._threads = threads
        results = [owner(t._data) for t in tensors_of(result)]
        seen = {id(own) for own in (*results, *(owner(t._data) for t in tape.shown))}
        entries = fuse(tape.entries, seen)
        scratch = [scratch_of(entry) for entry in entries]
        older = set(tape.older)
        self.arena = Arena(entries, older | seen, scratch)
        first = _Step(
            [entry.on(self.arena) for entry in entries],
            [t._data for t in inputs],
            each_tensor(result, lambda t: Tensor._wrap(t._data)),
        )
        self._steps = [first]
        self._written = {id(owner(a)) for entry in first.entries for a in written_by(entry)}
        self._of_each = [*map(owner, first.inputs), *results]
        self.can_be_many = _can_be_many(tape, results)
        self._ways: dict[tuple[int, int], Way] = {}

    @property
    def entries(self) -> list[Entry]:
        """What a step does."""
        return self._steps[0].entries

    @property
    def inputs(self) -> list[Array]:
        """The plan's own arrays for the step's inputs."""
        return self._steps[0].inputs

    def holds(self) -> bool:
        """Whether a replay would do what the step would do now."""
        return self._before.is_still_so()

    def way(self, threads: int, steps: int = 1) -> Way:
        """How a number of threads replays the step, or several of them."""
        if (threads, steps) not in self._ways:
            while len(self._steps) < steps:
                self._steps.append(self._one_more())
            self._ways[threads, steps] = Way(
                [
                    prepare(entry, scratch, threads > 1, self._written)
                    for step in self._steps[:steps]
                    for entry, scratch in zip(step.entries, self.arena.scratch, strict=True)
                ],
                threads,
                [own for step in self._steps[:steps] for own in step.inputs],
                lambda own: id(owner(own)) in self._written,
            )
        return self._ways[threads, steps]

    def _one_more(self) -> _Step:
        """The step once more, for a replay of several."""
        first, place = self._steps[0], Others(self._of_each)
        self._written |= {
            id(owner(place(own))) for own in self._of_each if id(own) in self._written
        }
        return _Step(
            [again(entry).on(place) for entry in first.entries],
            [place(own) for own in first.inputs],
            each_tensor(first.result, lambda t: Tensor._wrap(place(t._data))),
        )

    def run(self, *inputs: list[Array]) -> tuple[list[Any], BaseException | None]:
        """Replay the step on each of some inputs.

        Returns: what the steps returned, with the new values; and the error that ended them, after
        which there were no more.
        """
        steps = len(inputs)
        arrays = inputs[0] if steps == 1 else list(itertools.chain(*inputs))
        count = 1 if self._threads is None else self._threads.numba.get_num_threads()
        error = None
        # on_threads written out: a context manager costs a microsecond, of some forty in all
        taken = count > 1 and self._threads.take()
        try:
            self.replay(count if taken else 1, arrays, steps)
        except BaseException as found:
            error = found
            steps = self._failed // len(self.entries)
        finally:
            if taken:
                self._threads.give_back()
        return [each_tensor(step.result, copied) for step in self._steps[:steps]], error

    @contextlib.contextmanager
    def on_threads(self, count: int) -> Iterator[int]:
        """Take the threads for all calls of a replay. Gives their number, 1 if others have them."""
        if self._threads is None or count == 1 or not self._threads.take():
            yield 1
            return
        try:
            yield count
        finally:
            self._threads.give_back()

    def replay(self, threads: int, arrays: list[Array] | None = None, steps: int = 1) -> None:
        """Do what the step does, on the inputs of the last time or on others."""
        self._failed = 0
        way = self.way(threads, steps)
        arrays = self.inputs if arrays is None else arrays
        try:
            if not way.begin(arrays):
                self._ways.clear()
                way = self.way(threads, steps)
                way.take(arrays)
            way.run()
        except BaseException:
            self._failed = way.failed
            raise
        way.end()


def _can_be_many(tape: Tape, results: list[Array]) -> bool:
    """Whether steps may follow each other in a replay: the recording holds after a step, too, and
    what a step returns has no other use, so that each can have its own.
    """
    given = grads_given(tape.entries)
    shown = {id(owner(t._data)) for t in tape.shown}
    return all(given.get(id(leaf), grad) is grad for leaf, grad in tape.found) and all(
        id(own) in tape.made and id(own) not in shown for own in results
    )


_data, _needed = operator.attrgetter("_data"), operator.attrgetter("_requires_grad")
_training, _grad = operator.attrgetter("training"), operator.attrgetter("_grad")
_hooks, _pre_hooks = (operator.attrgetter(f"_forward{n}_hooks") for n in ("", "_pre"))
_params = operator.itemgetter("params")


class _Before:
    """What a recording found when it was made: a replay is right while it is still so.

    This is asked at every replay, so the loops over parameters and modules are those of Python's
    own `map`, which are three times as fast as written out.
    """

    def __init__(self, tape: Tape) -> None:
        leaves = list(tape.leaves.values())
        self.leaves, self.arrays, self.needed = ([leaf[i] for leaf in leaves] for i in range(3))
        self.modules, self.training = ([m[i] for m in tape.modules.values()] for i in range(2))
        self.owners, self.grads = ([found[i] for found in tape.found] for i in range(2))
        self.optimizers = [
            (optimizer, [p for group in optimizer.param_groups for p in group["params"]])
            for optimizer in {id(o): o for o in tape.optimizers}.values()
        ]

    def is_still_so(self) -> bool:
        """Whether parameters, modules, gradients and optimizers are as they were."""
        return (
            all(map(operator.is_, map(_data, self.leaves), self.arrays))
            and list(map(_needed, self.leaves)) == self.needed
            and list(map(_training, self.modules)) == self.training
            and not any(map(_hooks, self.modules))
            and not any(map(_pre_hooks, self.modules))
            and all(map(operator.is_, map(_grad, self.owners), self.grads))
            and all(map(self._has_its_parameters, self.optimizers))
        )

    @staticmethod
    def _has_its_parameters(found: tuple[Any, list[Tensor]]) -> bool:
        optimizer, expected = found
        now_ = list(itertools.chain.from_iterable(map(_params, optimizer.param_groups)))
        return len(now_) == len(expected) and all(map(operator.is_, now_, expected))


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors in what a step returned."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        return [t for value in result.values() for t in tensors_of(value)]
    if isinstance(result, (tuple, list)):
        return [t for value in result for t in tensors_of(value)]
    return []


def each_tensor(result: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same with another tensor for each."""
    if isinstance(result, Tensor):
        return function(result)
    if isinstance(result, dict):
        return {key: each_tensor(value, function) for key, value in result.items()}
    if isinstance(result, (tuple, list)):
        parts = [each_tensor(value, function) for value in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def copied(t: Tensor) -> Tensor:
    """Of a result, since the next replay writes to the same place."""
    return Tensor._wrap(t._data.copy())
