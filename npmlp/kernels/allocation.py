"""Memory that a step frees is kept for the next step.

The GNU C library gives large freed blocks back to the system. The next step then asks for them
again, and the system clears each page of 4 kB when it is first written: a sixth of the time of a
mixer step. With two settings of the library's, blocks of up to 32 MiB stay with the process, as do
up to 256 MiB that lie free.
"""

from __future__ import annotations

import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
_OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Ask the C library to; where there is another library, or a user's own settings, nothing."""
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
