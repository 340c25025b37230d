"""The sweep's loop: it asks the study for trials, has them trained, and tells what came of them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable

from npmlp.errors import RecipeError, RunError
from npmlp.stop import StopRequests
from npmlp.sweep import results
from npmlp.sweep.pool import Ended, Epoch, Job, Pool
from npmlp.sweep.results import Group
from npmlp.sweep.space import Cell, cell, cells, show_all
from npmlp.sweep.spec import Spec, SweepFolder
from npmlp.sweep.study import Asked, Record, State, Study

# a training whose worker died so often may be the cause of it, by its need of memory for one
MOST_ATTEMPTS = 3
Say = Callable[[str], None]


class Parent:
    """Drives a sweep; `make_pool` is called when there is something to train."""

    def __init__(
        self,
        spec: Spec,
        folder: SweepFolder,
        study: Study,
        make_pool: Callable[[], Pool],
        say: Say,
        retry_failed: bool = False,
    ) -> None:
        self.spec, self.folder, self.study = spec, folder, study
        self.make_pool, self.say, self.retry_failed = make_pool, say, retry_failed
        self.again = deque[Cell]()  # cells to ask for, before the sampler chooses any
        self.choices = 0  # how many trials the sampler still chooses
        self.in_flight: dict[str, Asked] = {}  # by ticket
        self.lost = deque[Asked]()  # whose worker died, to be trained once more
        self.same: dict[str, list[Asked]] = {}  # trials of a cell in flight, by its digest
        self._plan()
        self.once_pruned = [study.state_of(c) for c in self.again].count("pruned")
        self.ended = 0  # trainings, since this began
        self.began = time.monotonic()

    def _plan(self) -> None:
        """What is left to do."""
        spec, study = self.spec, self.study
        states: set[State] = {"failed"} if self.retry_failed else set()
        if not spec.prune:  # what an earlier start has pruned is wanted in full now
            states.add("pruned")
        if spec.sampler == "grid":
            wanted = cells(spec.base, spec.grid, spec.seeds)
            if study.fresh:
                self.choices = len(wanted)
                return
            states.add("missing")
            self.again.extend(c for c in wanted if study.state_of(c) in states)
            return
        # what is missing was a choice that the sampler makes anew
        self.choices = max(0, (spec.trials or 0) - study.settled)
        for record in study.records.values():
            if record.state in states:
                with contextlib.suppress(RecipeError):  # these values never go together
                    self.again.append(cell(spec.base, record.values, spec.seeds[0]))

    @property
    def left(self) -> int:
        """Trainings that are still to be started."""
        return len(self.again) + self.choices + len(self.lost)

    def run(self) -> bool:
        """Train what is missing. Returns whether all of it was, and no one asked to stop."""
        self._write()
        if not self.left:
            return True
        self.folder.result.unlink(missing_ok=True)  # of an earlier end, with less in it
        with StopRequests() as stop:  # Ctrl-C loses nothing, from here on
            pool = self.make_pool()
            try:
                self.say(self._first_line(pool))
                while not stop.requested and (self.left or self.in_flight):
                    free = pool.capacity() - len(self.in_flight)
                    while free > 0 and self.left:
                        free -= self._start(pool)
                    for event in pool.events(timeout=0.5):
                        # Ctrl-C on a terminal reaches the workers, too
                        if not (stop.requested and getattr(event, "state", "") == "lost"):
                            self._take(event, pool)
            finally:
                pool.close()
                self._leave()
        return not stop.requested

    def _first_line(self, pool: Pool) -> str:
        fields = " × ".join(self.spec.fields) + (" × seed" if len(self.spec.seeds) > 1 else "")
        known = self._total() - self.left
        done = f", {known} known already" if known else ""
        if self.once_pruned:
            done += f", {self.once_pruned} pruned before and now trained in full"
        return (
            f"{self.spec.base.name}: {self._total()} trainings over {fields}{done}; "
            f"{pool.describe()}; folder {self.folder.path}"
        )

    def _total(self) -> int:
        if self.spec.sampler == "grid":
            return len(cells(self.spec.base, self.spec.grid, self.spec.seeds))
        return max(self.spec.trials or 0, self.study.settled)

    def _leave(self) -> None:
        """End the trials that are in flight; another start does them again."""
        waiting = [asked for same in self.same.values() for asked in same]
        with contextlib.suppress(RunError):  # a storage that is gone is said already
            for asked in [*self.in_flight.values(), *self.lost, *waiting]:
                self.study.lost(asked)

    # ------------------------------------------------------------------------------- training

    def _start(self, pool: Pool) -> int:
        """Begin one more trial. Returns how many trainings were started: 1, or 0."""
        asked: Asked | None
        if self.lost:
            asked = self.lost.popleft()
        else:
            if self.again:
                asked = self.study.ask(self.again.popleft())
            else:
                self.choices -= 1
                asked = self.study.ask()
            if asked is None or self._known(asked):
                return 0
        job = Job(
            ticket=f"{asked.number}-{asked.attempts + 1}",
            recipe=dataclasses.asdict(asked.cell.recipe),
            data=self.spec.data,
            kernels=self.spec.kernels,
            report=self.spec.prune,
        )
        self.in_flight[job.ticket] = asked
        self.study.started(asked)
        pool.start(job)
        return 1

    def _known(self, asked: Asked) -> bool:
        """Whether a cell has or will have its result from another that trains alike."""
        digest = asked.cell.digest
        record = self.study.records.get(digest, Record({}))
        if record.state == "done" and record.result is not None:
            self.study.done(asked, record.result)
            return True
        if any(digest == other.cell.digest for other in [*self.in_flight.values(), *self.lost]):
            self.same.setdefault(digest, []).append(asked)
            return True
        return False

    def _take(self, event: Epoch | Ended, pool: Pool) -> None:
        asked = self.in_flight.get(event.ticket)
        if asked is None:
            return
        if isinstance(event, Epoch):
            stop = self.study.report(asked, event.epoch, event.accuracy)
            pool.answer(event.ticket, stop)
            return
        if event.state == "refused":
            raise RunError(f"{event.error}; once that is put right, start the sweep again")
        del self.in_flight[event.ticket]
        if event.state == "lost" and asked.attempts < MOST_ATTEMPTS:
            self.lost.append(asked)
            self.say(f"{show_all(asked.cell.values)}: {event.error}; it is done again")
            return
        for trial in [asked, *self.same.pop(asked.cell.digest, [])]:
            self._tell(trial, event, asked)
        self.ended += 1
        self.say(self._line(asked, self._write()))

    def _tell(self, trial: Asked, event: Ended, trained: Asked) -> None:
        if event.state == "done" and event.result is not None:
            self.study.done(trial, event.result)
        elif event.state == "pruned":
            epochs = len(trained.accuracies)
            result = {"validation_accuracy": trained.accuracies[-1], "epochs": epochs}
            self.study.pruned(trial, result)
        else:
            times = f" ({trained.attempts} times)" if event.state == "lost" else ""
            self.study.failed(trial, event.error + times)

    # ------------------------------------------------------------------------------- progress

    def _write(self) -> list[Group]:
        groups = results.ranking(results.rows_of(self.spec, self.study.records))
        results.write_table(self.spec, self.folder, groups)
        return groups

    def _line(self, asked: Asked, groups: list[Group]) -> str:
        """A cell that is settled, in one line."""
        record = self.study.records[asked.cell.digest]
        total, result = self._total(), record.result or {}
        settled = total - self.left - len(self.in_flight)
        several = len(self.spec.seeds) > 1
        values = dict(asked.cell.values) | ({"seed": asked.cell.recipe.seed} if several else {})
        parts = [f"{settled:{len(str(total))}d}/{total}", show_all(values)]
        if record.state == "failed":
            parts.append(f"failed: {record.error.splitlines()[0]}")
        else:
            parts.append(f"held out {100 * result['validation_accuracy']:.2f} %")
        if record.state == "pruned":
            parts.append(f"pruned after {result['epochs']} epochs")
        if record.state == "done":
            done = [group for group in groups if group.state == "done"]
            rank = [i for i, g in enumerate(done, 1) if g.values == asked.cell.values]
            parts += [f"rank {rank[0]} of {len(done)}"] if rank else []
            parts.append(f"{result['seconds']:.1f} s")
        to_do = self.left + len(self.in_flight)
        if to_do:
            seconds = (time.monotonic() - self.began) / self.ended * to_do
            parts.append(f"about {duration(seconds)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
