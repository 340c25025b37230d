"""Hooks: functions that a Module calls before and after its forward."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from npmlp.nn.module import Module

_ids = itertools.count()


class Hook(NamedTuple):
    """A function and how it wants to be called."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False

    def call(self, module: Module, args: Any, kwargs: Any, *output: Any) -> Any:
        if self.with_kwargs:
            return self.function(module, args, kwargs, *output)
        return self.function(module, args, *output)


Hooks = OrderedDict[int, Hook]


class RemovableHandle:
    """What registering a hook returns: `handle.remove()` takes the hook away; so does `with`."""

    def __init__(self, hooks: Hooks, hook: Hook, prepend: bool = False) -> None:
        self.id = next(_ids)
        self._hooks = weakref.ref(hooks)
        hooks[self.id] = hook
        if prepend:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Take the hook away; once is enough, twice is no error."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """module.forward(*args, **kwargs), between what its hooks make of its input and output.

    A pre-hook may return new arguments (with `with_kwargs`, a pair of arguments and keywords), a
    forward hook a new output. A hook with `always_call` runs although something has raised.
    """
    after = list(module._forward_hooks.items())
    pending = OrderedDict((key, hook) for key, hook in after if hook.always_call)
    result = None
    try:
        for hook in list(module._forward_pre_hooks.values()):
            args, kwargs = _call_before(hook, module, args, kwargs)
        result = module.forward(*args, **kwargs)
        for key, hook in after:
            pending.pop(key, None)
            changed = hook.call(module, args, kwargs, result)
            result = result if changed is None else changed
    except Exception:
        for hook in pending.values():
            try:
                changed = hook.call(module, args, kwargs, result)
                result = result if changed is None else changed
            except Exception as error:  # the first error is the one to be seen
                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error}",
                    stacklevel=3,
                )
        raise
    return result


def _call_before(hook: Hook, module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    changed = hook.call(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not hook.with_kwargs:
        return changed if isinstance(changed, tuple) else (changed,), kwargs
    if isinstance(changed, tuple) and len(changed) == 2:
        return changed
    raise RuntimeError(
        "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
        f"{changed}."
    )
