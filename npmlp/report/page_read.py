"""Reading a run's folder for its report: everything is checked before anything is written.

A run in any state can be told; a file that is damaged or missing is named.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Literal

from npmlp import checkpoint, lint
from npmlp.errors import RunError
from npmlp.report.page_run import Moment, Results, Row, RunFacts, State, epochs_text
from npmlp.runs import RunFolder

TRIES = 3

_NUMBERS = (
    "lr", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second",
)  # fmt: skip


def read_results(path: str | Path, data: str | None = None) -> tuple[RunFacts, Results | None]:
    """A run, and what its network makes of the test images, both of the same checkpoint.

    A training that goes on replaces its checkpoint. Where it has done so meanwhile, both are read
    again; a note says so where that has not helped TRIES times.
    Raises: NpmlpError where the run's folder, its checkpoint or the data cannot be read.
    """
    for _ in range(TRIES):
        run = read_run(path)
        results = run.results(data)
        if run.moment is None or run.moment == _moment(run.folder, run.which, [*run.history]):
            return run, results
    run.notes.append(
        "The training went on while this was read, so the predictions are of later weights than "
        "the figures of the epochs."
    )
    return run, results


def read_run(path: str | Path) -> RunFacts:
    """Read a run's folder. Raises: NpmlpError, naming the file that is wrong."""
    from npmlp.predictions import facts_of

    folder = RunFolder(path)
    config, recipe = folder.config(), folder.recipe()
    _check_config(folder, config)
    summary = folder.summary()
    notes: list[str] = []
    history, half_written = _history(folder)
    in_file = len(history)
    which = _which(folder, summary is not None, in_file, notes)
    moment: Moment | None = None
    state: State = "finished"
    if summary is not None:
        _check_summary(folder, summary, in_file)
    else:
        state = "training" if _is_locked(folder) else "unfinished"
        moment = _moment(folder, which, history)
    if half_written:
        how = "does without it" if len(history) == in_file else "has it from the checkpoint"
        notes.append(
            "The last line of metrics.jsonl is half written, by a run that was killed or a disk "
            f"that was full; the report {how}."
        )
    return RunFacts(
        folder, config, recipe, history, summary, lint.read(folder.path), facts_of(folder), state,
        notes, which, moment,
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
            f"{epochs_text(summary['epochs'])}; one of the two is damaged or missing"
        )
    chosen = summary.get("chosen_epoch", summary["best_epoch"])
    if type(chosen) is not int or not 1 <= chosen <= rows:
        raise RunError(f"{path}: is damaged (there is no epoch {chosen!r} to report)")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _history(folder: RunFolder) -> tuple[list[Row], bool]:
    """The rows of metrics.jsonl, and whether a last line was left out, half written by a kill."""
    path = folder.path / "metrics.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        # its first epoch has not ended, or read_run finds that the file should be there
        return [], False
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
                return rows, True
            raise RunError(f"{path}, line {number}: is damaged ({error})") from None
        problem = _row_problem(row, number)
        if problem:
            raise RunError(f"{path}, line {number}: is damaged ({problem})")
        rows.append(row)
    return rows, False


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
                f"{error}, and metrics.jsonl has {epochs_text(epochs)}: a file is missing"
            ) from None
    if folder.last.exists():
        notes.append(
            "There is no best checkpoint yet, so the predictions are those of last.safetensors."
        )
        return "last"
    return None


def _moment(
    folder: RunFolder, which: Literal["best", "last"] | None, history: list[Row]
) -> Moment | None:
    """When the checkpoint of an unfinished run was written; None where there is no checkpoint.

    A checkpoint is written before its row of metrics.jsonl, and has all rows up to it. Those that
    `history` lacks, because of a kill in between or a look in between, are added to it.
    """
    if which is None:
        return None
    path = folder.checkpoint(which)
    position = checkpoint.read(path)["position"]
    epoch, batch, rows = position["epoch"], position["batch"], position["history"]
    if type(epoch) is not int or type(batch) is not int or not isinstance(rows, list):
        raise RunError(f"{path}: is damaged (its position is epoch {epoch!r}, batch {batch!r})")
    if len(rows) != epoch:
        raise RunError(f"{path}: is damaged (it is of epoch {epoch}, with {len(rows)} rows)")
    for number, row in enumerate(rows[len(history) :], len(history) + 1):
        problem = _row_problem(row, number)
        if problem:
            raise RunError(f"{path}: is damaged (in its row of epoch {number}: {problem})")
        history.append(row)
    return Moment(epoch, batch)
