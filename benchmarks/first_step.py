"""A training command up to the end of its first step: `first_step.py npmlp.train --arch vanilla`.

Everything runs as in `python -m npmlp.train`; where the first batch is reported, it says so on
stdout and ends.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

from npmlp import progress

MARK = "the first step is done"


def stop(*facts: Any) -> None:
    """In place of what reports a batch."""
    print(MARK, flush=True)
    os._exit(0)


def main() -> None:
    progress.Lines.batch = stop  # type: ignore[assignment, method-assign]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
