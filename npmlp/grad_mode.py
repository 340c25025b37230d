"""Whether operations are recorded: on at first, off under no_grad, on again under enable_grad.

Each thread has its own setting, as in PyTorch: `mode.recording`, on where a thread begins.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    recording = True


mode = _Mode()


class _GradMode:
    """A context manager, and a decorator, that sets whether operations are recorded."""

    enabled: bool

    def __new__(cls, function: Any = None) -> Any:
        setting = super().__new__(cls)
        return setting if function is None else setting(function)  # @no_grad, without parentheses

    def __enter__(self) -> None:
        self._before = mode.recording
        mode.recording = self.enabled

    def __exit__(self, *exc: object) -> None:
        mode.recording = self._before

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradMode):
    """Within it no operation is recorded: `with npmlp.no_grad(): ...` or `@npmlp.no_grad()`."""

    enabled = False


class enable_grad(_GradMode):
    """Within it operations are recorded, even inside of `no_grad`."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether operations are recorded now, in this thread."""
    return mode.recording
