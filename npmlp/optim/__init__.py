"""optim: from gradients to the next weights. SGD, Adam, AdamW and RMSprop; lr_scheduler changes
their rate.
"""

from __future__ import annotations

from typing import NoReturn

from npmlp.optim import lr_scheduler
from npmlp.optim.adam import Adam
from npmlp.optim.adamw import AdamW
from npmlp.optim.optimizer import Optimizer
from npmlp.optim.rmsprop import RMSprop
from npmlp.optim.sgd import SGD
from npmlp.outside import outside


def __getattr__(name: str) -> NoReturn:
    raise outside(f"npmlp.optim.{name}", "it has SGD, Adam, AdamW and RMSprop")
