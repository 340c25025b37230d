"""A linter for training mistakes: rules that look at a network, its data and its losses.

Every training runs it (--no-lint silences it); `lint.check` is for a script of one's own.
docs/mistakes.md says of each mistake what happens, why, and how to put it right.
"""

from npmlp.lint.apply import after_epoch, before_training, check
from npmlp.lint.finding import Finding, Findings, read
from npmlp.lint.rules import best_of_several

__all__ = [
    "Finding",
    "Findings",
    "after_epoch",
    "before_training",
    "best_of_several",
    "check",
    "read",
]
