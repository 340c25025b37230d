"""LRScheduler: what all schedules share. A schedule counts its steps in `last_epoch` and, after
each, writes the learning rate of every parameter group.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

from npmlp.errors import CheckpointError
from npmlp.optim.optimizer import Group, Optimizer
from npmlp.tensor import Tensor


class LRScheduler:
    """Base of the schedules: subclasses define `get_lr()`, the rates for `last_epoch`.

    Parameters
    ----------
    optimizer : its `param_groups[i]["lr"]` are read and written; the rates at the start are kept
        there as `initial_lr`
    last_epoch : -1 to begin; else the number of steps taken so far, with `initial_lr` in the groups

    Raises
    ------
    TypeError : not an Optimizer
    KeyError : last_epoch ≥ 0, and no `initial_lr` in a group

    Notes
    -----
    Call `step()` after `optimizer.step()`; whether once per epoch or per batch is yours to choose,
    and is the unit of every count of steps here. Resuming: build optimizer and scheduler as at
    first, then load the state_dict of both. A schedule computes each rate from the one before, in
    PyTorch's order of operations, so the rates have the same bits.
    """

    _is_initial = False
    _get_lr_called_within_step = False
    _last_lr: list[Any]

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = check_optimizer(self, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: last_epoch={last_epoch} resumes a schedule, and "
                    f"param_groups[{i}] has no initial_lr; load the optimizer's state_dict first, "
                    "or leave last_epoch at -1"
                )
        self.base_lrs = values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one per parameter group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates for `last_epoch`, one per group; for `step()`. To look, use get_last_lr()."""
        raise NotImplementedError(f"{type(self).__name__}: define get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Set the next rates. With `epoch`, which PyTorch deprecates, go to that one directly."""
        if self._step_count == 1 and self.optimizer._opt_called is False:
            warnings.warn(
                f"{type(self).__name__}.step() was called before optimizer.step(): the first rate "
                "of the schedule is skipped; call optimizer.step() first",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warn_of_epoch(self)
        self._get_lr_called_within_step = True
        try:
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            at_once = None if epoch is None else getattr(self, "_get_closed_form_lr", None)
            rates = (at_once or self.get_lr)()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_lr(group, rate)
        self._last_lr = values(self.optimizer, "lr")

    def _warn_if_asked_from_outside(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                f"{type(self).__name__}.get_lr() computes the next rates from the present ones; "
                "use get_last_lr() to see the present ones",
                UserWarning,
                stacklevel=3,
            )

    def state_dict(self) -> dict[str, Any]:
        """All of its attributes but the optimizer, as PyTorch has them; `npmlp.save` writes it."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of a schedule of this class; load the optimizer's state as well.

        Raises CheckpointError for the state of another class.
        """
        for key in self.__dict__:
            if key != "optimizer" and not key.startswith("_") and key not in state_dict:
                raise CheckpointError(
                    f"{type(self).__name__}.load_state_dict: the state has no {key!r}; was it "
                    "saved by another scheduler?"
                )
        self.__dict__.update(copy.deepcopy(dict(state_dict)))


def check_optimizer(scheduler: LRScheduler, optimizer: Any) -> Optimizer:
    """The optimizer, or TypeError for what is none."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(scheduler).__name__}: optimizer is a {type(optimizer).__name__}, expected an "
            "npmlp.optim.Optimizer"
        )
    return optimizer


def warn_of_epoch(scheduler: LRScheduler) -> None:
    """PyTorch's deprecation of `step(epoch)`."""
    warnings.warn(
        f"{type(scheduler).__name__}.step(epoch) is deprecated in PyTorch; call step() without it",
        UserWarning,
        stacklevel=3,
    )


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def values(optimizer: Optimizer, key: str) -> list[Any]:
    """One option of each group; a Tensor is copied, so that nobody changes the group through it."""
    return [_copied(group[key]) for group in optimizer.param_groups]


def set_lr(group: Group, rate: Any) -> None:
    """Set a group's learning rate; a Tensor keeps its place and is filled."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(rate))
    else:
        group["lr"] = rate


def per_group(
    scheduler: LRScheduler, optimizer: Optimizer, name: str, value: Any, hint: str = ""
) -> list[Any]:
    """One value for every group, or a list with one for each."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [_copied(value) for _ in range(groups)]
    if len(value) != groups:
        raise ValueError(
            f"{type(scheduler).__name__}: {name} has {len(value)} entries, expected one for each "
            f"of the {groups} parameter groups{hint}"
        )
    return [_copied(v) for v in value]
