"""ReduceLROnPlateau: the schedule that watches a loss or an accuracy instead of counting steps."""

from __future__ import annotations

import math
from typing import Any, Literal

from npmlp.optim.lr_scheduler.base import (
    LRScheduler,
    check_optimizer,
    per_group,
    set_lr,
    values,
    warn_of_epoch,
)
from npmlp.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """lr ← max(lr · factor, min_lr) when a metric has not improved for more than `patience` steps.

    A step is bad if its metric is not better than the best so far by more than the threshold. Bad
    steps in a row are counted, and when the count **exceeds** patience the rate is reduced and the
    count starts again: with patience 2, at the third bad step in a row. An equal metric is bad.

    Parameters
    ----------
    optimizer : as in LRScheduler
    mode : "min" for a metric that should fall, "max" for one that should rise
    factor : below 1
    patience : bad steps in a row that are tolerated; steps are epochs, usually
    threshold : by how much a metric must be better to count, so that creeping does not
    threshold_mode : "rel", better than best · (1 ∓ threshold), or "abs", than best ∓ threshold
    cooldown : after a reduction, so many steps during which bad ones are not counted
    min_lr : the least rate, or a list with one for each parameter group
    eps : a change of the rate by no more than this is not made

    Raises
    ------
    ValueError : factor ≥ 1, an unknown mode, or a min_lr list of another length than the groups

    Notes
    -----
    A metric that is NaN is bad. As in PyTorch, "rel" is for metrics above 0: below, in mode "min",
    best · (1 − threshold) is more than best, and a slightly worse metric counts as better.

    Source: PyTorch docs, torch.optim.lr_scheduler.ReduceLROnPlateau.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=8.0)
    >>> scheduler = npmlp.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [1.0, 1.0, 1.0]:
    ...     scheduler.step(loss)
    ...     print(scheduler.get_last_lr())
    [8.0]
    [8.0]
    [4.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        if not factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}, expected below 1")
        if mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: mode is {mode!r}, expected "min" or "max"')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f'ReduceLROnPlateau: threshold_mode is {threshold_mode!r}, expected "rel" or "abs"'
            )
        self.optimizer = check_optimizer(self, optimizer)
        self.factor = factor
        self.min_lrs = per_group(self, optimizer, "min_lr", min_lr)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = values(optimizer, "lr")
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take note of a metric, a number or a Tensor of one entry, and reduce the rate if due."""
        current = float(metrics)
        if epoch is not None:
            warn_of_epoch(self)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = values(self.optimizer, "lr")

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that bad steps are not counted yet."""
        return self.cooldown_counter > 0

    def _is_better(self, current: float) -> bool:
        if self.threshold_mode == "rel":
            if self.mode == "min":
                return current < self.best * (1.0 - self.threshold)
            return current > self.best * (self.threshold + 1.0)
        if self.mode == "min":
            return current < self.best - self.threshold
        return current > self.best + self.threshold

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # a group was added since
            self.min_lrs = per_group(
                self,
                self.optimizer,
                "min_lrs",
                self.min_lrs if self.default_min_lr is None else self.default_min_lr,
                "; a group was added, so append its least rate to min_lrs",
            )
        for group, min_lr in zip(groups, self.min_lrs, strict=True):
            old_lr = float(group["lr"])
            new_lr = max(old_lr * self.factor, min_lr)
            if old_lr - new_lr > self.eps:
                set_lr(group, new_lr)
