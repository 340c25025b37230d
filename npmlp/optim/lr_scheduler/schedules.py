"""The schedules that depend on the number of steps alone.

Each is written twice. `get_lr` goes from one rate to the next, so that two schedules can act on
one optimizer, and multiplies in PyTorch's order, so that the bits agree. `_get_closed_form_lr`
gives the rate of any step at once: read that one for what the schedule is. The two differ by
rounding.
"""

from __future__ import annotations

import math
import types
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from npmlp.optim.lr_scheduler.base import LRScheduler, per_group, values
from npmlp.optim.optimizer import Optimizer


def _check_count(scheduler: LRScheduler, name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(
            f"{type(scheduler).__name__}: {name} is {value!r}, expected a number of steps above 0"
        )


class LambdaLR(LRScheduler):
    """lr = initial_lr · lr_lambda(t) after t steps.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    lr_lambda : a function int → factor, or a list with one for each parameter group

    Notes
    -----
    A function is not part of state_dict; an object with `__call__` has its attributes there.

    Source: PyTorch docs, torch.optim.lr_scheduler.LambdaLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [4.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = per_group(self, optimizer, "lr_lambda", lr_lambda)
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All of its attributes but the optimizer; of the functions, those of callable objects."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(f, types.FunctionType) else f.__dict__.copy()
            for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state; functions stay those that the scheduler was built with."""
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        attributes, self.lr_lambdas = self.lr_lambdas, functions
        for function, saved in zip(functions, attributes, strict=True):
            if saved is not None:
                function.__dict__.update(saved)

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        return [
            base_lr * factor(self.last_epoch)
            for factor, base_lr in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]


class StepLR(LRScheduler):
    """lr = initial_lr · gamma^⌊t / step_size⌋ after t steps.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    step_size : the number of steps from one decay to the next
    gamma : the factor of each decay

    Source: PyTorch docs, torch.optim.lr_scheduler.StepLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [2.0]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        _check_count(self, "step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return values(self.optimizer, "lr")
        return [group["lr"] * self.gamma for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        decays = self.last_epoch // self.step_size
        return [base_lr * self.gamma**decays for base_lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """lr = initial_lr · gamma^(number of milestones up to t) after t steps.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    milestones : the steps after which it decays; one that is there twice decays twice
    gamma : the factor of each decay

    Source: PyTorch docs, torch.optim.lr_scheduler.MultiStepLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [2.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.milestones = Counter(self.milestones)  # a file gives back a plain dict

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        if self.last_epoch not in self.milestones:
            return values(self.optimizer, "lr")
        decay = self.gamma ** self.milestones[self.last_epoch]
        return [group["lr"] * decay for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base_lr * self.gamma**passed for base_lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """lr = initial_lr · gamma^t after t steps.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    gamma : the factor of each step

    Source: PyTorch docs, torch.optim.lr_scheduler.ExponentialLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> for _ in range(3): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [1.0]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        if self._is_initial:
            return values(self.optimizer, "lr")
        return [group["lr"] * self.gamma for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        return [base_lr * self.gamma**self.last_epoch for base_lr in self.base_lrs]


class LinearLR(LRScheduler):
    """lr = initial_lr · factor, which goes in a line from start_factor to end_factor.

    factor = start_factor + (end_factor − start_factor) · min(t, total_iters) / total_iters

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    start_factor : in (0, 1]
    end_factor : in [0, 1]
    total_iters : the number of steps of the way

    Raises
    ------
    ValueError : a factor out of its range

    Source: PyTorch docs, torch.optim.lr_scheduler.LinearLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=4)
    >>> for _ in range(2): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [6.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(
                f"LinearLR: start_factor is {start_factor}, expected above 0 and at most 1"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor is {end_factor}, expected 0 to 1")
        _check_count(self, "total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        if self.last_epoch == 0:
            return [group["lr"] * self.start_factor for group in self.optimizer.param_groups]
        if self._is_initial or self.last_epoch > self.total_iters:
            return values(self.optimizer, "lr")
        way = self.end_factor - self.start_factor
        growth = 1.0 + way / (self.total_iters * self.start_factor + (self.last_epoch - 1) * way)
        return [group["lr"] * growth for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        way = self.end_factor - self.start_factor
        t = min(self.total_iters, self.last_epoch)
        factor = self.start_factor + way * t / self.total_iters
        return [base_lr * factor for base_lr in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (initial_lr − eta_min) · (1 + cos(π t / T_max)) / 2 after t steps.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler
    T_max : the number of steps down to eta_min; beyond it the rate rises again, without a restart
    eta_min : the least rate

    Raises
    ------
    ValueError : T_max is not above 0

    Source: Loshchilov, Hutter 2017 (arXiv:1608.03983), equation 5, without restarts.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=2.0)
    >>> for _ in range(4): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [2.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        _check_count(self, "T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        groups = self.optimizer.param_groups
        t, T, least = self.last_epoch, self.T_max, self.eta_min
        if self._is_initial:
            return values(self.optimizer, "lr")
        if self._step_count == 1 and t > 0:
            return [
                least + (base_lr - least) * (1 + math.cos(t * math.pi / T)) / 2
                for base_lr in self.base_lrs
            ]
        if (t - 1 - T) % (2 * T) == 0:  # the rate was eta_min: no ratio to it
            return [
                group["lr"] + (base_lr - least) * (1 - math.cos(math.pi / T)) / 2
                for base_lr, group in zip(self.base_lrs, groups, strict=True)
            ]
        ratio = (1 + math.cos(math.pi * t / T)) / (1 + math.cos(math.pi * (t - 1) / T))
        return [ratio * (group["lr"] - least) + least for group in groups]

    def _get_closed_form_lr(self) -> list[Any]:
        cosine = math.cos(math.pi * self.last_epoch / self.T_max)
        return [
            self.eta_min + (base_lr - self.eta_min) * (1 + cosine) / 2 for base_lr in self.base_lrs
        ]
