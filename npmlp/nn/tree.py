"""Tree: an object whose attributes make a tree of modules, with parameters and buffers in it.

The values lie in the instance's `__dict__` like any attribute, so that `self.weight` costs nothing
to read; `_parameter_names`, `_buffer_names` and `_module_names` (dictionaries used as ordered
sets) say which of the attributes are which. Module is a Tree that can be called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from npmlp.nn.parameter import Parameter
from npmlp.outside import outside
from npmlp.tensor import Tensor

if TYPE_CHECKING:
    from npmlp.nn.module import Module

_KINDS = ("_parameter_names", "_buffer_names", "_module_names")
_OUTSIDE = frozenset([
    "bfloat16", "compile", "cuda", "get_extra_state", "half", "ipu", "mtia",
    "register_backward_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook",
    "register_state_dict_post_hook", "register_state_dict_pre_hook", "set_extra_state",
    "set_submodule", "share_memory", "to_empty", "type", "xpu",
])  # fmt: skip


class Tree:
    """The part of Module that keeps what it consists of, and lists it."""

    _parameter_names: dict[str, None]
    _buffer_names: dict[str, None]
    _module_names: dict[str, None]
    _non_persistent: set[str]

    def __init__(self) -> None:
        for kind in _KINDS:
            self.__dict__[kind] = {}
        self.__dict__["_non_persistent"] = set()

    # --------------------------------------------------------------------------- registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None in the place of one."""
        self._check_name("parameter", name, "_parameter_names")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign a {type(param).__name__} to parameter '{name}' of "
                f"{type(self).__name__} (nn.Parameter or None required)"
            )
        self._put("_parameter_names", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but is not trained; in the state_dict if `persistent`."""
        self._check_name("buffer", name, "_buffer_names")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign a {type(tensor).__name__} to buffer '{name}' of "
                f"{type(self).__name__} (Tensor or None required)"
            )
        self._put("_buffer_names", name, tensor)
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def register_module(self, name: str, module: Tree | None) -> None:
        """Add a child module, or None in the place of one."""
        if module is not None and not isinstance(module, Tree):
            raise TypeError(f"{name}: a {type(module).__name__} is not a Module")
        self._check_name("module", name, "_module_names")
        self._put("_module_names", name, module)

    add_module = register_module

    def _check_name(self, kind: str, name: str, names: str) -> None:
        if names not in self.__dict__:
            raise AttributeError(
                f"cannot assign {kind} '{name}' before Module.__init__() call; make "
                f"super().__init__() the first line of {type(self).__name__}.__init__"
            )
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name or name == "":
            raise KeyError(f'{kind} name can\'t be empty or contain ".", got: {name!r}')
        if name not in self.__dict__[names] and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def _put(self, names: str, name: str, value: Any) -> None:
        self.__dict__[names][name] = None
        self.__dict__[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        ready = "_module_names" in attributes
        if isinstance(value, Parameter):
            if ready and name not in self._parameter_names:
                self._forget(name)
            self.register_parameter(name, value)
        elif ready and name in self._parameter_names:
            self._only_none(name, value, "parameter")
        elif isinstance(value, Tree):
            if ready and name not in self._module_names:
                self._forget(name)
                self._put("_module_names", name, value)  # unlike add_module, over a method too
            else:
                self.register_module(name, value)
        elif ready and name in self._module_names:
            self._only_none(name, value, "child module")
        elif ready and name in self._buffer_names:
            if value is not None and not isinstance(value, Tensor):
                self._only_none(name, value, "buffer")
            attributes[name] = value
        else:
            object.__setattr__(self, name, value)

    def _only_none(self, name: str, value: Any, kind: str) -> None:
        if value is not None:
            expected = {"parameter": "nn.Parameter", "buffer": "Tensor"}.get(kind, "nn.Module")
            raise TypeError(
                f"cannot assign a {type(value).__name__} as {kind} '{name}' of "
                f"{type(self).__name__} ({expected} or None expected)"
            )
        self.__dict__[name] = None

    def _forget(self, name: str) -> bool:
        """Drop an attribute or whatever is registered under a name; False if there is nothing."""
        known = self.__dict__.pop(name, self) is not self
        for kind in _KINDS:
            self.__dict__[kind].pop(name, None)
        return known

    def __delattr__(self, name: str) -> None:
        if "_module_names" not in self.__dict__ or not self._forget(name):
            object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:
        # only reached where ordinary look-up has failed
        kind = type(self).__name__
        if name in _OUTSIDE:
            raise outside(f"{kind}.{name}")
        hint = ""
        if "_module_names" not in self.__dict__:
            hint = f"; was super().__init__() called first in {kind}.__init__?"
        raise AttributeError(f"'{kind}' object has no attribute '{name}'{hint}")

    def __copy__(self) -> Self:
        """A module with the same parameters, whose attributes can then be set independently."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        for kind in (*_KINDS, "_non_persistent", "_forward_hooks", "_forward_pre_hooks"):
            copy.__dict__[kind] = self.__dict__[kind].copy()
        return copy

    # ------------------------------------------------------------------------- what is in it

    def _view(self, names: str) -> Mapping[str, Any]:
        return MappingProxyType({name: self.__dict__[name] for name in self.__dict__[names]})

    @property
    def _parameters(self) -> Mapping[str, Parameter | None]:
        """By name, read-only; set them as attributes."""
        return self._view("_parameter_names")

    @property
    def _buffers(self) -> Mapping[str, Tensor | None]:
        return self._view("_buffer_names")

    @property
    def _modules(self) -> Mapping[str, Any]:
        return self._view("_module_names")

    def _members(
        self, names: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        )
        for path, module in modules:
            for name in module.__dict__[names]:
                value = module.__dict__[name]
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter) in the order of assignment; a shared one comes once."""
        return self._members("_parameter_names", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, of this module alone unless `recurse`."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer)."""
        return self._members("_buffer_names", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, of this module alone unless `recurse`."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules directly below, each once."""
        seen: set[int] = set()
        for name in tuple(self._module_names):
            child = self.__dict__[name]
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for this module, whose name is empty, and all below it."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        this: Any = self
        if remove_duplicate:
            memo.add(this)
        yield prefix, this
        for name in self._module_names:
            child = self.__dict__[name]
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def get_submodule(self, target: str) -> Any:
        """The module at a dotted name, such as `layers.0.linear`."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted name, such as `layers.0.linear.weight`."""
        found: Parameter = self._get(target, "_parameter_names", "an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted name."""
        found: Tensor = self._get(target, "_buffer_names", "a buffer")
        return found

    def _get(self, target: str, names: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in module.__dict__[names] or module.__dict__[name] is None:
            raise AttributeError(f"`{name}` is not {kind}")
        return module.__dict__[name]
