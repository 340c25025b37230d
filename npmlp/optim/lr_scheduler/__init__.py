"""lr_scheduler: learning rates that change as training goes on."""

from __future__ import annotations

from typing import NoReturn

from npmlp.optim.lr_scheduler.base import LRScheduler
from npmlp.optim.lr_scheduler.one_cycle import OneCycleLR
from npmlp.optim.lr_scheduler.plateau import ReduceLROnPlateau
from npmlp.optim.lr_scheduler.schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    StepLR,
)
from npmlp.outside import outside


def __getattr__(name: str) -> NoReturn:
    raise outside(
        f"npmlp.optim.lr_scheduler.{name}",
        "LambdaLR makes any schedule from a function of the step",
    )
