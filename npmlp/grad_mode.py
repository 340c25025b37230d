"""Whether operations are recorded: on at first, off under no_grad, on again under enable_grad.

It is one setting for the whole program, `recording`, to be read here and never copied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

recording = True
F = TypeVar("F", bound=Callable[..., Any])


class _GradMode:
    """A context manager, and a decorator, that sets whether operations are recorded."""

    enabled: bool

    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        return mode if function is None else mode(function)  # @no_grad, without parentheses

    def __enter__(self) -> None:
        global recording
        self._before = recording
        recording = self.enabled

    def __exit__(self, *exc: object) -> None:
        global recording
        recording = self._before

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradMode):
    """Within it no operation is recorded: `with npmlp.no_grad(): ...` or `@npmlp.no_grad()`.

    It is global, not one per thread as in PyTorch.
    """

    enabled = False


class enable_grad(_GradMode):
    """Within it operations are recorded, even inside of `no_grad`."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return recording
