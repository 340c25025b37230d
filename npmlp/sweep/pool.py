"""What the sweep's parent and those who train for it say to each other.

Two kinds of workers speak this: processes of this machine (processes.py), and a Dask cluster
(cluster.py). They get jobs and give events; neither touches the study.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Job:
    """One training, as plain values that travel to another process or machine."""

    ticket: str  # the parent's name for it, new for each attempt
    recipe: dict[str, Any]
    data: str | None
    kernels: str
    report: bool  # whether every epoch is reported, for pruning


@dataclass(frozen=True)
class Epoch:
    """A training has done an epoch; `accuracy` is on the held-out images. It may be answered."""

    ticket: str
    epoch: int
    accuracy: float


@dataclass(frozen=True)
class Ended:
    """A training is over.

    done: with its result; pruned: as it was told to; failed: by an error of its own, which another
    attempt would meet again; lost: with its worker, and another attempt may fare better; refused:
    the worker cannot do any.
    """

    ticket: str
    state: Literal["done", "pruned", "failed", "lost", "refused"]
    result: dict[str, Any] | None = None
    error: str = ""


Event = Epoch | Ended


class Pool(Protocol):
    """Who trains."""

    def describe(self) -> str:
        """In words, for the first line."""
        ...

    def capacity(self) -> int:
        """How many trainings can be under way now."""
        ...

    def start(self, job: Job) -> None:
        """Begin a training; there are fewer under way than `capacity()`."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """What has happened, or nothing after `timeout` seconds."""
        ...

    def answer(self, ticket: str, stop: bool) -> None:
        """The answer to an Epoch."""
        ...

    def close(self) -> None:
        """End all trainings at once."""
        ...
