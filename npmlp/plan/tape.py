"""The tape: what one training step does, entry after entry, as it is recorded.

An entry knows its operation and its arrays by identity: an array that one entry writes and another
reads is one object, or a view of the same memory. `owner(array)` is the array that the memory
belongs to, and stands for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npmlp import random
from npmlp.ops.spec import Array, Attrs, Kernel, Layout, Needs, OpSpec


def owner(array: Array) -> Array:
    """The array whose memory an array is a view of; itself where it has its own."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def optimizer_of(function: Any) -> Any:
    """The optimizer whose step a function is, or None."""
    found = getattr(function, "of", getattr(function, "__self__", None))
    return found if hasattr(found, "param_groups") else None


@dataclass(eq=False)
class Entry:
    """One thing that the step did."""

    name: str

    def reads(self) -> list[Array]:
        """The arrays that it reads."""
        raise NotImplementedError

    def writes(self) -> list[Array]:
        """The arrays that it writes."""
        raise NotImplementedError

    def on(self, place: Callable[[Array], Array]) -> Entry:
        """The same on other arrays: `place` says where each is."""
        values = {f.name: _placed(getattr(self, f.name), place) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **values)


def _placed(value: Any, place: Callable[[Array], Array]) -> Any:
    if isinstance(value, tuple):
        return tuple(_placed(part, place) for part in value)
    return place(value) if isinstance(value, np.ndarray) else value


@dataclass(eq=False)
class Forward(Entry):
    """An operation: inputs in, outs out."""

    spec: OpSpec
    layout: Layout
    kernel: Kernel | None
    attrs: Attrs
    inputs: tuple[Any, ...]
    outs: tuple[Array, ...]
    needs: Needs

    def reads(self) -> list[Array]:
        return _arrays(self.inputs)

    def writes(self) -> list[Array]:
        return _arrays(self.outs)


@dataclass(eq=False)
class Backward(Entry):
    """An operation's backward: dout in, grads out, and what forward kept."""

    spec: OpSpec
    layout: Layout
    kernel: Kernel | None
    attrs: Attrs
    dout: Array
    inputs: tuple[Any, ...]
    outs: tuple[Any, ...]
    needs: Needs
    shapes: tuple[Any, ...]
    grads: tuple[Any, ...]
    forward: Forward | None = None

    def reads(self) -> list[Array]:
        return _arrays((self.dout, *self.inputs, *self.outs))

    def writes(self) -> list[Array]:
        return _arrays(self.grads)


@dataclass(eq=False)
class Action(Entry):
    """A plain function of arrays and other things: a copy, a mask, an optimizer's step."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    changes: tuple[Array, ...] = ()  # older arrays that it writes
    makes: tuple[Array, ...] = ()

    def reads(self) -> list[Array]:
        return _arrays(self.arguments)

    def writes(self) -> list[Array]:
        return [*self.makes, *self.changes]


def set_grad(leaf: Any, grad: Any) -> None:
    """What a replay does of recording.set_grad."""
    leaf._grad = grad


def grads_given(entries: Iterable[Entry]) -> dict[int, Any]:
    """The .grad that each leaf has after the entries, by id of the leaf, where they give it one."""
    return {
        id(entry.arguments[0]): entry.arguments[1]
        for entry in entries
        if isinstance(entry, Action) and entry.function is set_grad
    }


def _arrays(values: Sequence[Any]) -> list[Array]:
    return [x for x in values if isinstance(x, np.ndarray)]


def _has_array(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_array(part) for part in value)
    return isinstance(value, np.ndarray)


@dataclass
class Tape:
    """Written by npmlp.recording's functions and by autograd, while a step runs."""

    inputs: list[Any]  # the step's own tensors
    entries: list[Entry] = field(default_factory=list)
    reason: str | None = None  # why no plan can be made of it

    def __post_init__(self) -> None:
        self.made: dict[int, Array] = {}  # memory of the step itself, by id of its owner
        self.older: dict[int, Array] = {}  # memory from before that it reads or changes
        self.before: dict[int, tuple[Array, Array]] = {}  # what that memory held, where changed
        self.foreign: dict[int, Array] = {}  # made in the step by what writes nothing down
        self.grads: dict[int, tuple[Any, Any]] = {}  # leaf, and its .grad before the step
        self.given: set[int] = set()  # leaves whose .grad the step has set or dropped
        self.found: list[tuple[Any, Any]] = []  # leaves, and the .grad that the step added to
        self.optimizers: list[Any] = []
        self.shown: list[Any] = []  # tensors that leaves have as their .grad
        self.modules: dict[int, tuple[Any, bool]] = {}  # with their mode
        self.leaves: dict[int, tuple[Any, Array, bool]] = {}  # with their data and requires_grad
        self.undo: list[Callable[[], None]] = []
        self.busy = False  # within an action, whose parts are not entries of their own
        self.generator = random.default_generator.state_bytes()
        for tensor in self.inputs:
            self._older(tensor._data)

    # ------------------------------------------------------------------------- what is reported

    def forward(
        self, spec: OpSpec, layout: Layout, kernel: Kernel | None, inputs: Sequence[Any],
        outs: Sequence[Array], attrs: Attrs, needs: Needs,
    ) -> Forward | None:  # fmt: skip
        """An operation has run. Returns: its entry, which its backward is told."""
        if self.busy:
            return None
        if any(_has_array(value) for value in attrs.values()):
            self.give_up(f"{spec.name} takes an array of indices, whose values a plan would keep")
        self._read(spec.name, inputs)
        entry = Forward(spec.name, spec, layout, kernel, attrs, tuple(inputs), tuple(outs), needs)
        self.entries.append(entry)
        known = {id(owner(x)) for x in _arrays(inputs)}
        for out in outs:
            if id(owner(out)) not in known:
                self._made(out)
        return entry

    def backward(
        self, spec: OpSpec, layout: Layout, kernel: Kernel | None, dout: Array,
        inputs: Sequence[Any], outs: Sequence[Any], needs: Needs, shapes: Sequence[Any],
        attrs: Attrs, grads: Sequence[Any],
    ) -> None:  # fmt: skip
        """An operation's backward has run."""
        if self.busy:
            return
        self._read(spec.name, (dout,))
        self.entries.append(
            Backward(f"{spec.name} backward", spec, layout, kernel, attrs, dout, tuple(inputs),
                     tuple(outs), needs, tuple(shapes), tuple(grads))
        )  # fmt: skip
        for grad in _arrays(grads):
            if owner(grad) is not owner(dout):
                self._made(grad)

    def backward_of(self, forward: Forward | None) -> None:
        """What was written down last is the backward of this entry."""
        last = self.entries[-1] if self.entries else None
        if not self.busy and isinstance(last, Backward):
            last.forward = forward

    def do(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...],
        writes: tuple[Array, ...], makes: tuple[Array, ...],
    ) -> None:  # fmt: skip
        """Run an action and write it down."""
        if self.busy:
            function(*arguments)
            return
        for array in makes:
            self._made(array)
        self._read(name, arguments)
        for array in writes:
            if id(owner(array)) not in self.made:
                self._older(array)
                self._keep(array)
        self.busy = True
        try:
            function(*arguments)
        finally:
            self.busy = False
        changed = tuple(a for a in writes if id(owner(a)) not in self.made)
        made = (*makes, *(a for a in writes if id(owner(a)) in self.made))
        self.entries.append(Action(name, function, arguments, changed, made))

    def note(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Something that filled the last of `arguments` has run."""
        if not self.busy:
            self._made(arguments[-1])
            self.entries.append(Action(name, function, arguments, (), arguments[-1:]))

    def give_up(self, reason: str) -> None:
        """No plan can be made of this step; the first reason is the one that is told."""
        if not self.busy:
            self.reason = self.reason or reason

    def wrapped(self, array: Array) -> None:
        """A tensor was made of an array that no entry wrote: read by one, it would be a constant
        that may not be one.
        """
        if not self.busy and not self.knows(array):
            self.foreign[id(owner(array))] = owner(array)

    def constant(self, array: Array) -> None:
        """... unless it was made of numbers."""
        self.foreign.pop(id(owner(array)), None)

    def called(self, module: Any) -> None:
        """A module's forward begins."""
        self.modules[id(module)] = (module, module.training)
        if module._forward_hooks or module._forward_pre_hooks:
            self.give_up(f"a hook is registered on {type(module).__name__}")

    def cleared_by(self, optimizer: Any) -> None:
        """An optimizer is going to drop the gradients of its parameters."""
        if not self.busy:
            self.optimizers.append(optimizer)

    def step_of(self, optimizer: Any) -> None:
        """An optimizer is going to take a step, and may make states for parameters."""
        if self.busy:
            return
        self.optimizers.append(optimizer)
        for group in optimizer.param_groups:
            self.found_grads(group["params"])
        states = {key: dict(state) for key, state in optimizer.state.items()}

        def undo() -> None:
            optimizer.state.clear()
            optimizer.state.update(states)

        self.undo.append(undo)

    def used(self, tensors: Sequence[Any]) -> None:
        """These were an operation's inputs."""
        for t in tensors:
            if t is not None and t._node is None and id(owner(t._data)) in self.older:
                self.leaves.setdefault(id(t), (t, t._data, t._requires_grad))

    def set_grad(self, leaf: Any, grad: Any) -> None:
        """The .grad of a leaf is going to be another."""
        self.grads.setdefault(id(leaf), (leaf, leaf._grad))
        self.given.add(id(leaf))
        if grad is not None:
            self.shown.append(grad)
        self.entries.append(Action("set .grad", set_grad, (leaf, grad)))

    def found_grads(self, leaves: Iterable[Any]) -> None:
        """The gradients that leaves have are read, or added to."""
        for leaf in leaves:
            if id(leaf) not in self.given:
                self.grads.setdefault(id(leaf), (leaf, leaf._grad))
                self.found.append((leaf, leaf._grad))

    # --------------------------------------------------------------------------- what it knows

    def knows(self, array: Array) -> bool:
        """Whether the step computes the array, or computes from it."""
        key = id(owner(array))
        return key in self.made or key in self.older

    def has_made(self, array: Array) -> bool:
        """Whether the step computes the array."""
        return id(owner(array)) in self.made

    def _made(self, array: Array) -> None:
        self.constant(array)
        if not self.knows(array):
            self.made[id(owner(array))] = owner(array)

    def _older(self, array: Array) -> None:
        self.older.setdefault(id(owner(array)), owner(array))

    def _read(self, name: str, values: Sequence[Any]) -> None:
        for array in _arrays(values):
            if id(owner(array)) in self.foreign:
                self.give_up(f"{name} reads a tensor that was not computed by recorded operations")
            if id(owner(array)) not in self.made:
                self._older(array)

    def _keep(self, array: Array) -> None:
        """Before an older array is changed for the first time: a copy of it."""
        own = owner(array)
        if id(own) not in self.before:
            self.before[id(own)] = (own, own.copy())

    def has_backward(self) -> bool:
        """Whether the step walked back."""
        return any(isinstance(entry, Backward) for entry in self.entries)

    def restore(self) -> None:
        """Put everything back to where it was before the step."""
        for array, values in self.before.values():
            array[...] = values
        for leaf, grad in self.grads.values():
            leaf._grad = grad
        for undo in reversed(self.undo):
            undo()
        random.default_generator.load_state_bytes(self.generator)
