"""A run's folder: what is written there, and when.

config.json              the recipe, versions, threads, machine; written first
run.lock                 locked while a process trains here
metrics.jsonl            one object per epoch
checkpoints/             last.safetensors, best.safetensors, and epoch-001.safetensors, … on request
findings.json            what the linter has found, if anything
tensorboard/             training loss, test accuracy, learning rate, dead ReLUs by epoch
summary.json             written at the end: a folder with a summary is a finished run
report.html, metrics.json and pictures follow it
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import itertools
import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import npmlp
from npmlp import recipes
from npmlp.errors import RunError
from npmlp.events import Array, Events
from npmlp.files import write_atomically
from npmlp.recipes import Recipe

# what TensorBoard shows, and under which name
_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "test_loss": "loss/test",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "test_accuracy": "accuracy/test",
    "lr": "lr",
    "dead_relus": "dead_relus/all",
}

_SUMMARY = {
    "recipe", "seed", "epochs", "train_loss", "test_accuracy", "test_correct", "test_count",
    "best_epoch", "seconds",
}  # fmt: skip


Keep = Literal["all", "best", "last"] | int


def kept_epochs(keep: Keep, done: int) -> range:
    """The epochs, from 1, that have a checkpoint of their own once `done` epochs are done."""
    if keep == "all":
        return range(1, done + 1)
    return range(max(1, done + 1 - keep), done + 1) if isinstance(keep, int) else range(0)


class RunFolder:
    """The files of one run.

    `RunFolder.create` makes a new one, `RunFolder(path)` opens one that is there.
    """

    PICTURES = ("curves.png", "confusion.png", "samples.png", "mistakes.png", "weights.png")
    REPORT = ("report.html", "metrics.json")

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last = self.path / "checkpoints" / "last.safetensors"
        self.best = self.path / "checkpoints" / "best.safetensors"
        self._events: Events | None = None
        self._epochs_logged = 0  # when the logs were opened
        self._lock: Any = None

    @classmethod
    def create(
        cls, path: str | Path | None, recipe: Recipe, engine: str, **facts: Any
    ) -> RunFolder:
        """Make the folder and its config.json, and lock it.

        Raises RunError where the folder cannot be written or holds a run already.
        """
        config = {
            "engine": engine,
            "recipe": dataclasses.asdict(recipe),
            "seed": recipe.seed,
            "versions": _versions(engine),
            "machine": {
                "system": platform.platform(),
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            **facts,
        }
        folder = cls(path or "runs")
        try:
            if path is None:
                folder = cls(_claim(f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
            folder.last.parent.mkdir(parents=True, exist_ok=True)
            folder.lock()
            if (folder.path / "config.json").exists():
                folder.unlock()
                raise RunError(
                    f"--out {folder.path}: already holds a run; continue it with --resume "
                    f"{folder.path}, or choose another folder"
                )
            folder.write_config(config)
        except OSError as error:
            raise RunError(
                f"--out {folder.path}: cannot be written ({error.strerror}); choose another folder"
            ) from None
        return folder

    def lock(self) -> None:
        """Keep other processes from training here. The lock ends with the process, however it ends.

        Raises RunError where another process has it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise RunError(f"{self.path}: another process is training in this folder") from None
        self._lock = lock

    def unlock(self) -> None:
        """Let other processes train here."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def config(self) -> dict[str, Any]:
        """The content of config.json. Raises RunError where the folder holds no run."""
        return self._json("config.json", "is not the folder of a run")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json."""
        write_atomically(self.path / "config.json", json.dumps(config, indent=2) + "\n")

    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json, or None while the run is unfinished."""
        if not (self.path / "summary.json").exists():
            return None
        summary = self._json("summary.json", "has no summary")
        missing = _SUMMARY - summary.keys()
        if missing:
            raise RunError(
                f"{self.path / 'summary.json'}: is damaged, it lacks {', '.join(sorted(missing))}"
            )
        return summary

    def recipe(self) -> Recipe:
        """The recipe in config.json."""
        origin = f"{self.path / 'config.json'}"
        fields = self.config().get("recipe")
        if not isinstance(fields, dict):
            raise RunError(f"{origin}: has no recipe; the file is damaged")
        return recipes.from_dict(fields, origin)

    def _json(self, name: str, problem: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise RunError(f"{self.path}: {problem} ({name}: {error.strerror})") from None
        except ValueError as error:
            raise RunError(f"{path}: is damaged ({error})") from None
        if not isinstance(content, dict):
            raise RunError(f"{path}: is damaged (not a JSON object)")
        return content

    # ---------------------------------------------------------------------------- checkpoints

    def of_epoch(self, epoch: int) -> Path:
        """The checkpoint of an epoch, from 1."""
        return self.last.with_name(f"epoch-{epoch:03d}.safetensors")

    def epochs_kept(self) -> dict[int, Path]:
        """The checkpoints of epochs that are there, in the order of the epochs."""
        found = {
            int(path.name[6:-12]): path
            for path in self.last.parent.glob("epoch-*.safetensors")
            if path.name[6:-12].isdecimal()
        }
        return dict(sorted(found.items()))

    def checkpoint(self, which: Literal["best", "last"] | int | None = None) -> Path:
        """The path of a checkpoint: the best, the last, an epoch's, or (None) the reported one.

        A run reports the best where there are validation images, unless it keeps no best.
        Raises RunError where that checkpoint is not there.
        """
        if which is None:
            chosen = self.recipe().validation != "none" and (
                self.best.exists() or self.config().get("keep_checkpoints") != "last"
            )
            which = "best" if chosen else "last"
        path = self.of_epoch(which) if isinstance(which, int) else getattr(self, which)
        if path.exists():
            return Path(path)
        there = [name for name in ("best", "last") if getattr(self, name).exists()]
        there += map(str, self.epochs_kept())
        raise RunError(
            f"{self.path}: has no checkpoint {path.name}; "
            + (f"there are {', '.join(there)}" if there else "train it first")
        )

    def remove_unkept(self, keep: Keep, done: int) -> None:
        """Remove the checkpoints that are not kept after `done` epochs, and those of later ones."""
        for epoch in self.epochs_kept().keys() - set(kept_epochs(keep, done)):
            self.of_epoch(epoch).unlink()
        if keep == "last":
            self.best.unlink(missing_ok=True)

    # ------------------------------------------------------------------------ while it trains

    def start_logs(self, history: list[dict[str, Any]]) -> None:
        """Open metrics.jsonl and tensorboard/ with the rows so far, and with no others.

        A run that was killed between a row and its checkpoint does that epoch again; its row must
        not stand there twice.
        """
        for half_written in self.path.rglob("*.tmp"):  # by a kill
            half_written.unlink()
        self._epochs_logged = len(history)
        write_atomically(
            self.path / "metrics.jsonl",
            "".join(json.dumps(r, allow_nan=False) + "\n" for r in history),
        )
        for row in history:
            self._to_tensorboard(row)

    def log(self, row: dict[str, Any]) -> None:
        """Add an epoch's row to metrics.jsonl and to tensorboard/."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        self._to_tensorboard(row)

    def _to_tensorboard(self, row: dict[str, Any]) -> None:
        values = {tag: row[field] for field, tag in _TAGS.items() if field in row}
        if events := self._opened_events():
            events.scalars(row["epoch"], values)

    def _opened_events(self) -> Events | None:
        """The writer of tensorboard/. It is opened for the first value and not before, so that a
        training's first step does not wait for TensorBoard's import.
        """
        if self._events is None:
            self._events = _events(self.path / "tensorboard", self._epochs_logged)
        return self._events

    def observe(
        self, epoch: int, numbers: dict[str, float], arrays: Iterable[tuple[str, Array]] = ()
    ) -> None:
        """Add to tensorboard/ what is not in metrics.jsonl: numbers, and histograms of arrays."""
        if events := self._opened_events():
            events.scalars(epoch, numbers)
            events.histograms(epoch, arrays)

    def close_logs(self) -> None:
        """Finish writing tensorboard/."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, which says that the run is finished."""
        write_atomically(
            self.path / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n"
        )


def _claim(name: str) -> Path:
    """Make runs/`name`, or with -2, -3, … where several runs start within a second."""
    Path("runs").mkdir(exist_ok=True)
    for n in itertools.count(1):
        path = Path("runs") / (name if n == 1 else f"{name}-{n}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()  # succeeds for one process only
            return path
    raise AssertionError("counting does not end")


def _versions(engine: str) -> dict[str, str]:
    packages = {"npmlp": ("numpy", "numba"), "torch": ("torch", "torchvision")}
    found = {name: importlib.metadata.version(name) for name in packages[engine]}
    return {"npmlp": npmlp.__version__, **found}


def _events(folder: Path, epochs: int) -> Events | None:
    try:
        return Events(folder, epochs, _TAGS.values())
    except ImportError:
        return None  # without TensorBoard, numbers and pictures are in the folder all the same
