"""npmlp.cuda: there is no GPU here. Scripts that ask first get the answers of a CPU-only PyTorch.

What only asks or seeds answers as there; what would need a GPU says that npmlp has none.
"""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed: npmlp.manual_seed seeds all that draws."""
    int(seed)  # what is no number raises, as in PyTorch


def manual_seed_all(seed: int) -> None:
    """Nothing to seed: npmlp.manual_seed seeds all that draws."""
    int(seed)


def empty_cache() -> None:
    """Nothing to empty."""


def memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.cuda.{name}: npmlp computes on the CPU; ask npmlp.cuda.is_available() before"
    )
