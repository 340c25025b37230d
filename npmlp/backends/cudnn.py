"""npmlp.backends.cudnn: its switches can be set, and change nothing: results repeat anyway."""

from __future__ import annotations

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False."""
    return False


def version() -> int | None:
    """None."""
    return None
