"""A Module's state as a dictionary: names to tensors, out of it and into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npmlp.creation import from_numpy
from npmlp.errors import CheckpointError, NpmlpError
from npmlp.nn.parameter import Parameter
from npmlp.ops.spec import Array
from npmlp.tensor import Tensor
from npmlp.types import Size

if TYPE_CHECKING:
    from npmlp.nn.module import Module


class StateDictError(CheckpointError, RuntimeError):
    """A state dictionary that does not fit: the message lists each key that is in the way."""


class _IncompatibleKeys(NamedTuple):
    """What load_state_dict returns; it has PyTorch's name because that is printed."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, "
            f"unexpected_keys={self.unexpected_keys!r})"
        )


class Report(NamedTuple):
    """What loading found on its way through the modules."""

    missing: list[str]
    unexpected: list[str]
    errors: list[str]
    assign: bool


def save_own(module: Module, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Put a module's parameters and persistent buffers into `destination`; not its children's."""
    for name, t in _own_state(module).items():
        destination[prefix + name] = t if keep_vars else t.detach()


def _own_state(module: Module) -> dict[str, Tensor]:
    names = [*module._parameter_names]
    names += [name for name in module._buffer_names if name not in module._non_persistent]
    state = module.__dict__
    return {name: state[name] for name in names if state[name] is not None}


def load(module: Module, state_dict: Any, strict: bool, assign: bool) -> _IncompatibleKeys:
    """Module.load_state_dict."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
    report = Report([], [], [], assign)
    _load_tree(module, OrderedDict(state_dict), "", report)
    errors = list(report.errors)
    if strict and report.unexpected:
        errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(report.unexpected)}. ")
    if strict and report.missing:
        errors.insert(0, f"Missing key(s) in state_dict: {_quoted(report.missing)}. ")
    if errors:
        lines = "\n\t".join(errors)
        raise StateDictError(
            f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{lines}"
        )
    return _IncompatibleKeys(report.missing, report.unexpected)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _load_tree(module: Module, state_dict: dict[str, Any], prefix: str, report: Report) -> None:
    module._load_from_state_dict(state_dict, prefix, report)
    for name, child in module._modules.items():
        if child is not None:
            inner = f"{prefix}{name}."
            part = {key: v for key, v in state_dict.items() if key.startswith(inner)}
            _load_tree(child, part, inner, report)


def load_own(module: Module, state_dict: dict[str, Any], prefix: str, report: Report) -> None:
    """Copy into a module's own parameters and buffers, and note what does not fit."""
    own = _own_state(module)
    for name, target in own.items():
        key = prefix + name
        if key in state_dict:
            _load_one(module, name, target, key, state_dict[key], report)
        else:
            report.missing.append(key)
    for key in state_dict:
        first, dot, _ = key[len(prefix) :].partition(".")
        if first not in (module._module_names if dot else own):
            report.unexpected.append(key)


def _load_one(
    module: Module, name: str, target: Tensor, key: str, value: Any, report: Report
) -> None:
    values = _values(value)
    if values is None:
        report.errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
            f"object from checkpoint but received {type(value)}"
        )
        return
    if target.ndim == 0 and values.shape == (1,):  # how PyTorch 0.3 kept scalars
        values = values[0]
    if values.shape != target._data.shape:
        report.errors.append(
            f"size mismatch for {key}: copying a param with shape {Size(values.shape)} from "
            f"checkpoint, the shape in current model is {target.shape}."
        )
        return
    try:
        if report.assign:
            t = value.detach() if isinstance(value, Tensor) else from_numpy(values)
            is_parameter = isinstance(target, Parameter)
            setattr(module, name, Parameter(t, target.requires_grad) if is_parameter else t)
            return
        with np.errstate(all="ignore"):  # a float64 beyond float32's range becomes inf
            target._write(values.astype(target._data.dtype))
    except NpmlpError as error:  # such as a parameter made from a read-only array
        report.errors.append(f'While copying the parameter named "{key}": {error}')


def _values(value: Any) -> Array | None:
    """The entries of a Tensor, an array, or what turns into one (a PyTorch tensor on CPU)."""
    if isinstance(value, Tensor):
        return value._data
    if not hasattr(value, "__array__"):
        return None
    values = np.asarray(value)
    return values if values.dtype.kind in "biuf" else None
