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
            with self._again():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _again(self) -> _GradMode:
        """Another one like this: a function may be called within itself."""
        setting: _GradMode = type(self)()
        return setting


class no_grad(_GradMode):
    """Within it no operation is recorded: `with npmlp.no_grad(): ...` or `@npmlp.no_grad()`."""

    enabled = False


class enable_grad(_GradMode):
    """Within it operations are recorded, even inside of `no_grad`."""

    enabled = True


class inference_mode(_GradMode):
    """As no_grad, and inference_mode(False) as enable_grad.

    PyTorch refuses to record what was made under it; here it is a tensor like any other.
    """

    enabled = False  # for @inference_mode, without parentheses

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls, None if isinstance(mode, bool) else mode)

    def __init__(self, mode: Any = True) -> None:
        self.enabled = not mode

    def _again(self) -> _GradMode:
        return type(self)(not self.enabled)


class set_grad_enabled(_GradMode):
    """set_grad_enabled(True or False): from now on, or in a `with` until its end.

    As a decorator it concerns the function alone.
    """

    def __new__(cls, mode: bool) -> Any:
        return super().__new__(cls)

    def __init__(self, mode: bool) -> None:
        self.enabled = bool(mode)
        self._before = _now()
        _set(self.enabled)

    def __enter__(self) -> None:
        _set(self.enabled)

    def __call__(self, function: F) -> F:
        _set(self._before)
        return super().__call__(function)

    def _again(self) -> _GradMode:
        return type(self)(self.enabled)


def _now() -> bool:
    return mode.recording


def _set(recording: bool) -> None:
    mode.recording = recording


def is_grad_enabled() -> bool:
    """Whether operations are recorded now, in this thread."""
    return mode.recording
