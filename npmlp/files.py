"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import Any


def home_as_tilde(path: Any) -> str:
    """A path as people write it: their home folder as ~."""
    text, home = os.fspath(path), os.path.expanduser("~")
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text


def write_atomically(path: Any, content: bytes | str) -> None:
    """Write to a temporary name beside `path`, sync it to the disk, then rename.

    Whoever looks at `path`, at any moment and after any crash, sees the old file or the new one.
    """
    target = os.fspath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the rename itself is on the disk once the folder is
        folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
