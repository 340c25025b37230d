"""A linter for training mistakes: rules that look at a network, its data and its losses.

Every training runs it (--no-lint silences it); `lint.check` is for a script of one's own.
docs/mistakes.md says of each mistake what happens, why, and how to put it right.
"""

from npmlp.lint.apply import Linter, check, choices_on_reported, labels_of
from npmlp.lint.finding import DOCS, Finding, read
from npmlp.lint.rules import RULES, best_of_several

__all__ = [
    "DOCS",
    "RULES",
    "Finding",
    "Linter",
    "best_of_several",
    "check",
    "choices_on_reported",
    "labels_of",
    "read",
]
