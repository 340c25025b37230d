"""What the driver needs of an engine: of npmlp's, and of reference_torch's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from npmlp import lint
from npmlp.checkpoint import Array
from npmlp.vision.images import ImageData


@dataclass(frozen=True, slots=True)
class Score:
    """What came of some images: their mean loss, and how many were classified rightly."""

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        """The share that was classified rightly, 0 to 1."""
        return self.correct / self.count


LOWER_LR = f"try a lower --lr ({lint.DOCS}#loss-rises)"


class NotFiniteError(Exception):
    """A step's loss is not finite: what was found, and what to try."""

    def __init__(self, what: str, advice: str = LOWER_LR) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


class Engine(Protocol):
    """What the driver needs of whatever computes."""

    description: str
    data: ImageData
    batches_per_epoch: int
    has_validation: bool
    model: Any  # the network
    loss: Any  # of its output and the classes
    train_set: Any
    held_out: dict[str, Any]

    @property
    def lr(self) -> float:
        """The learning rate in use."""
        ...

    def batches(self, skip: int) -> Iterator[Any]:
        """The batches of the next epoch, in their random order, without the first `skip`."""
        ...

    def step(self, batch: Any) -> Score:
        """Train on a batch. Raises NotFiniteError, weights untouched, where the loss is not."""
        ...

    def steps(self, skip: int) -> Iterator[list[Score]]:
        """Train on what `batches` would give. Of steps that are made in one go the scores come
        together; what has been given is what has been trained. Raises: as `step`.
        """
        ...

    def end_epoch(self, train_loss: float) -> None:
        """Let the scheduler set the next epoch's learning rate."""
        ...

    def evaluate(self, split: Literal["validation", "test"]) -> Score:
        """Classify held-out images."""
        ...

    def sample(self, split: Literal["train", "test"], count: int) -> tuple[Any, Any]:
        """Inputs and classes as the network gets them: the first `count` of an epoch, or of the
        test images spread over all. The generator is left as it was.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Weights, optimizer and scheduler, as nested dicts of arrays and plain values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave. Raises CheckpointError where it does not fit."""
        ...

    def generator_state(self) -> Array: ...

    def set_generator_state(self, state: Array) -> None: ...

    def not_finite(self) -> str | None:
        """The name of a weight that is not finite, if there is one."""
        ...
