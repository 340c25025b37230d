"""OneCycleLR: up to a high rate and down to nearly none, while the momentum goes the other way."""

from __future__ import annotations

import math
from typing import Any, Literal

from npmlp.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from npmlp.optim.optimizer import Group, Optimizer


class OneCycleLR(LRScheduler):
    """One cycle: from max_lr / div_factor up to max_lr, then down to a final_div_factor-th of that.

    Step it after every batch. Between its phases' ends the rate, and inversely the momentum, goes
    along half a cosine or a line:

        phase             ends after step               lr goes to    momentum goes to
        up                pct_start · total − 1         max_lr        base_momentum
        down              total − 1                     min_lr        max_momentum
        with three_phase instead of "down":
        back              2 · pct_start · total − 2     initial_lr    max_momentum
        out               total − 1                     min_lr        max_momentum

    where initial_lr = max_lr / div_factor and min_lr = initial_lr / final_div_factor.

    Parameters
    ----------
    optimizer, last_epoch : as in LRScheduler; steps are batches
    max_lr : the highest rate, or a list with one for each parameter group
    total_steps : of the cycle; or `epochs` and `steps_per_epoch`, whose product it is
    pct_start : the part of the cycle, a float of [0, 1], in which the rate rises
    anneal_strategy : "cos" or "linear"
    cycle_momentum : move SGD's momentum, or Adam's β₁, too
    base_momentum, max_momentum : its ends, or lists with one for each parameter group
    div_factor, final_div_factor : see above
    three_phase : down in two phases, the first one as long as the way up

    Raises
    ------
    ValueError : options out of their ranges, no number of steps, a step beyond the last, or
        cycle_momentum with an optimizer that has no momentum

    Source: Smith, Topin 2018 (arXiv:1708.07120); PyTorch docs, torch.optim.lr_scheduler.OneCycleLR.

    Example
    -------
    >>> import npmlp
    >>> optimizer = npmlp.optim.SGD([npmlp.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> scheduler = npmlp.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8.0, total_steps=10)
    >>> for _ in range(2): optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]
    ([8.0], 0.85)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = check_optimizer(self, optimizer)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start!r}, expected a float of 0 to 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f'OneCycleLR: anneal_strategy is {anneal_strategy!r}, expected "cos" or "linear"'
            )
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum

        max_lrs = per_group(self, optimizer, "max_lr", max_lr)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = high / div_factor
                group["max_lr"] = high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._set_up_momentum(base_momentum, max_momentum, begin=last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _set_up_momentum(self, base_momentum: Any, max_momentum: Any, begin: bool) -> None:
        optimizer = self.optimizer
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError(
                f"OneCycleLR: cycle_momentum=True with {type(optimizer).__name__}, which has no "
                "momentum and no betas; pass cycle_momentum=False"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        high = per_group(self, optimizer, "max_momentum", max_momentum)
        low = per_group(self, optimizer, "base_momentum", base_momentum)
        if begin:
            for group, highest, lowest in zip(optimizer.param_groups, high, low, strict=True):
                self._set_momentum(group, highest)
                group["max_momentum"] = highest
                group["base_momentum"] = lowest

    def _set_momentum(self, group: Group, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def get_lr(self) -> list[Any]:
        self._warn_if_asked_from_outside()
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {t} is beyond total_steps={self.total_steps}; a cycle is "
                "stepped once per batch, epochs * steps_per_epoch times"
            )
        start = 0.0
        for phase in self._schedule_phases[:-1]:
            if t <= phase["end_step"]:
                break
            start = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        done = (t - start) / (phase["end_step"] - start)

        anneal = _along_cosine if self._anneal_func_type == "cos" else _along_line
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(anneal(group[phase["start_lr"]], group[phase["end_lr"]], done))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, anneal(*ends, done))
        return rates


def _along_cosine(start: Any, end: Any, done: float) -> Any:
    """From start to end along half a cosine, as `done` goes from 0 to 1."""
    return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)


def _along_line(start: Any, end: Any, done: float) -> Any:
    """From start to end along a line, as `done` goes from 0 to 1."""
    return (end - start) * done + start


def _phases(total: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """The phases: the step at which each ends, and from which to which entry of a group it goes."""

    def phase(end_step: float, lrs: str, momentums: str) -> dict[str, Any]:
        (start_lr, end_lr), (start_momentum, end_momentum) = lrs.split(), momentums.split()
        return {
            "end_step": end_step,
            "start_lr": start_lr,
            "end_lr": end_lr,
            "start_momentum": start_momentum,
            "end_momentum": end_momentum,
        }

    up = phase(float(pct_start * total) - 1, "initial_lr max_lr", "max_momentum base_momentum")
    if not three_phase:
        return [up, phase(total - 1, "max_lr min_lr", "base_momentum max_momentum")]
    back_end = float(2 * pct_start * total) - 2
    back = phase(back_end, "max_lr initial_lr", "base_momentum max_momentum")
    return [up, back, phase(total - 1, "initial_lr min_lr", "max_momentum max_momentum")]


def _total(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> int:
    given = {"total_steps": total_steps}
    if total_steps is None:
        given = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
        if None in given.values():
            raise ValueError("OneCycleLR: give total_steps, or both epochs and steps_per_epoch")
    for name, value in given.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"OneCycleLR: {name} is {value!r}, expected a whole number above 0")
    return math.prod(given.values())
