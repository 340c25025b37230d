"""capture: a training step that is recorded once and then replayed."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import config
from npmlp.errors import GraphError
from npmlp.grad_mode import mode
from npmlp.kernels.calls import alone
from npmlp.ops.spec import Array
from npmlp.plan.recorded import Recording, copied, each_tensor, tensors_of
from npmlp.plan.tape import Tape
from npmlp.recording import now
from npmlp.tensor import Tensor

if TYPE_CHECKING:
    from npmlp.plan.explain import Explanation

_MOST = 8  # recordings of one plan; who needs more does not repeat itself


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
        """The results of self(*args) for each args in `calls`, whose steps follow each other.

        Calls of the same shapes are one replay, which costs Python once for all of them: they have
        been made when the first result is there. Where a step raises an error, the results of those
        before it come first, and there are no more steps.

        >>> import npmlp
        >>> total = npmlp.zeros(2)
        >>> plan = npmlp.capture(lambda x: total.add_(x) * 1)
        >>> [t.tolist() for t in plan.each([(npmlp.ones(2),)] * 3)]
        [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
        """
        waiting = [(self._key(args), args) for args in map(tuple, calls)]
        while waiting:
            key, first = waiting[0]
            recording = self._found(key) if self.reason is None and now.tape is None else None
            if recording is None or not recording.can_be_many:
                del waiting[0]
                yield self(*first)
                continue
            count = 1
            while count < len(waiting) and waiting[count][0] == key:
                count += 1
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
            with alone():
                result = self.step(*[own[id(a)] if isinstance(a, Tensor) else a for a in args])
        except BaseException:
            now.tape = None  # or putting back would be recorded, too
            tape.restore()
            raise
        now.tape = None
        if any(t._requires_grad for t in tensors_of(result)) and not tape.has_backward():
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
        return each_tensor(result, copied)

    def _run_eagerly(self, reason: str) -> None:
        self.reason = reason
        warnings.warn(f"capture: the step runs eagerly, since {reason}", stacklevel=4)


def _arrays(args: Sequence[Any]) -> list[Array]:
    """Those of a step's arguments that are tensors."""
    return [a._data for a in args if isinstance(a, Tensor)]


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
    is recorded and not again. `plan.each` makes many steps in one replay. A learning rate, and
    whatever else stands in the optimizer's groups, is read at every replay. Inputs of another
    shape, a module's other mode, a parameter that is frozen or given new data: each is recorded
    anew. A step that cannot be repeated by a list of calls, as one with a hook, with random numbers
    other than those of dropout and augmentation, or with a Function of its own, goes on running as
    it is; a warning and `plan.reason` say why. A plan has one set of arrays and is for one thread
    at a time.
    """
    plan = Plan(step)
    if example:
        plan._prepare(example)
    return plan
