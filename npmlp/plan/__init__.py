"""A training step, kept: recorded once (tape.py), fused, laid out in memory (arena.py), made into a
list of calls (prepare.py), and replayed (capture in replay.py).
"""

from npmlp.plan.replay import Plan, capture

__all__ = ["Plan", "capture"]
