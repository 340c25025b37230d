"""What one sees while it trains: bars on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """Where a training reports how far it is."""

    def note(self, text: str) -> None: ...

    def start(self, epochs: int, history: list[dict[str, Any]], batches: int) -> None: ...

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    width = len(str(epochs))
    parts = [
        f"epoch {row['epoch']:{width}d}/{epochs}",
        f"loss {row['train_loss']:.4f}"
        if row["train_loss"] < 1e4
        else f"loss {row['train_loss']:.4g}",
        f"train {100 * row['train_accuracy']:5.2f} %",
    ]
    if "val_accuracy" in row:
        parts.append(f"val {100 * row['val_accuracy']:5.2f} %")
    parts += [
        f"test {100 * row['test_accuracy']:5.2f} %",
        f"lr {row['lr']:.3g}",
        f"{row['seconds']:.1f} s",
        f"{row['samples_per_second']:,.0f} images/s",
    ]
    return "  ".join(parts)


def say(text: str) -> None:
    """Print a line. Where nobody reads any more (`| head`), the training goes on all the same."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Lines:
    """One line per epoch, for a log file or a pipe."""

    def note(self, text: str) -> None:
        say(text)

    def start(self, epochs: int, history: list[dict[str, Any]], batches: int) -> None:
        self.epochs = epochs

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        say(epoch_line(row, self.epochs))

    def close(self) -> None:
        pass


class Silent(Lines):
    """Nothing at all, for a program that looks at the results itself."""

    def note(self, text: str) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        pass


class Bars:
    """A bar for the epochs and one for the batches, with the epochs' lines above them."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        # its own column of numbers; soft_wrap keeps an epoch's line whole on a narrow terminal
        self.console = Console()
        self.bars = progress.Progress(
            progress.TextColumn("{task.description:7}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
            console=self.console,
        )
        self.shown = 0.0

    def note(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def start(self, epochs: int, history: list[dict[str, Any]], batches: int) -> None:
        self.epochs, self.batches = epochs, batches
        self.over_epochs = self.bars.add_task(
            "epochs", total=epochs, completed=len(history), numbers=""
        )
        self.over_batches = self.bars.add_task("batches", total=batches, numbers="")
        self.bars.start()

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None:
        now = time.perf_counter()
        # the bar costs more than a training step
        if now - self.shown < 0.1 and done < self.batches:
            return
        self.shown = now
        numbers = f"loss {loss:.4f}  {100 * accuracy:.2f} %  lr {lr:.3g}  {rate:,.0f} images/s"
        self.bars.update(self.over_batches, completed=done, numbers=numbers)

    def epoch(self, row: dict[str, Any]) -> None:
        self.console.print(epoch_line(row, self.epochs), soft_wrap=True, highlight=False)
        self.bars.update(self.over_epochs, completed=row["epoch"])

    def close(self) -> None:
        self.bars.stop()


def for_this_output() -> Progress:
    """Bars if a person watches, lines if not."""
    return Bars() if sys.stdout.isatty() else Lines()
