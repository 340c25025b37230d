"""optim: from gradients to the next weights. SGD, Adam, AdamW; lr_scheduler changes their rate."""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError
from npmlp.optim import lr_scheduler
from npmlp.optim.adam import Adam
from npmlp.optim.adamw import AdamW
from npmlp.optim.optimizer import Optimizer
from npmlp.optim.sgd import SGD


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.optim.{name}: npmlp does not have it; it has SGD, Adam and AdamW (docs/subset.md)"
    )
