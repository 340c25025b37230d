"""The step that is being recorded, if one is: whoever changes an array says so here.

npmlp.plan keeps a training step as a list of calls. To get that list it lets the step run once, as
always, with a tape in `now.tape`; autograd, and the few other places that compute, write down on it
what they do. Where nothing is recorded this costs a look at `now.tape`, which is None.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from npmlp.errors import GraphError


class _Now(threading.local):
    tape: Any = None  # a npmlp.plan.tape.Tape


now = _Now()


@dataclass(frozen=True)
class Repeatable:
    """A function that a plan does in parts: what needs Python, and calls of kernels.

    Parameters, each a function of the same arguments
    ----------
    run : all of it, at once
    first : what Python does before anything else of a replay, None where that is nothing. It must
        not look at what the step computes. Returns: False where the calls that were kept hold no
        longer, else anything
    keep : makes the calls of kernels, by way of npmlp.kernels.calls, in the function's own place.
        Returns: False where they cannot be kept, and `run` has to be called. None where `first`
        does all there is to do
    undo : takes back what `first` did, where the replay did not come as far as this
    again : the function for another step of the same replay, where `first` leaves something behind
        for the calls, which is each step's own
    of : the optimizer whose step it is
    """

    run: Callable[..., None]
    first: Callable[..., Any] | None
    keep: Callable[..., Any] | None = None
    undo: Callable[..., None] | None = None
    again: Callable[[], Repeatable] | None = None
    of: Any = None

    def __call__(self, *arguments: Any) -> None:
        self.run(*arguments)


def do(
    name: str,
    function: Callable[..., Any],
    *arguments: Any,
    writes: Iterable[Any] = (),
    makes: Iterable[Any] = (),
) -> None:
    """function(*arguments), written down where a step is recorded.

    Parameters
    ----------
    arguments : arrays are replaced by a plan's own; anything else is passed on as it is
    writes : arrays, older than the step, that the function changes
    makes : arrays of this step that it fills; one of `arguments` each
    """
    if now.tape is None:
        function(*arguments)
    else:
        now.tape.do(name, function, arguments, tuple(writes), tuple(makes))


def note(name: str, function: Callable[..., Any], *arguments: Any) -> None:
    """As `do` for what has been done already: function(*arguments) would fill the last argument."""
    if now.tape is not None:
        now.tape.note(name, function, arguments)


def set_grad(leaf: Any, grad: Any) -> None:
    """Give a leaf another .grad, a tensor or None."""
    if now.tape is not None:
        now.tape.set_grad(leaf, grad)
    leaf._grad = grad


def computes(array: Any) -> bool:
    """Whether a step is being recorded that has computed this array, so that it will again."""
    return now.tape is not None and now.tape.has_made(array)


def cannot(reason: str) -> None:
    """Where a step is recorded: something happened that no list of calls repeats, and why."""
    if now.tape is not None:
        now.tape.give_up(reason)


def check_readable(operation: str, array: Any) -> None:
    """A value that is only known when the step runs must not be read while it is recorded."""
    if now.tape is not None and now.tape.knows(array):
        raise GraphError(
            f"{operation}: a tensor of shape {array.shape} was read while its step was recorded, "
            "and a plan would not read it again; return it from the step, and read it there"
        )
