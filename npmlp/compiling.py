"""What one sees of compiling: a line when it begins, and one with the seconds when it is done.

A kernel is compiled when it is first needed, and then kept on disk (npmlp.kernels.cache). Numba
tells when it compiles, so nothing is said where all kernels come from the disk.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from npmlp.files import home_as_tilde
from npmlp.progress import Progress, Silent


class Announcing:
    """Progress that also tells of compiling, between the remarks of another Progress `show`."""

    def __init__(self, show: Progress) -> None:
        self.show = show
        self.seconds = self.told = 0.0
        self.running = 0  # functions: one that is compiled has those compiled that it calls
        self.began = 0.0

    def compiling(self) -> None:
        """A function begins to compile."""
        if self.running == 0:
            if self.seconds == 0:
                self.show.note(
                    "compiling kernels for this processor, once; later runs take them from disk"
                )
            self.began = time.perf_counter()
        self.running += 1

    def compiled(self) -> None:
        """It is done."""
        self.running -= 1
        if self.running == 0:
            self.seconds += time.perf_counter() - self.began

    def _tell(self) -> None:
        """Say what was compiled since it was said last."""
        new = self.seconds - self.told
        if new > 0:
            from npmlp.kernels import cache

            what = "compiled more" if self.told else "compiled"  # what an evaluation needs, for one
            self.told = self.seconds
            lost = f", not kept: {home_as_tilde(cache.problems[-1])}" if cache.problems else ""
            self.show.note(f"{what} in {new:.1f} s{lost}")

    def note(self, text: str) -> None:
        self.show.note(text)

    def start(self, epochs: int, history: list[dict[str, Any]], batches: int) -> None:
        self.show.start(epochs, history, batches)

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None:
        self._tell()
        self.show.batch(done, loss, accuracy, lr, rate)

    def epoch(self, row: dict[str, Any]) -> None:
        self._tell()
        self.show.epoch(row)

    def close(self) -> None:
        self._tell()
        self.show.close()


@contextlib.contextmanager
def announced(show: Progress) -> Iterator[Progress]:
    """A Progress that also says on `show` what is compiled while this is open."""
    if isinstance(show, Silent):
        yield show
        return
    from npmlp.kernels.cache import numba

    telling = Announcing(show)

    class Listener(numba.core.event.Listener):
        def on_start(self, event: Any) -> None:
            telling.compiling()

        def on_end(self, event: Any) -> None:
            telling.compiled()

    with numba.core.event.install_listener("numba:compile", Listener()):
        yield telling
