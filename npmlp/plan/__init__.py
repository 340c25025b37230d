"""A training step, kept: recorded once (tape.py), fused (fuse.py), laid out in memory (arena.py),
made into a list of calls (prepare.py), of which compiled ones are put into programs (way.py), and
replayed (replay.py), with a count and a condition in its middle (in_step.py); and what it costs
(explain.py), beside what this machine could do (machine.py).
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # the probe of the machine needs none of the tensors
    if name in ("Plan", "capture"):
        from npmlp.plan import replay

        return getattr(replay, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
