"""capture: a training step that is recorded once and then replayed."""

from __future__ import annotations

import contextlib
import itertools
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import config
from npmlp.errors import GraphError
from npmlp.grad_mode import mode
from npmlp.ops.spec import Array
from npmlp.plan.arena import Arena, Others
from npmlp.plan.fuse import fuse
from npmlp.plan.prepare import again, prepare, scratch_of, written_by
from npmlp.plan.tape import Entry, Tape, owner
from npmlp.plan.way import Way
from npmlp.recording import now
from npmlp.tensor import Tensor

if TYPE_CHECKING:
    from npmlp.plan.explain import Explanation

_MOST = 8  # recordings of one plan; who needs more does not repeat itself


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
        results = [owner(t._data) for t in _tensors(result)]
        seen = {id(own) for own in (*results, *(owner(t._data) for t in tape.shown))}
        entries = fuse(tape.entries, seen)
        scratch = [scratch_of(entry) for entry in entries]
        older = set(tape.older)
        self.arena = Arena(entries, older | seen, scratch)
        first = _Step(
            [entry.on(self.arena) for entry in entries],
            [t._data for t in inputs],
            _each_tensor(result, lambda t: Tensor._wrap(t._data)),
        )
        self._steps = [first]
        self._written = {id(owner(a)) for entry in first.entries for a in written_by(entry)}
        self._of_each = [*map(owner, first.inputs), *results]
        computed = {id(own) for own in results} <= set(tape.made)
        shown = {id(owner(t._data)) for t in tape.shown}
        self.can_be_many = computed and not any(id(own) in shown for own in results)
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
            _each_tensor(first.result, lambda t: Tensor._wrap(place(t._data))),
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
        return [_each_tensor(step.result, _copy) for step in self._steps[:steps]], error

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


class Plan:
    """A step that is replayed: call it as the step. See `capture`.

    Attributes: `reason`, why the step runs eagerly instead, or None.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step = step
        self.reason: str | None = None
        self._recordings: dict[Any, list[Recording]] = {}

    def __call__(self, *args: Any) -> Any:
        if self.reason is not None or now.tape is not None:
            return self.step(*args)
        key = self._key(args)
        recording = self._found(key)
        if recording is not None:
            results, error = recording.run(_arrays(args))
            if error is not None:
                raise error
            return results[0]
        if self.reason is not None:
            return self.step(*args)
        if sum(map(len, self._recordings.values())) >= _MOST:
            self._run_eagerly(
                f"it was recorded {_MOST} times, for as many shapes, modes or sets of gradients"
            )
            return self.step(*args)
        return self._record(key, args)

    def each(self, calls: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """(self(*args) for args in calls), in as few replays as can be: see `capture`.

        Calls of the same shapes are one replay, whatever of their results has been asked for.
        """
        waiting = [(self._key(args), args) for args in calls]
        while waiting:
            key, first = waiting[0]
            recording, count = None, 1
            if self.reason is None and now.tape is None:
                recording = self._found(key)
            if recording is not None and recording.can_be_many:
                count = sum(1 for _ in itertools.takewhile(lambda w: w[0] == key, waiting))  # noqa: B023
            if count == 1:
                del waiting[0]
                yield self(*first)
                continue
            results, error = recording.run(*(_arrays(args) for _, args in waiting[:count]))
            del waiting[:count]
            yield from results
            if error is not None:
                raise error

    def _found(self, key: Any) -> Recording | None:
        """The recording that holds now for such arguments."""
        try:
            recordings = self._recordings.get(key, ())
        except TypeError:
            self._run_eagerly("an argument that is no tensor cannot be a dictionary's key")
            return None
        return next((recording for recording in recordings if recording.holds()), None)

    def explain(self, *example: Any) -> Explanation:
        """What every kernel of the step costs, and how near that is to what the machine can do.

        `example`: arguments of the step, as of `capture`, or none for the shapes that were recorded
        last. The step runs some thirty times and everything it changes is put back.
        Raises: GraphError, where nothing has been recorded, or nothing can be.
        """
        if example:
            self._prepare(example)
        recordings = list(itertools.chain(*self._recordings.values()))
        if not recordings:
            raise GraphError(
                f"explain: the step runs eagerly, since {self.reason}"
                if self.reason
                else "explain: no step has been recorded; call the plan, or pass an example"
            )
        from npmlp.plan.explain import explain

        return explain(recordings[-1])

    def _prepare(self, example: tuple[Any, ...]) -> None:
        """Record for such arguments where that has not been done; nothing is changed by it."""
        key = self._key(example)
        if self._found(key) is None and self.reason is None:
            self._record(key, example, keep=False)

    @staticmethod
    def _key(args: tuple[Any, ...]) -> Any:
        """What a recording is for: shapes and dtypes, other arguments, and the settings."""
        of_args: list[Any] = [
            (a._data.shape, a._data.dtype) if isinstance(a, Tensor) else (type(a), a) for a in args
        ]
        ids = list(map(id, args))
        if len(set(ids)) < len(ids):  # a tensor that is passed twice is one input
            of_args.append(tuple(map(ids.index, ids)))
        return (*of_args, mode.recording, config.get_kernels(), config.get_matmul())

    def _record(self, key: Any, args: tuple[Any, ...], keep: bool = True) -> Any:
        """Run the step and write down what it does; with `keep` false put everything back."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        if any(t._requires_grad for t in tensors):
            self._run_eagerly("one of its inputs requires a gradient")
            return self.step(*args) if keep else None
        # the plan's own inputs, which the caller's arrays are copied to
        own = {id(t): Tensor._wrap(np.array(t._data, order="K")) for t in tensors}
        inputs = [own[id(t)] for t in tensors]
        tape = Tape(inputs)
        now.tape = tape
        try:
            result = self.step(*[own[id(a)] if isinstance(a, Tensor) else a for a in args])
        except BaseException:
            now.tape = None  # or putting back would be recorded, too
            tape.restore()
            raise
        now.tape = None
        if any(t._requires_grad for t in _tensors(result)) and not tape.has_backward():
            tape.give_up(
                "it returns a tensor that requires a gradient and calls no backward(); call it "
                "within the step, or compute under no_grad()"
            )
        if not keep:
            tape.restore()
        if tape.reason is not None:
            self._run_eagerly(tape.reason)
            return result
        self._recordings.setdefault(key, []).append(Recording(tape, inputs, result))
        return _each_tensor(result, _copy)

    def _run_eagerly(self, reason: str) -> None:
        self.reason = reason
        warnings.warn(f"capture: the step runs eagerly, since {reason}", stacklevel=4)


def _arrays(args: Sequence[Any]) -> list[Array]:
    """Those of a step's arguments that are tensors."""
    return [a._data for a in args if isinstance(a, Tensor)]


def _tensors(result: Any) -> list[Tensor]:
    """The tensors in what a step returned."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        return [t for value in result.values() for t in _tensors(value)]
    if isinstance(result, (tuple, list)):
        return [t for value in result for t in _tensors(value)]
    return []


def _each_tensor(result: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same with another tensor for each."""
    if isinstance(result, Tensor):
        return function(result)
    if isinstance(result, dict):
        return {key: _each_tensor(value, function) for key, value in result.items()}
    if isinstance(result, (tuple, list)):
        parts = [_each_tensor(value, function) for value in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _copy(t: Tensor) -> Tensor:
    """Of a result, since the next replay writes to the same place."""
    return Tensor._wrap(t._data.copy())


def capture(step: Callable[..., Any], *example: Any) -> Plan:
    """A training step as a plan: recorded once, then replayed without Python in between.

    >>> import npmlp
    >>> from npmlp import nn
    >>> model = nn.Linear(3, 1)
    >>> optimizer = npmlp.optim.SGD(model.parameters(), lr=0.1)
    >>> def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> plan = npmlp.capture(step)
    >>> x, y = npmlp.ones(4, 3), npmlp.zeros(4, 1)
    >>> losses = [plan(x, y).item() for _ in range(3)]
    >>> losses[0] > losses[1] > losses[2]
    True

    Parameters
    ----------
    step : a function of tensors (and of other things, which are part of what is recorded) that does
        a step: forward, backward, the optimizer, whatever of it there is
    example : arguments to record with at once. The step runs on them, and everything it changed is
        put back: weights, gradients, statistics, the optimizer's state and the random stream.
        Without an example the first call is the one that is recorded, and counts.

    Returns: a Plan, which is called as the step is.

    Raises
    ------
    GraphError : the step reads a value while it is recorded: `item()`, `bool()`, `numpy()`

    Notes
    -----
    The results are bitwise those of the step itself. What a replay repeats is what happens to
    tensors: other things that the step does in Python, such as counting or printing, happen when it
    is recorded and not again. A function that does several steps makes one plan of them, which
    costs Python once for all. A learning rate, and whatever else stands in the optimizer's groups,
    is read at every replay. Inputs of another shape, a module's other mode, a parameter that is
    frozen or given new data: each is recorded anew. A step that cannot be repeated by a list of
    calls, as one with a hook, with random numbers other than dropout's or with a Function of its
    own, goes on running as it is; a warning and `plan.reason` say why. A plan has one set of arrays
    and is for one thread at a time.
    """
    plan = Plan(step)
    if example:
        plan._prepare(example)
    return plan
