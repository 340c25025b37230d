"""Workers that are processes of this machine: each trains one cell at a time.

A process is kept from cell to cell, for importing and loading compiled kernels takes seconds. One
that dies takes its own training with it and nothing else; the next cell gets a new process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from npmlp.sweep.pool import Ended, Epoch, Event, Job


class _Worker:
    def __init__(self, folder: Path) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, folder), daemon=True)
        with _without_ctrl_c():
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        self.ticket: str | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


class Processes:
    """At most `jobs` processes; see pool.Pool. Runs in flight are in `folder`."""

    def __init__(self, jobs: int, folder: Path) -> None:
        self.jobs, self.folder = jobs, folder
        self.workers: list[_Worker] = []
        shutil.rmtree(folder, ignore_errors=True)  # what a killed sweep left
        folder.mkdir()

    def describe(self) -> str:
        return f"{self.jobs} process{'es' if self.jobs > 1 else ''}"

    def capacity(self) -> int:
        return self.jobs

    def start(self, job: Job) -> None:
        worker = next((w for w in self.workers if w.ticket is None), None)
        if worker is None:
            worker = _Worker(self.folder)
            self.workers.append(worker)
        worker.ticket = job.ticket
        with contextlib.suppress(OSError):  # it died while idle, which events() finds
            worker.connection.send(job)

    def events(self, timeout: float) -> list[Event]:
        found: list[Event] = []
        # a pipe is readable when there is a message in it, and when its other end is gone
        ready = wait([w.connection for w in self.workers], timeout)
        for worker in [w for w in self.workers if w.connection in ready]:
            try:
                event = worker.connection.recv()
            except (EOFError, OSError):
                event = self._lost(worker)
            else:
                if isinstance(event, Ended):
                    worker.ticket = None
            if event is not None:
                found.append(event)
        return found

    def _lost(self, worker: _Worker) -> Ended | None:
        self.workers.remove(worker)
        worker.process.join()
        ticket, code = worker.ticket, worker.process.exitcode or 0
        worker.end()
        by = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        return Ended(ticket, "lost", error=f"its process ended with {by}") if ticket else None

    def answer(self, ticket: str, stop: bool) -> None:
        for worker in self.workers:
            if worker.ticket == ticket:
                with contextlib.suppress(OSError):
                    worker.connection.send(stop)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self.workers.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started within it never see Ctrl-C, which is for their parent."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # or start() would begin it, and unblock what is blocked here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which children inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ------------------------------------------------------------------------------ in the process


def _serve(connection: Connection[Any, Any], folder: Path) -> None:
    """Do the jobs that come through the pipe, until it ends."""
    from npmlp.sweep.work import Pruned, Reporter, train

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not blocked already
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(epoch: int, accuracy: float) -> None:
        connection.send(Epoch(job.ticket, epoch, accuracy))
        if connection.recv():
            raise Pruned

    with contextlib.suppress(EOFError, OSError):
        while True:
            job: Job = connection.recv()
            connection.send(train(job, Reporter(report if job.report else None), folder))


def _end_with_parent() -> None:
    """A parent that was killed ends nothing itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
