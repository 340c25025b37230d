"""The driver: an engine, a recipe and a folder in, a finished run out.

It knows epochs, metrics, checkpoints and how to stop and go on, and nothing about how a step is
computed: that is the Engine's. npmlp.train has one, and reference_torch.train another, so that
their runs can be compared file by file.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from npmlp import checkpoint, observe
from npmlp.checkpoint import Checkpoint, Position
from npmlp.engine_protocol import Engine, NotFiniteError, Score
from npmlp.errors import CheckpointError, RunError
from npmlp.lint import Finding, Linter
from npmlp.progress import Progress
from npmlp.recipes import Recipe
from npmlp.runs import Keep, RunFolder, kept_epochs
from npmlp.stop import StopRequests


class Stopped(Exception):
    """A person asked the run to stop; it can go on from its last checkpoint."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(f"stopped; go on with {folder.path}")
        self.folder = folder


class Driver:
    """One run of one engine.

    `run()` trains from wherever the run is to its end and returns the summary.
    """

    def __init__(
        self,
        engine: Engine,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress,
        checkpoint_seconds: float = 30.0,
        keep: Keep = "best",
        lint: bool = True,
        histograms: bool = False,
    ) -> None:
        self.engine = engine
        self.recipe = recipe
        self.folder = folder
        self.progress = progress
        self.checkpoint_seconds = checkpoint_seconds
        self.keep = keep
        self.linter = Linter(engine, recipe, folder.path) if lint else None
        self.histograms = histograms
        self.position = Position(
            epoch=0, batch=0, loss_sum=0.0, correct=0, count=0,
            epoch_seconds=0.0, train_seconds=0.0, seconds=0.0,
            history=[], best_epoch=0, best_value=-math.inf,
        )  # fmt: skip
        self.epoch_generator = engine.generator_state()
        self.steps_done = 0
        self.saved_at = self.step_ended = time.perf_counter()

    # -------------------------------------------------------------------------- stop and go on

    def resume(self) -> None:
        """Go to where the last checkpoint is, in the middle of an epoch too."""
        found = checkpoint.read(self.folder.last)
        recipe = dataclasses.asdict(self.recipe)
        if recipe | found["recipe"] != recipe:  # an older one may lack a field
            raise CheckpointError(
                f"{self.folder.last}: belongs to another recipe than config.json beside it "
                f"(architecture {found['recipe'].get('arch')}, expected {self.recipe.arch})"
            )
        self.engine.load_state(found["state"])
        self.position = p = found["position"]
        self.steps_done = p["epoch"] * self.engine.batches_per_epoch + p["batch"]
        self.epoch_generator = found["epoch_generator"]
        self.engine.set_generator_state(found["generator"])
        if self.keep == "last" or not self.folder.best.exists():
            # among the epochs to come the best is chosen anew: no other can be kept
            p["best_epoch"], p["best_value"] = 0, -math.inf

    def place(self) -> str:
        """Where in the recipe it is, in words."""
        p = self.position
        if p["epoch"] == p["batch"] == 0:
            return "from the start: there is no checkpoint yet"
        place = f"from epoch {p['epoch'] + 1}, step {p['batch'] + 1}"
        if self.keep != "last" and p["epoch"] and not p["best_epoch"]:
            place += f"; there is no {self.folder.best.name}, so the best is chosen from here on"
        return place

    def _save(self, copies: Sequence[Path] = ()) -> None:
        bad = self.engine.not_finite()
        if bad is not None:
            raise self._diverged(NotFiniteError(f"{bad} is no longer finite"), self.steps_done)
        content = Checkpoint(
            format=checkpoint.FORMAT,
            recipe=dataclasses.asdict(self.recipe),
            position=self.position,
            state=self.engine.state(),
            generator=self.engine.generator_state(),
            epoch_generator=self.epoch_generator,
        )
        checkpoint.write(self.folder.last, content, copies)
        self.saved_at = time.perf_counter()

    def _diverged(self, error: NotFiniteError, step: int) -> RunError:
        """`step` counts from 1, over all epochs."""
        epoch = (step - 1) // self.engine.batches_per_epoch + 1
        kept = (
            f"the last good checkpoint is {self.folder.last}"
            if self.folder.last.exists()
            else "there is no checkpoint yet, so start anew with another --out"
        )
        return RunError(
            f"training stopped at step {step} (epoch {epoch}): {error.what}. "
            f"To get further, {error.advice}; {kept}"
        )

    # ---------------------------------------------------------------------------------- train

    def run(self, place: str = "") -> dict[str, Any]:
        """Train to the end.

        Raises: Stopped where a person asked to stop, with a checkpoint kept; RunError where the
        numbers are no longer finite, or a file cannot be written.
        """
        try:
            return self._run(place)
        except OSError as error:
            raise RunError(
                f"{error.filename or self.folder.path}: {error.strerror or error}; once that is "
                f"put right, go on with --resume {self.folder.path}"
            ) from None

    def _run(self, place: str) -> dict[str, Any]:
        with StopRequests() as stop:  # from before anything is said: Ctrl-C loses nothing
            self.progress.note(f"{self.engine.description}; run folder {self.folder.path}{place}")
            self.folder.start_logs(self.position["history"])
            self.folder.remove_unkept(self.keep, self.position["epoch"])
            self.progress.start(
                self.recipe.epochs, self.position["history"], self.engine.batches_per_epoch
            )
            if self.position["epoch"] == self.position["batch"] == 0 and self.linter:
                self._warn(self.linter.before_training())
            self.saved_at = time.perf_counter()
            try:
                while not (self._all_done or self._stopped_early):
                    self._epoch(stop)
                if self._stopped_early:
                    self.progress.note(self._why_early())
            finally:
                self.progress.close()
                self.folder.close_logs()
        summary = self._summary()
        self.folder.finish(summary)
        return summary

    @property
    def _all_done(self) -> bool:
        return self.position["epoch"] >= self.recipe.epochs

    @property
    def _stopped_early(self) -> bool:
        """Whether early stopping ends the training before its planned end."""
        patience, done = self.recipe.early_stopping, self.position["epoch"]
        if patience is None or not done or self._all_done:
            return False
        return done - best_epoch(self.position["history"]) >= patience

    def _why_early(self) -> str:
        watched = "higher validation accuracy" if self.engine.has_validation else "lower loss"
        history = self.position["history"]
        return (
            f"stopped early, after {len(history)} of {self.recipe.epochs} epochs: no {watched} "
            f"since epoch {best_epoch(history)}"
        )

    def _epoch(self, stop: StopRequests) -> None:
        p = self.position
        began, done = time.perf_counter(), p["epoch_seconds"]
        try:
            for scores in self._steps():
                for score in scores:
                    p["loss_sum"] += score.loss * score.count
                    p["correct"] += score.correct
                    p["count"] += score.count
                p["batch"] += len(scores)
                self.steps_done += len(scores)
                now = time.perf_counter()
                took, self.step_ended = now - self.step_ended, now
                p["train_seconds"] += took
                p["epoch_seconds"] = done + now - began
                self.progress.batch(
                    p["batch"],
                    p["loss_sum"] / p["count"],
                    p["correct"] / p["count"],
                    self.engine.lr,
                    sum(score.count for score in scores) / took,
                )
                if stop.requested:
                    self._save()
                    raise Stopped(self.folder)
                if now - self.saved_at > self.checkpoint_seconds:
                    self._save()
                    self.step_ended = time.perf_counter()
        except NotFiniteError as error:
            raise self._diverged(error, self.steps_done + 1) from None
        self._end_epoch(began, done)

    def _steps(self) -> Iterator[list[Score]]:
        """This epoch's steps that are still to come."""
        skip = self.position["batch"]
        if skip == 0:
            self.epoch_generator = self.engine.generator_state()
            steps = self.engine.steps(0)
        else:
            # draw this epoch's order again, then put the generator where it was
            now = self.engine.generator_state()
            self.engine.set_generator_state(self.epoch_generator)
            steps = self.engine.steps(skip)
            self.engine.set_generator_state(now)
        self.step_ended = time.perf_counter()
        return steps

    def _end_epoch(self, began: float, done: float) -> None:
        p = self.position
        train = Score(p["loss_sum"] / p["count"], p["correct"], p["count"])
        row: dict[str, Any] = {
            "epoch": p["epoch"] + 1,
            "lr": self.engine.lr,
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
        }
        if self.engine.has_validation:
            validation = self.engine.evaluate("validation")
            row |= {"val_loss": validation.loss, "val_accuracy": validation.accuracy}
        test = self.engine.evaluate("test")
        row |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
        for name, loss in (("validation", row.get("val_loss", 0.0)), ("test", row["test_loss"])):
            if not math.isfinite(loss):
                error = NotFiniteError(f"the mean loss on the {name} images is {loss}")
                raise self._diverged(error, self.steps_done)
        self.test_count = test.count
        dead = self._observe(row)
        self.engine.end_epoch(train.loss)
        row["seconds"] = done + time.perf_counter() - began
        row["samples_per_second"] = p["count"] / max(p["train_seconds"], 1e-9)

        p["history"].append(row)
        found = self.linter.after_epoch(p["history"], dead) if self.linter else []
        p["seconds"] += row["seconds"]
        copies = [self.folder.of_epoch(e) for e in kept_epochs(self.keep, row["epoch"])][-1:]
        if self.keep != "last" and watched(row) > p["best_value"]:
            p["best_epoch"], p["best_value"] = row["epoch"], watched(row)
            copies.append(self.folder.best)
        p |= Position(  # type: ignore[typeddict-item]
            epoch=row["epoch"], batch=0, loss_sum=0.0, correct=0, count=0,
            epoch_seconds=0.0, train_seconds=0.0,
        )  # fmt: skip
        self._save(copies)
        self.folder.remove_unkept(self.keep, row["epoch"])
        self.folder.log(row)
        self.progress.epoch(row)
        self._warn(found)

    def _observe(self, row: dict[str, Any]) -> dict[str, observe.Dead]:
        """Look at the network on held-out images: dead ReLUs, and histograms where asked for."""
        if not hasattr(self, "looked_at"):
            self.looked_at = self.engine.sample("test", observe.IMAGES_COUNTED)[0]
        model, images = self.engine.model, self.looked_at
        dead = observe.dead_relus(model, images)
        if dead:
            row["dead_relus"] = observe.share(dead)
        shares = {f"dead_relus/{name}": d.dead / d.units for name, d in dead.items()}
        arrays = observe.tensors(model, images[: observe.IMAGES_SHOWN]) if self.histograms else ()
        self.folder.observe(row["epoch"], shares, arrays)
        return dead

    def _warn(self, found: list[Finding]) -> None:
        for finding in found:
            self.progress.note(finding.line())

    def _summary(self) -> dict[str, Any]:
        p, history = self.position, self.position["history"]
        # without validation images nothing may choose a checkpoint for the reported figure
        chosen = p["best_epoch"] if self.engine.has_validation and p["best_epoch"] else p["epoch"]
        row = history[chosen - 1]
        if not hasattr(self, "test_count"):  # resumed after the last epoch
            self.test_count = self.engine.evaluate("test").count
        return {
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "epochs": p["epoch"],
            "epochs_planned": self.recipe.epochs,
            "stopped_early": self._stopped_early,
            "best_epoch": best_epoch(history),
            "chosen_epoch": chosen,
            **{field: row[field] for field in _REPORTED if field in row},
            "test_correct": round(row["test_accuracy"] * self.test_count),
            "test_count": self.test_count,
            "seconds": p["seconds"],
        }


# of the chosen epoch's row
_REPORTED = (
    "train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"
)  # fmt: skip


def watched(row: dict[str, Any]) -> float:
    """What the best epoch has most of: validation accuracy, or else the least training loss."""
    return float(row.get("val_accuracy", -row["train_loss"]))


def best_epoch(history: list[dict[str, Any]]) -> int:
    """The epoch, from 1, of the best value that is watched; the first of equals."""
    return 1 + max(range(len(history)), key=lambda i: watched(history[i]))
