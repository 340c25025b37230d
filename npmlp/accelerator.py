"""npmlp.accelerator: none, in the words of a CPU-only PyTorch."""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None."""


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.accelerator.{name}: npmlp computes on the CPU; "
        "ask npmlp.accelerator.is_available() before"
    )
