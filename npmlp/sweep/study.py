"""The sweep's memory: an Optuna study that the parent alone reads and writes.

A trial has two attributes: "cell" when its training starts (digest, values, time, attempts, and
whether it does a cell again), then "result" or "error". A failed trial without an error was lost
with its parent. What a cell came to is looked up by its recipe's digest, whichever trial it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from npmlp.errors import RecipeError, RunError
from npmlp.sweep.samplers import as_param, as_value, distributions_of, pruner_of, sampler_of
from npmlp.sweep.space import Cell, Value, cell, show_all
from npmlp.sweep.spec import Spec, SweepFolder, without_password

State = Literal["missing", "failed", "pruned", "done"]


@dataclass
class Record:
    """What is known of a cell."""

    values: Mapping[str, Value]
    state: State = "missing"
    attempts: int = 0  # trainings that were started
    started: str = ""  # the last of them
    result: dict[str, Any] | None = None
    error: str = ""


@dataclass
class Asked:
    """A trial that runs: the cell that it tries."""

    trial: Any
    cell: Cell
    again: bool = False  # asked for by its values; the sampler did not choose it
    attempts: int = 0
    accuracies: list[float] = dataclasses.field(default_factory=list)  # of its epochs, held out

    @property
    def number(self) -> int:
        number: int = self.trial.number
        return number


class Study:
    """The study of a sweep, opened or begun; what a killed parent left running is ended.

    Raises RunError, from here and from every method, where the storage does not work.
    """

    def __init__(self, spec: Spec, folder: SweepFolder, parallel: int = 1) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.spec = spec
        url = spec.storage or f"sqlite:///{folder.path.resolve() / 'study.db'}"
        self.what = (
            f"--storage {without_password(spec)}" if spec.storage else f"{folder.path / 'study.db'}"
        )
        self.records: dict[str, Record] = {}
        with self._in_words():
            self.distributions = distributions_of(spec)
            self.study = optuna.create_study(
                study_name=spec.name,
                storage=url,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner_of(spec),
            )
            self._end_what_was_left()
            trials = self.study.get_trials(deepcopy=False)
            self.fresh = not trials
            self.settled = self._read(trials)
            self.study.sampler = sampler_of(spec, len(trials), parallel)

    def _end_what_was_left(self) -> None:
        """End the trials of a parent that is gone."""
        from optuna.trial import TrialState

        while self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.tell(self.study.ask(), state=TrialState.FAIL)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _read(self, trials: list[Any]) -> int:
        """Fill `records`. Returns how many of the sampler's choices have come to something."""
        from optuna.trial import TrialState

        settled = 0
        for trial in trials:
            told = trial.user_attrs.get("cell")
            if told is None:  # killed before its training started
                continue
            error, digest = trial.user_attrs.get("error", ""), told["digest"]
            state: State = (
                "done" if trial.state == TrialState.COMPLETE
                else "pruned" if trial.state == TrialState.PRUNED
                else "failed" if error
                else "missing"
            )  # fmt: skip
            settled += state != "missing" and not told.get("again")
            record = self.records.setdefault(digest, Record(told["values"]))
            record.attempts += told["attempts"]
            record.started = max(record.started, told["started"])
            self._note(digest, state, trial.user_attrs.get("result"), error)
        return settled

    def _note(self, digest: str, state: State, result: Any, error: str) -> None:
        record = self.records[digest]
        # a result is for good; else the last counts, of those that were not lost on the way
        if state == "done" or (state != "missing" and record.state != "done"):
            record.state, record.result, record.error = state, result, error

    def state_of(self, cell: Cell) -> State:
        """What a cell has come to so far."""
        record = self.records.get(cell.digest)
        return "missing" if record is None else record.state

    # --------------------------------------------------------------------------- ask and tell

    def ask(self, wanted: Cell | None = None) -> Asked | None:
        """A new trial: of the wanted cell once more, or of one that the sampler chooses.

        None where the sampler chose values that do not go together; that trial has failed.
        """
        again = wanted is not None
        with self._in_words():
            if wanted is not None:
                values = {**wanted.values, "seed": wanted.recipe.seed}
                params = {f: as_param(f, values[f]) for f in self.distributions}
                self.study.enqueue_trial(params)
            trial = self.study.ask(self.distributions)
            if wanted is None:
                values = {f: as_value(f, value) for f, value in trial.params.items()}
                several = len(self.spec.seeds) > 1
                seed: Any = values.pop("seed") if several else self.spec.seeds[0]
                try:
                    wanted = cell(self.spec.base, values, seed)
                except RecipeError as error:
                    self._fail_at_once(trial, values, str(error))
                    return None
            return Asked(trial, wanted, again)

    def _fail_at_once(self, trial: Any, values: Mapping[str, Value], error: str) -> None:
        digest = show_all(values)  # there is no recipe to take it of
        self.records[digest] = Record(values)
        trial.set_user_attr("cell", _told(digest, values))
        self._fail(trial, digest, error)

    def started(self, asked: Asked) -> None:
        """Its training starts, for the first time or once more."""
        digest, values = asked.cell.digest, asked.cell.values
        asked.attempts += 1
        record = self.records.setdefault(digest, Record(values))
        record.attempts += 1
        record.started = time.strftime("%Y-%m-%dT%H:%M:%S")
        told = _told(digest, values, asked.attempts, record.started, asked.again)
        with self._in_words():
            asked.trial.set_user_attr("cell", told)

    def report(self, asked: Asked, epoch: int, accuracy: float) -> bool:
        """An epoch's held-out accuracy. Returns whether the pruner wants no more of it."""
        if epoch <= len(asked.accuracies):  # its worker was lost, and these are the same numbers
            return False
        asked.accuracies.append(accuracy)
        with self._in_words():
            asked.trial.report(accuracy, epoch)
            # after the last epoch there is nothing to save
            return epoch < asked.cell.recipe.epochs and bool(asked.trial.should_prune())

    def done(self, asked: Asked, result: dict[str, Any]) -> None:
        """Its training has this result: of it, the held-out accuracy is the trial's value."""
        if asked.cell.digest not in self.records:
            self.records[asked.cell.digest] = Record(asked.cell.values)
        with self._in_words():
            if asked.attempts == 0:  # known from another trial
                told = _told(asked.cell.digest, asked.cell.values)
                asked.trial.set_user_attr("cell", told)
            asked.trial.set_user_attr("result", result)
            self.study.tell(asked.trial, result["validation_accuracy"])
        self._note(asked.cell.digest, "done", result, "")

    def pruned(self, asked: Asked, result: dict[str, Any]) -> None:
        """Its training was ended by the pruner."""
        from optuna.trial import TrialState

        with self._in_words():
            asked.trial.set_user_attr("result", result)
            self.study.tell(asked.trial, state=TrialState.PRUNED)
        self._note(asked.cell.digest, "pruned", result, "")

    def failed(self, asked: Asked, error: str) -> None:
        """Its training ended with an error."""
        with self._in_words():
            self._fail(asked.trial, asked.cell.digest, error)

    def _fail(self, trial: Any, digest: str, error: str) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr("error", error)
        self.study.tell(trial, state=TrialState.FAIL)
        self._note(digest, "failed", None, error)

    def lost(self, asked: Asked) -> None:
        """Its training came to nothing, and is to be done another time."""
        from optuna.trial import TrialState

        with self._in_words():
            self.study.tell(asked.trial, state=TrialState.FAIL)

    def close(self) -> None:
        """Let go of the storage."""
        with contextlib.suppress(Exception):
            self.study._storage.remove_session()

    # --------------------------------------------------------------------------------- errors

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """The storage's errors as one sentence."""
        import optuna
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

        try:
            yield
        except (ArgumentError, NoSuchModuleError) as error:
            raise RunError(
                f"{self.what}: is no URL of a database ({_line(error)}); expected one such as "
                "sqlite:///study.db or postgresql://user@host/name"
            ) from None
        except ImportError as error:
            driver = getattr(error.__cause__ or error.__context__, "name", None)
            raise RunError(
                f"{self.what}: needs the database's Python driver, which is not installed"
                + (f" ({driver})" if driver else f" ({_line(error)})")
            ) from None
        except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError, RuntimeError) as error:
            cause = error.__cause__ or error
            raise RunError(
                f"{self.what}: the study cannot be read or written "
                f"({_line(getattr(cause, 'orig', None) or cause)}); what is done so far is kept"
            ) from None
        except ValueError as error:
            if "dynamic value space" in str(error):
                choices = ", ".join(self.spec.grid)
                raise RunError(
                    f"--grid: the choices of {choices} cannot grow in a study of --sampler tpe; "
                    "choose another --out"
                ) from None
            raise RunError(f"{self.what}: {_line(error)}") from None


def _told(
    digest: str,
    values: Mapping[str, Value],
    attempts: int = 0,
    started: str = "",
    again: bool = False,
) -> dict[str, Any]:
    return {
        "digest": digest, "values": dict(values), "attempts": attempts, "started": started,
        "again": again,
    }  # fmt: skip


def _line(error: object) -> str:
    return str(error).strip().split("\n")[0].strip() or type(error).__name__
