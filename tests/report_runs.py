"""Runs for the tests of reports: short trainings, and copies of them that are damaged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from npmlp import commands, train
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.report import main


def trained(folder: Path, data: str | None = None, **fields: Any) -> Path:
    """A finished run of a part of a second, without a report."""
    recipe = Recipe(**{"limit": 600, "epochs": 2} | fields)
    with preserved_settings():
        train.fit(recipe, train.Run(out=str(folder), report=False, data=data))
    return folder


def copy_of(run: Path, folder: Path) -> Path:
    """A copy without what an earlier report has left there."""
    reports = shutil.ignore_patterns("*.png", "*.html", "metrics.json", "tensorboard")
    return Path(shutil.copytree(run, folder, ignore=reports))


def unfinished_copy(run: Path, folder: Path, epochs: int) -> Path:
    """A copy as a kill after so many epochs leaves it; its checkpoint is a later one's."""
    copy_of(run, folder)
    (folder / "summary.json").unlink()
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:epochs]))
    return folder


def report(*args: object) -> int:
    """The command, as a shell would call it; its exit code."""
    return commands.run(main, [str(arg) for arg in args])


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def text_of(page: str) -> str:
    """What a page says, on one line, without its tags, styles and scripts."""
    import html

    page = re.sub(r"(?s)<(style|script|head)\b.*?</\1>", " ", page)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
