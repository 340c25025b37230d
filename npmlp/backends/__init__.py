"""npmlp.backends: the switches of GPU libraries that scripts set or ask. None of them is here."""

from __future__ import annotations

from typing import Any

from npmlp.backends import cudnn, mps
from npmlp.errors import OutsideSubsetError


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.backends.{name}: npmlp computes on the CPU; it has backends.cudnn and "
        "backends.mps, for scripts that set or ask them"
    )
