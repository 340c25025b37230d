"""Where the rules' facts come from: an engine before and while it trains, or a script's own parts.

A script gives what it has: `lint.check(model, loss, train=loader, test=(x, y))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from npmlp.lint import rules
from npmlp.lint.finding import Finding, Findings
from npmlp.observe import (
    IMAGES,
    Array,
    Dead,
    array,
    calls,
    dead_relus,
    first,
    library,
    spread,
    stuck_at_zero,
)
from npmlp.recipes import Recipe
from npmlp.vision.images import ImageData


class Watched(Protocol):
    """What the rules need of an engine; see npmlp.driver.Engine."""

    data: ImageData
    model: Any
    loss: Any
    train_set: Any
    held_out: dict[str, Any]

    def sample(self, split: Literal["train", "test"], count: int) -> tuple[Any, Any]: ...


# -------------------------------------------------------------------------------------- of a run


class Linter:
    """The rules at work on a run. What they find is kept in its folder, each rule's once."""

    def __init__(self, engine: Watched, recipe: Recipe, folder: Path) -> None:
        self.engine = engine
        self.recipe = recipe
        self.findings = Findings(folder)

    def before_training(self) -> list[Finding]:
        """What is wrong before the first step, unless it has been found before."""
        e = self.engine
        train, test = e.sample("train", IMAGES), e.sample("test", IMAGES)
        last, outputs = _last_layer(e.model, test[0])
        labels = labels_of(e.train_set), labels_of(e.held_out["test"])
        found = [
            rules.zero_init(stuck_at_zero(e.model, e.loss, *train)),
            rules.double_softmax(outputs, _name(e.loss), last),
            rules.different_preparation(array(train[0]), array(test[0])),
            rules.missing_labels(*labels, e.data.classes),
            rules.chosen_on_reported(choices_on_reported(self.recipe)),
        ]
        return self.findings.add(found)

    def after_epoch(
        self, history: Sequence[Mapping[str, Any]], dead: Mapping[str, Dead]
    ) -> list[Finding]:
        """What is wrong after an epoch, unless it has been found before.

        Parameters: `history`, the rows of metrics.jsonl so far; `dead`, from observe.dead_relus.
        """
        losses, epoch = [row["train_loss"] for row in history], history[-1]["epoch"]
        labels = labels_of(self.engine.train_set)
        found = [
            rules.loss_at_chance(losses[-1], labels, epoch, history[-1].get("test_loss")),
            rules.loss_rises(losses, len(self.engine.data.classes), epoch),
            rules.dead_relus(dead, epoch),
        ]
        return self.findings.add(found)


def choices_on_reported(recipe: Recipe) -> list[str]:
    """What a recipe chooses on the images that it reports."""
    if recipe.validation != "reported":
        return []
    stop = ["the epoch to stop after"] if recipe.early_stopping is not None else []
    return ["the best checkpoint", *stop]


# ----------------------------------------------------------------------------------- of a script


def check(
    model: Any,
    loss: Any,
    train: Any,
    test: Any = None,
    classes: Sequence[str] | None = None,
    losses: Sequence[float] = (),
) -> list[Finding]:
    """Look at a training of one's own for the mistakes of docs/mistakes.md.

    Parameters
    ----------
    model: the network as it is now, of npmlp or PyTorch. It, its gradients and the default random
        generator are left as they were.
    loss: what takes its output and the classes, such as nn.CrossEntropyLoss().
    train, test: a pair of Tensors (inputs, classes), or a DataLoader; without `test`, the rules
        that compare the two are left out.
    classes: the names of the classes; without them, the numbers of the network's outputs.
    losses: the mean training loss of every epoch so far, for the rules about the loss.

    Returns: a list of Finding; print(finding.line()) shows one.

    Example
    -------
    >>> import npmlp
    >>> from npmlp import lint, nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    >>> data = npmlp.randn(30, 4), npmlp.tensor([0, 1, 2] * 10)
    >>> [finding.rule for finding in lint.check(model, nn.CrossEntropyLoss(), data)]
    ['double-softmax']
    """
    package = library(next(iter(model.parameters())))
    state = package.get_rng_state()
    inputs, targets = _first(train)
    held_out = inputs if test is None else _first(test)[0]
    package.set_rng_state(state)
    last, outputs = _last_layer(model, held_out)
    names = classes or [str(i) for i in range(outputs.shape[-1])]
    found = [
        rules.zero_init(stuck_at_zero(model, loss, inputs, targets)),
        rules.double_softmax(outputs, _name(loss), last),
        rules.dead_relus(dead_relus(model, held_out)),
    ]
    known = labels_of(train)
    if test is not None:
        found += [
            rules.different_preparation(array(inputs), array(held_out)),
            rules.missing_labels(known, labels_of(test), names),
        ]
    if losses:
        found += [
            rules.loss_at_chance(losses[-1], known, len(losses)),
            rules.loss_rises(losses, len(names), len(losses)),
        ]
    return [finding for finding in found if finding is not None]


def labels_of(source: Any) -> Array:
    """All labels of a pair (inputs, labels), a DataLoader or a data set, in order."""
    if isinstance(source, tuple):
        return array(source[1])
    if hasattr(source, "indices") and hasattr(source, "dataset"):  # a Subset
        return labels_of(source.dataset)[np.asarray(source.indices)]
    for name in ("targets", "labels"):
        if hasattr(source, name):
            labels = getattr(source, name)
            return array(labels) if hasattr(labels, "detach") else np.asarray(labels)
    if hasattr(source, "tensors"):
        return array(source.tensors[-1])
    if hasattr(source, "dataset"):  # a DataLoader
        return labels_of(source.dataset)
    return np.asarray([int(source[i][1]) for i in range(len(source))])


def _first(source: Any) -> tuple[Any, Any]:
    """Up to IMAGES of a pair, or of what a DataLoader gives next, as Tensors."""
    if isinstance(source, tuple):
        x, y = source
        step = spread(len(x)).step
        return x[::step][:IMAGES], y[::step][:IMAGES]
    return first(source)


# enough to tell probabilities from logits: no row of logits sums to 1 but by chance
_FEW = 32


def _last_layer(model: Any, x: Any) -> tuple[str, Array]:
    """The class of the layer that is called last, and the network's outputs for a few inputs."""
    found, outputs = calls(model, x[:_FEW], lambda kind, output: None)
    return found[-1].kind if found else "", array(outputs)


def _name(loss: Any) -> str:
    """A loss's class, or its name where it is a function."""
    return getattr(loss, "__name__", type(loss).__name__)
