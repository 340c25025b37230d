"""Optimizer: what all of them share. Which parameters, in which groups, with which options; the
state kept beside each parameter; and how that state is written down and read back.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from npmlp.autograd import enable_grad
from npmlp.errors import CheckpointError, GraphError, OutsideSubsetError, ShapeError
from npmlp.ops.spec import Array
from npmlp.recording import do, now, set_grad
from npmlp.tensor import Tensor

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Group = dict[str, Any]


class Optimizer:
    """Base of all optimizers: parameter groups, and a dict of state for each parameter.

    Parameters
    ----------
    params : what to optimize, in an order that stays the same between runs: Tensors, or (name,
        Tensor) pairs as `model.named_parameters()` gives them, or dicts, each one a group with
        `params` and the options in which it differs. Such a dict becomes the group itself.
    defaults : the options that a group does not say

    Attributes
    ----------
    param_groups : a list of dicts. What they hold is read at every step, so it can be changed by
        hand: `optimizer.param_groups[0]["lr"] = 0.01`
    state : Tensor → dict

    Raises
    ------
    ValueError : no parameters, a parameter twice, or one that was computed from others
    TypeError : anything else than parameters, such as a Module or a set

    Notes
    -----
    To write one, define `__init__` and `_update_group(group)`, or `step` as in PyTorch. PyTorch
    only warns of a parameter that is twice in a group, and updates it twice; here it is an error.
    """

    # For load_state_dict: the tensors of a parameter's state that have the parameter's shape, and
    # the options that older versions of PyTorch did not save, with what they were then.
    _buffers: ClassVar[tuple[str, ...]] = ()
    _absent: ClassVar[Group] = {}

    def __init__(self, params: Params, defaults: Group) -> None:
        self.defaults = defaults
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[Group] = []
        # For schedulers: whether step() has run. None if a subclass's own step() does not say.
        self._opt_called = False if type(self).step is Optimizer.step else None
        for group in self._as_groups(params):
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _as_groups(self, params: Any) -> list[Group]:
        _check_collection(self._name, params)
        items = list(params)
        if not items:
            raise ValueError(
                f"{self._name}: got an empty list of parameters; does the model have any, and was "
                "a generator such as model.parameters() used up before?"
            )
        return items if isinstance(items[0], dict) else [{"params": items}]

    def __repr__(self) -> str:
        text = f"{self._name} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params")
        return text + ")"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("register_"):
            raise OutsideSubsetError(
                f"{self._name}.{name}: npmlp has no hooks; define a subclass with its own step()"
            )
        raise AttributeError(f"{self._name} has no attribute {name!r}")

    # -------------------------------------------------------------------------------------- groups

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own; those that it does not say are the defaults.

        Raises ValueError or TypeError as the constructor does.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"{self._name}: a parameter group is a {type(param_group).__name__}, expected a "
                'dict with "params"'
            )
        given = param_group["params"]
        if not isinstance(given, Tensor):
            _check_collection(self._name, given)
        names, params = _split_names(self._name, [given] if isinstance(given, Tensor) else given)
        self._check_params(params)
        if self.param_groups and (names is None) != ("param_names" not in self.param_groups[0]):
            raise ValueError(
                f"{self._name}: a parameter group {'without' if names is None else 'with'} names "
                "beside others that are not so; give names to all groups or to none"
            )
        group = {**self.defaults, **param_group}
        self._check_options(group)
        param_group["params"] = params
        if names is not None:
            param_group["param_names"] = names
        for option, default in self.defaults.items():
            param_group.setdefault(option, default)
        self.param_groups.append(param_group)

    def _check_params(self, params: list[Any]) -> None:
        present = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                hint = "; did you mean .values(), or model.parameters()?" * isinstance(p, str)
                raise TypeError(
                    f"{self._name}: parameter {i} is a {type(p).__name__}, expected a Tensor{hint}"
                )
            if not p.is_leaf:
                raise ValueError(
                    f"{self._name}: parameter {i}, of shape {tuple(p.shape)}, was computed from "
                    "other tensors; only leaves can be optimized: pass those, or x.detach()"
                )
            if id(p) in present:
                raise ValueError(
                    f"{self._name}: parameter {i}, of shape {tuple(p.shape)}, is already there and "
                    "would be updated twice; pass each parameter once, in one group"
                )
            present.add(id(p))

    def _check_options(self, options: Group) -> None:
        """Raise ValueError or TypeError for options that make no sense; for subclasses."""

    # ------------------------------------------------------------------------------- a step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with `set_to_none=False` fill them with zeros."""
        if now.tape is not None:
            now.tape.cleared_by(self)
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    set_grad(p, None)
                elif p._grad is not None:
                    p._grad.detach_()._write(0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, once.

        Parameters: `closure`, which computes the loss and its gradients again, optional.
        Returns: what the closure returned, else None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if now.tape is None:
            self._update()
        else:
            now.tape.step_of(self)
            do(f"{self._name} step", self._repeated(), writes=self._arrays())
        self._opt_called = True
        return loss

    def _update(self) -> None:
        for group in self.param_groups:
            self._update_group(group)

    def _arrays(self) -> list[Array]:
        """What a step changes."""
        params = [p for group in self.param_groups for p in group["params"]]
        state = [t for p in params if p in self.state for t in self.state[p].values()]
        return [t._data for t in (*params, *state) if isinstance(t, Tensor)]

    def _repeated(self) -> Callable[[], None]:
        """A step that a plan makes again and again, each time on the same gradients."""
        return self._update

    def _update_group(self, group: Group) -> None:
        raise NotImplementedError(f"{self._name}: define step(), or _update_group(group)")

    # -------------------------------------------------------------------------------- to and fro

    def state_dict(self) -> dict[str, Any]:
        """The state and the options, in PyTorch's format; tensors are not copied.

        Returns: `{"state": {i: {...}}, "param_groups": [{..., "params": [i, ...]}]}`, where i
        counts the parameters through all groups. `npmlp.save` writes it.
        """
        index: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                index[id(p)] = len(index)
            groups.append({**group, "params": [index[id(p)] for p in group["params"]]})
        state = {index[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state and options, matched to the parameters by position.

        Tensors are copied, in the dtype of their parameter. If it fails, nothing has changed.

        Raises
        ------
        CheckpointError : other numbers of groups or parameters, or the state of another optimizer
        """
        try:
            saved_groups = copy.deepcopy(state_dict["param_groups"])
            saved_state = state_dict["state"]
            sizes = [len(group["params"]) for group in saved_groups]
        except (KeyError, TypeError):
            raise self._misfit(
                'it has no "state" and "param_groups"; pass a state_dict()'
            ) from None
        expected = [len(group["params"]) for group in self.param_groups]
        if sizes != expected:
            raise self._misfit(
                f"its groups have {sizes} parameters, and this optimizer's have {expected}; build "
                "the optimizer as it was when the state was saved"
            )
        params: dict[Any, Tensor] = {}
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            params.update(zip(saved["params"], group["params"], strict=True))
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
            self._complete_group(saved)

        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in saved_state.items():
            if key in params:
                state[params[key]] = self._state_for(params[key], value, f"parameter {key}")
            else:
                state[key] = copy.deepcopy(value)
        self.state, self.param_groups = state, saved_groups

    def _misfit(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self._name}.load_state_dict: the state does not fit: {reason}")

    def _complete_group(self, group: Group) -> None:
        """Fill in what older versions did not save; refuse what another optimizer saved."""
        for option, value in self._absent.items():
            group.setdefault(option, value)
        missing = [option for option in self.defaults if option not in group]
        if missing:
            raise self._misfit(f"it has no {missing[0]!r}; was it saved by another optimizer?")
        self._check_options(group)

    def _state_for(self, param: Tensor, saved: Any, where: str) -> Any:
        """A copy of a parameter's saved state, checked against the parameter."""
        if not isinstance(saved, dict):
            return copy.deepcopy(saved)
        state = {}
        for key, value in saved.items():
            if not isinstance(value, Tensor):
                state[key] = copy.deepcopy(value)
                continue
            if key in self._buffers and value.shape != param.shape:
                raise self._misfit(
                    f"{key} of {where} has shape {tuple(value.shape)}, expected the parameter's "
                    f"{tuple(param.shape)}"
                )
            # the count of steps keeps its dtype: in float16 it would soon stop counting
            floating = param.is_floating_point() and key != "step"
            dtype = param._data.dtype if floating else value._data.dtype
            state[key] = Tensor._wrap(np.array(value._data, dtype, order="C"))
        return state


# ----------------------------------------------------------------------------- for the subclasses


def check_option(op: str, name: str, value: Any, below: float = math.inf) -> None:
    """An option must be a number of at least 0, and less than `below`."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(
            f"{op}: {name} is a tensor of shape {tuple(value.shape)}, expected one number"
        )
    if not isinstance(value, (int, float, np.number, Tensor)):
        raise TypeError(f"{op}: {name} is {value!r}, expected a number")
    if not 0 <= float(value) < below:  # as a positive statement, so that NaN fails it
        limit = "a finite number" if below == math.inf else f"less than {below:g}"
        raise ValueError(f"{op}: {name} is {float(value):g}, expected at least 0 and {limit}")


def check_implementation(op: str, options: Group) -> None:
    """`foreach` and `fused` choose between ways to the same numbers; the others do not exist."""
    for option in ("differentiable", "capturable"):
        if options.get(option):
            raise OutsideSubsetError(f"{op}: {option}=True is outside npmlp; leave it False")
    if options.get("foreach") and options.get("fused"):
        raise ValueError(f"{op}: foreach and fused cannot both be True; leave them None")


def check_arrays(op: str, param: Array, *others: Array) -> None:
    """What a compiled loop takes for granted: room to write, and one shape."""
    if not param.flags.writeable:
        raise GraphError(
            f"{op}.step: a parameter of shape {param.shape} is expanded or read-only; clone() it"
        )
    for other in others:
        if other.shape != param.shape:
            raise ShapeError(
                f"{op}.step: a parameter has shape {param.shape}, and its gradient or state "
                f"{other.shape}; after replacing a parameter's data, make a new optimizer"
            )


def _check_collection(op: str, params: Any) -> None:
    if hasattr(params, "named_parameters"):
        raise TypeError(
            f"{op}: params is a {type(params).__name__}, expected its parameters; pass "
            "model.parameters()"
        )
    if isinstance(params, (Tensor, set, str)) or not isinstance(params, Iterable):
        hint = "; a set has no fixed order" if isinstance(params, set) else ""
        raise TypeError(
            f"{op}: params is a {type(params).__name__}, expected a list of Tensors or dicts{hint}"
        )


def _split_names(op: str, params: Iterable[Any]) -> tuple[list[str] | None, list[Any]]:
    """(names or None, tensors) of tensors or (name, tensor) pairs."""
    items = list(params)
    named = [isinstance(item, tuple) for item in items]
    if not any(named):
        return None, items
    if not all(named):
        raise ValueError(f"{op}: some parameters have names and others not; give all or none one")
    return [name for name, _ in items], [p for _, p in items]
