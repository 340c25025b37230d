"""A run as its report tells it: its state, its rows, the epoch that it reports, its command line.

page_read.py reads it from the run's folder.
"""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from npmlp import lint, recipes
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder

if TYPE_CHECKING:
    from npmlp import nn
    from npmlp.predictions import Predictions
    from npmlp.vision.images import DataFacts

State = Literal["finished", "training", "unfinished"]
Row = dict[str, Any]

ENGINES = {"npmlp": "npmlp", "torch": "PyTorch"}


@dataclass(frozen=True)
class Results:
    """What came of the test images, and the network that they were given to."""

    predictions: Predictions
    network: nn.Module
    metrics: dict[str, Any]  # of class_metrics


class Moment(NamedTuple):
    """When a checkpoint was written: after so many epochs, and so many batches of the next."""

    epoch: int
    batch: int


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
    moment: Moment | None  # of that checkpoint, while the run is unfinished

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
        """The row whose figures the run reports, that of the checkpoint that it reports."""
        return self.history[self.reported_epoch - 1] if self.reported_epoch else None

    @property
    def reported_epoch(self) -> int:
        """The epoch that figures, predictions and weights are of; 0 before the first has ended."""
        if self.moment is not None:
            return self.moment.epoch
        if self.summary is not None and self.which == "best":
            return int(self.summary.get("chosen_epoch", self.summary["best_epoch"]))
        return len(self.history)

    @property
    def chosen_epoch(self) -> int | None:
        """The epoch of the best checkpoint, or of the best so far; None where none is chosen."""
        if self.recipe.validation == "none" or self.which != "best" or not self.history:
            return None
        return self.reported_epoch

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
        count, planned = len(self.history), epochs_text(self.recipe.epochs)
        done = f"{count} of {planned} done" if count else f"none of {planned} is done yet"
        if self.state == "finished":
            return f"finished after {epochs_text(count)}"
        if self.state == "training":
            return f"is being trained right now: {done}"
        return f"is unfinished: {done}"

    def result(self) -> str:
        """The result in one line."""
        if self.summary is not None:
            s, epochs = self.summary, f"after {epochs_text(self.summary['epochs'])}"
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
        if self.reported is not None:
            accuracy, epoch = self.reported["test_accuracy"], self.reported_epoch
            if self.chosen_epoch is None:
                return f"test accuracy {accuracy:.4f} so far, after epoch {epoch}"
            return (
                f"test accuracy {accuracy:.4f} so far (epoch {epoch} of {len(self.history)} done, "
                f"the best on {self._chosen_on()})"
            )
        return "no result yet: its first epoch has not ended"

    def reported_when(self) -> str:
        """Which epoch the report of an unfinished run is of, in a sentence; "" before there is one.

        A last checkpoint may have been written within an epoch, of which there are no figures yet.
        """
        if self.moment is None or not self.reported_epoch:
            return ""
        what, epoch = "Accuracies, losses, predictions and weights", self.reported_epoch
        if self.chosen_epoch is not None:
            return f"{what} are those of epoch {epoch}, the best so far on {self._chosen_on()}."
        if self.moment.batch:
            return (
                f"Accuracies and losses are those of epoch {epoch}, the newest; predictions and "
                f"weights are of a checkpoint that was written within epoch {epoch + 1}."
            )
        return f"{what} are those of epoch {epoch}, the newest."

    def _chosen_on(self) -> str:
        if self.recipe.validation == "reported":
            return "these very images"
        return f"{self.recipe.validation_size:,} validation images"

    def label(self) -> str:
        """Recipe and seed, as a title."""
        return f"{self.recipe.name}, seed {self.recipe.seed}"


def epochs_text(count: int) -> str:
    """1 epoch, 2 epochs"""
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
