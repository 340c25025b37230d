"""lr_scheduler: learning rates that change as training goes on."""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError
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


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.optim.lr_scheduler.{name}: npmlp does not have it; LambdaLR makes any schedule "
        "from a function of the step (docs/subset.md lists the others)"
    )
