"""TensorBoard's files of a run, by TensorBoard's own writer: scalars and histograms by epoch."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Events:
    """The event file that a training writes into a folder.

    Parameters: `epochs`, those that stand already: of older files in the folder, everything of
    these epochs is taken over, except tags in `anew`, which the caller writes anew; then the older
    files go. So an epoch that a kill made the run do again never stands there twice.
    Raises: ImportError where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, epochs: int = 0, anew: Collection[str] = ()) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        old = sorted(folder.glob("events.*"))
        kept = {
            (value.tag, event.step): (event.wall_time, value)
            for event in _read(old)
            for value in event.summary.value
            if event.step <= epochs and value.tag not in anew
        }
        self._writer = EventFileWriter(str(folder))
        for (_, epoch), (when, value) in kept.items():
            self._add(epoch, self._summary(value=[value]), when)
        self._writer.flush()
        for path in old:  # only now, so that a kill loses nothing
            path.unlink()

    def scalars(self, epoch: int, values: dict[str, float]) -> None:
        """Numbers of an epoch, by tag."""
        summary = self._summary(
            value=[self._summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        )
        self._add(epoch, summary)
        self._writer.flush()

    def histograms(self, epoch: int, arrays: Iterable[tuple[str, Array]]) -> None:
        """The distribution of all values of each array, for an epoch, by tag."""
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        for tag, values in arrays:
            self._add(epoch, histogram_pb(tag, values))
        self._writer.flush()

    def _add(self, epoch: int, summary: Any, when: float | None = None) -> None:
        wall_time = time.time() if when is None else when
        self._writer.add_event(self._event(wall_time=wall_time, step=epoch, summary=summary))

    def close(self) -> None:
        """Finish writing."""
        self._writer.close()


def _read(paths: Iterable[Path]) -> Iterable[Any]:
    """All events in event files; of one that a kill has cut off, those before the cut."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for path in paths:
        yield from LegacyEventFileLoader(str(path)).Load()
