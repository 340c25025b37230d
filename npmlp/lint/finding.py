"""What a rule has found, and the file in a run's folder that keeps it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npmlp.errors import RunError
from npmlp.files import write_atomically

DOCS = "docs/mistakes.md"


@dataclass(frozen=True)
class Finding:
    """A mistake: the rule that found it, a sentence, and the epoch after which (None: before)."""

    rule: str
    text: str
    epoch: int | None = None

    @property
    def link(self) -> str:
        """Where the docs say what happens, why, and how to put it right."""
        return f"{DOCS}#{self.rule}"

    def line(self) -> str:
        """What a terminal shows."""
        when = "" if self.epoch is None else f"after epoch {self.epoch}: "
        return f"warning: {when}{self.text} ({self.link})"


class Findings:
    """The findings of a run, in `findings.json` in its folder; each rule speaks once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / "findings.json"
        self.all = read(folder)

    def add(self, found: Iterable[Finding | None]) -> list[Finding]:
        """Keep what is new, and return it."""
        said = {finding.rule for finding in self.all}
        new = [finding for finding in found if finding and finding.rule not in said]
        if new:
            self.all += new
            content = [dataclasses.asdict(finding) for finding in self.all]
            write_atomically(self.path, json.dumps(content, indent=2) + "\n")
        return new


def read(folder: str | os.PathLike[str]) -> list[Finding]:
    """The findings of a run; none where the run has no such file.

    Raises: RunError where the file is damaged.
    """
    path = Path(folder) / "findings.json"
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        return [Finding(**fields) for fields in content]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: is damaged ({error}); delete it, it holds warnings only") from None
