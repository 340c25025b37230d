"""npmlp.backends.mps: not on Apple's GPU either."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False


def is_built() -> bool:
    """False."""
    return False
