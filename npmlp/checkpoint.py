"""Checkpoints: all that a training needs to go on as if it had never stopped, in one file.

A checkpoint is a safetensors file (npmlp.serialization): arrays of the weights, the optimizer and
the random generator, and the rest as JSON in the header. One file, so that a rename replaces it
whole, and no pickle, so that opening one runs no code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from npmlp import serialization
from npmlp.errors import CheckpointError
from npmlp.files import write_atomically

FORMAT = "npmlp checkpoint 1"
Array = np.ndarray[Any, np.dtype[Any]]


class Position(TypedDict):
    """Where in its recipe a training is: `batch` batches into the epoch `epoch` (from 0)."""

    epoch: int
    batch: int
    loss_sum: float  # over the images of this epoch so far
    correct: int
    count: int
    epoch_seconds: float  # of this epoch so far
    train_seconds: float  # of it in training steps
    seconds: float  # of the whole run before this epoch
    history: list[dict[str, Any]]  # the rows of metrics.jsonl
    best_epoch: int  # from 1; 0 before there is one
    best_value: float


class Checkpoint(TypedDict):
    """The content of a checkpoint file."""

    format: str
    recipe: dict[str, Any]
    position: Position
    state: dict[str, Any]  # of the engine: model, optimizer, scheduler
    generator: Array  # the random generator's state now
    epoch_generator: Array  # and when this epoch began, which gives the epoch's order of images


def write(path: Path, checkpoint: Checkpoint, copies: Sequence[Path] = ()) -> None:
    """Write a checkpoint, the copies first; at any moment a file is the old or the new one, whole.

    So a kill in between leaves `path` behind its copies, and what it did since is done again.
    """
    content = serialization.encode(dict(checkpoint))
    for target in (*copies, path):
        write_atomically(target, content)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError where it is missing, damaged or not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from None
    found: Any = serialization.decode(content, os.fspath(path))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CheckpointError(f"{os.fspath(path)}: is not a checkpoint of npmlp ({FORMAT})")
    position = found.get("position")
    missing = Checkpoint.__annotations__.keys() - found.keys()
    if isinstance(position, dict):
        missing |= Position.__annotations__.keys() - position.keys()
    if missing or not isinstance(position, dict):
        raise CheckpointError(
            f"{os.fspath(path)}: is damaged, it lacks {', '.join(sorted(missing)) or 'a position'}"
        )
    checkpoint: Checkpoint = found  # type: ignore[assignment]
    return checkpoint
