"""Runs for the tests of reports: short trainings, copies as a kill or damage leaves them, and
predictions that no network has made.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npmlp import checkpoint, commands, train
from npmlp.driver import best_epoch
from npmlp.predictions import Predictions, predictions_of
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.report import main
from npmlp.runs import Keep, RunFolder

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
TITLE = "vanilla, seed 0"


def trained(folder: Path, data: str | None = None, keep: Keep | None = None, **fields: Any) -> Path:
    """A finished run of a part of a second, without a report."""
    recipe = Recipe(**{"limit": 600, "epochs": 2} | fields)
    with preserved_settings():
        train.fit(
            recipe, train.Run(out=str(folder), report=False, data=data, keep_checkpoints=keep)
        )
    return folder


def copy_of(run: Path, folder: Path) -> Path:
    """A copy without what an earlier report has left there."""
    reports = shutil.ignore_patterns("*.png", "*.html", "metrics.json", "tensorboard")
    return Path(shutil.copytree(run, folder, ignore=reports))


def unfinished_copy(run: Path, folder: Path, epochs: int) -> Path:
    """A copy as a kill after so many epochs leaves it.

    Its weights are of then where the run has kept the checkpoints of all epochs; where it has not,
    they are of later, and only their position is of then.
    """
    copy_of(run, folder)
    (folder / "summary.json").unlink()
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)[:epochs]
    (folder / "metrics.jsonl").write_text("".join(rows))
    history, files = history_of(folder), RunFolder(folder)
    kept = files.epochs_kept()
    for path, epoch in ((files.last, epochs), (files.best, best_epoch(history) if rows else 0)):
        if epoch in kept:
            shutil.copy(kept[epoch], path)
        elif path.exists():
            move_to(path, epoch, history)
    return folder


def move_to(path: Path, epoch: int, history: list[dict[str, Any]], batch: int = 0) -> None:
    """Let a checkpoint say that it was written so many epochs and batches after the start."""
    content = checkpoint.read(path)
    content["position"] |= {"epoch": epoch, "batch": batch, "history": history[:epoch]}  # type: ignore[typeddict-item]
    checkpoint.write(path, content)


def report(*args: object) -> int:
    """The command, as a shell would call it; its exit code."""
    return commands.run(main, [str(arg) for arg in args])


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def history_of(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def text_of(page: str) -> str:
    """What a page says, on one line, without its tags, styles and scripts."""
    import html

    page = re.sub(r"(?s)<(style|script|head)\b.*?</\1>", " ", page)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# ------------------------------------------------------------------------ for the pictures


@functools.cache
def _pictured(place: Path) -> RunFolder:
    """One training, whichever test files ask for it."""
    out = place / "pictured"
    recipe = Recipe(limit=2000, epochs=3, validation="test")
    _, folder = train.fit(
        recipe, train.Run(out=str(out), kernels="numpy", lint=False, report=False)
    )
    return folder


@pytest.fixture(scope="session")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A short real run, with validation; a test file that takes it calls it run."""
    return _pictured(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def real(run: RunFolder) -> Predictions:
    """What that run's network makes of the test images."""
    return predictions_of(run)


def made_up(
    classes: int | tuple[str, ...], n: int, size: tuple[int, int] = (28, 28), right: float = 0.7
) -> Predictions:
    """Predictions for images of noise; every class occurs in them if n allows."""
    names = tuple(f"class {i}" for i in range(classes)) if isinstance(classes, int) else classes
    random, count = np.random.default_rng(1), len(names)
    labels = np.arange(n) % count
    logits = random.standard_normal((n, count))
    chosen = np.where(random.random(n) < right, labels, random.integers(0, count, n))
    logits[np.arange(n), chosen] += 4
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        images=random.integers(0, 256, (n, *size)).astype(np.uint8),
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        classes=names,
        indices=np.arange(n) + 1000,
        loss=0.5,
        checkpoint="last.safetensors",
        epoch=3,
    )
