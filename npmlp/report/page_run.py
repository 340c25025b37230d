"""What a run's folder says, read and checked before anything is written: its state, its rows, its
findings. A run in any state can be told; a file that is damaged or missing is named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from npmlp import lint, recipes
from npmlp.errors import RunError
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder

if TYPE_CHECKING:
    from npmlp import nn
    from npmlp.predictions import Predictions
    from npmlp.vision.images import DataFacts

State = Literal["finished", "training", "unfinished"]
Row = dict[str, Any]

_NUMBERS = (
    "lr", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second",
)  # fmt: skip
ENGINES = {"npmlp": "npmlp", "torch": "PyTorch"}


@dataclass(frozen=True)
class Results:
    """What came of the test images, and the network that they were given to."""

    predictions: Predictions
    network: nn.Module
    metrics: dict[str, Any]  # of class_metrics


@dataclass(frozen=True)
class RunFacts:
    """The content of a run's folder, without what its network computes."""

    folder: RunFolder
    config: dict[str, Any]
    recipe: Recipe
    history: list[Row]
    summary: dict[str, Any] | None
    findings: list[lint.Finding]
    data: DataFacts
    state: State
    notes: list[str]  # what a reader has to know about the files
    which: Literal["best", "last"] | None  # the checkpoint to report on, if there is one

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.path.resolve().name

    @property
    def engine(self) -> str:
        """What computed it, as people write it."""
        return ENGINES.get(str(self.config.get("engine")), str(self.config.get("engine")))

    @property
    def reported(self) -> Row | None:
        """The row whose figures the run reports; the newest while it is unfinished."""
        if self.summary is not None and self.chosen_epoch is not None:
            return self.history[self.chosen_epoch - 1]
        return self.history[-1] if self.history else None

    @property
    def chosen_epoch(self) -> int | None:
        """The epoch of the best checkpoint, or of the best so far; None where none is chosen."""
        if self.recipe.validation == "none" or self.which != "best" or not self.history:
            return None
        if self.summary is not None:
            return int(self.summary.get("chosen_epoch", self.summary["best_epoch"]))
        best = max(self.history, key=lambda row: row.get("val_accuracy", 0))  # the first of them
        return int(best["epoch"])

    @property
    def seconds_per_epoch(self) -> float | None:
        """The median, which the first epoch's compiling does not move."""
        return statistics.median(row["seconds"] for row in self.history) if self.history else None

    def results(self, data: str | None = None) -> Results | None:
        """Its network at work on the test images; None while there is no checkpoint.

        Raises: NpmlpError where the checkpoint or the data cannot be read.
        """
        from npmlp.predictions import network_of, predictions_of
        from npmlp.report.metrics import class_metrics

        if self.which is None:
            return None
        predictions = predictions_of(self.folder, data, self.which)
        return Results(predictions, network_of(self.folder, self.which), class_metrics(predictions))

    def untrained_network(self) -> nn.Module:
        """A network as the run began with."""
        from npmlp import models

        with preserved_settings():
            return models.build(self.recipe, self.data.shape, len(self.data.classes))

    def progress(self) -> str:
        """How far it is, in words that follow the run's name."""
        count, of = len(self.history), self.recipe.epochs
        done = f"{count} of {_epochs(of)} done" if count else f"none of {_epochs(of)} is done yet"
        if self.state == "finished":
            return f"finished after {_epochs(count)}"
        if self.state == "training":
            return f"is being trained right now: {done}"
        return f"is unfinished: {done}"

    def result(self) -> str:
        """The result in one line."""
        if self.summary is not None:
            s, epochs = self.summary, f"after {_epochs(self.summary['epochs'])}"
            if self.chosen_epoch is not None:
                epochs = (
                    f"epoch {self.chosen_epoch} of {s['epochs']}, the best on {self._chosen_on()}"
                )
            if s.get("stopped_early"):
                epochs += f"; stopped early, {self.recipe.epochs} were planned"
            return (
                f"test accuracy {s['test_accuracy']:.4f} ({s['test_correct']:,} of "
                f"{s['test_count']:,} images, {epochs})"
            )
        if self.history:
            row = self.history[-1]
            return f"test accuracy {row['test_accuracy']:.4f} so far, after epoch {row['epoch']}"
        return "no result yet: its first epoch has not ended"

    def _chosen_on(self) -> str:
        if self.recipe.validation == "reported":
            return "these very images"
        return f"{self.recipe.validation_size:,} validation images"

    def label(self) -> str:
        """Recipe and seed, as a title."""
        return f"{self.recipe.name}, seed {self.recipe.seed}"


def read_run(path: str | Path) -> RunFacts:
    """Read a run's folder. Raises: RunError or RecipeError, naming the file that is wrong."""
    from npmlp.predictions import facts_of

    folder = RunFolder(path)
    config, recipe = folder.config(), folder.recipe()
    _check_config(folder, config)
    summary = folder.summary()
    notes: list[str] = []
    history = _history(folder, notes)
    if summary is not None:
        _check_summary(folder, summary, len(history))
    state: State = "finished"
    if summary is None:
        state = "training" if _is_locked(folder) else "unfinished"
    return RunFacts(
        folder, config, recipe, history, summary, lint.read(folder.path), facts_of(folder), state,
        notes, _which(folder, summary is not None, len(history), notes),
    )  # fmt: skip


def _check_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise RunError where a part of config.json has not the form that a run gave it."""
    for part in ("versions", "machine"):
        if not isinstance(config.get(part, {}), dict):
            path = folder.path / "config.json"
            raise RunError(f"{path}: is damaged ({part!r} is not a JSON object)")


def _check_summary(folder: RunFolder, summary: dict[str, Any], rows: int) -> None:
    """Raise RunError where summary.json does not belong to metrics.jsonl beside it."""
    path = folder.path / "summary.json"
    for field in ("epochs", "best_epoch", "test_correct", "test_count"):
        if type(summary[field]) is not int:
            raise RunError(f"{path}: is damaged ({field} is {summary[field]!r}, expected a number)")
    for field in ("test_accuracy", "train_loss"):
        if not _is_number(summary[field]):
            raise RunError(f"{path}: is damaged ({field} is {summary[field]!r}, expected a number)")
    if rows != summary["epochs"]:
        raise RunError(
            f"{folder.path / 'metrics.jsonl'}: has {rows} rows and summary.json speaks of "
            f"{_epochs(summary['epochs'])}; one of the two is damaged or missing"
        )
    chosen = summary.get("chosen_epoch", summary["best_epoch"])
    if type(chosen) is not int or not 1 <= chosen <= rows:
        raise RunError(f"{path}: is damaged (there is no epoch {chosen!r} to report)")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _history(folder: RunFolder, notes: list[str]) -> list[Row]:
    """The rows of metrics.jsonl; a last line that a kill left half written is left out."""
    path = folder.path / "metrics.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []  # its first epoch has not ended, or read_run finds that the file should be there
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: is damaged ({error})") from None
    lines = text.splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not text.endswith("\n"):
                notes.append(
                    "The last line of metrics.jsonl is half written, by a run that was killed or "
                    "a disk that was full; the report does without it."
                )
                break
            raise RunError(f"{path}, line {number}: is damaged ({error})") from None
        problem = _row_problem(row, number)
        if problem:
            raise RunError(f"{path}, line {number}: is damaged ({problem})")
        rows.append(row)
    return rows


def _row_problem(row: Any, number: int) -> str:
    if not isinstance(row, dict):
        return "not a JSON object"
    lacking = [field for field in ("epoch", *_NUMBERS) if field not in row]
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    if row["epoch"] != number:
        return f"it is of epoch {row['epoch']}, expected {number}"
    pairs = [
        field for field in ("val_loss", "val_accuracy", "test_loss", "dead_relus") if field in row
    ]
    for field in (*_NUMBERS, *pairs):
        if not _is_number(row[field]):
            return f"{field} is {row[field]!r}, expected a number"
    return ""


def _is_locked(folder: RunFolder) -> bool:
    """Whether another process trains in the folder now."""
    from filelock import FileLock, Timeout

    path = folder.path / "run.lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    with contextlib.suppress(OSError):  # where nothing can be written, no lock can be taken either
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
    return False


def _which(
    folder: RunFolder, finished: bool, epochs: int, notes: list[str]
) -> Literal["best", "last"] | None:
    """The checkpoint to report on. Raises RunError where one is missing that must be there."""
    try:
        return "best" if folder.checkpoint() == folder.best else "last"
    except RunError as error:
        if finished or epochs:
            raise RunError(
                f"{error}, and metrics.jsonl has {_epochs(epochs)}: a file is missing"
            ) from None
    if folder.last.exists():
        notes.append(
            "There is no best checkpoint yet, so the predictions are those of last.safetensors."
        )
        return "last"
    return None


def _epochs(count: int) -> str:
    return f"{count} {'epoch' if count == 1 else 'epochs'}"


def differences(recipe: Recipe, base: Recipe) -> list[str]:
    """The fields, other than name and seed, in which a recipe differs from another."""
    return [
        field.name
        for field in dataclasses.fields(Recipe)
        if field.name not in ("name", "seed")
        and getattr(recipe, field.name) != getattr(base, field.name)
    ]


def base_of(recipe: Recipe) -> Recipe:
    """The recipe that its command line would start from: that of its name, or of its network."""
    named = recipes.RECIPES
    return named.get(recipe.name, named.get(recipe.arch, named["vanilla"]))


def command_line(facts: RunFacts) -> str:
    """The command that trains the same again."""
    from npmlp.vision.images import FASHION_MNIST

    recipe, base = facts.recipe, base_of(facts.recipe)
    module = "reference_torch.train" if facts.config.get("engine") == "torch" else "npmlp.train"
    words = ["python -m", module, "--recipe", base.name]
    changed = [*(["name"] if recipe.name != base.name else []), *differences(recipe, base)]
    for field in [*changed, *(["seed"] if recipe.seed != base.seed else [])]:
        value = getattr(recipe, field)
        if isinstance(value, bool):
            words.append(recipes.flag(field if value else f"no_{field}"))
        else:
            words += [recipes.flag(field), shlex.quote(str(value))]
    if facts.data.name != FASHION_MNIST:
        source = facts.data.source  # a ~ is the shell's to read
        words += ["--data", shlex.quote(source) if " " in source else source]
    return " ".join(words)
