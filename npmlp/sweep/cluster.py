"""Workers of a Dask cluster that is there already: `--scheduler tcp://…`.

Each must have one thread (`dask worker ADDRESS --nthreads 1`): settings such as the default dtype
are global, and Numba's threads cannot be started from two threads. When a worker is lost, Dask
gives its training to another.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
import uuid
from typing import Any

import npmlp
from npmlp.errors import RunError
from npmlp.sweep.pool import Ended, Epoch, Event, Job
from npmlp.sweep.work import Pruned, Reporter, train

PATIENCE = 5.0  # seconds to wait for the scheduler
FOR_WORKERS = 5.0  # seconds to wait for a first worker, once the scheduler has answered


class Cluster:
    """The workers of the scheduler at `address`; see pool.Pool.

    Raises RunError where it does not answer, or a worker cannot do the work.
    """

    def __init__(self, address: str, data: str | None) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise RunError(
                "--scheduler: needs Dask's distributed, which is not installed; "
                'pip install "npmlp[dask]"'
            ) from None
        self.address = address
        self.happened: queue.Queue[Event] = queue.Queue()
        self.futures: dict[str, Any] = {}
        self.pruned: set[str] = set()
        self.topic = f"npmlp-{uuid.uuid4().hex}"
        # what goes wrong is said here, in a sentence
        logs = (logging.getLogger(name) for name in ("distributed", "distributed.client"))
        self.logs = {log: log.level for log in logs}
        for log in self.logs:
            log.setLevel(logging.CRITICAL)
        try:
            self.client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
            self._let_dask_log()
            why = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"--scheduler {address}: does not answer ({why}); is `dask scheduler` running "
                "there, and the address right?"
            ) from None
        try:
            self._check_workers(data)
            self.client.subscribe_topic(self.topic, self._on_epoch)
        except BaseException:
            self.close()
            raise

    def describe(self) -> str:
        return f"Dask at {self.address}, {self.capacity()} workers now"

    # ------------------------------------------------------------------------- who is there

    def _workers(self) -> dict[str, int]:
        """The workers' addresses and numbers of threads."""
        try:
            found = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError, ValueError, KeyError):
            raise self._gone() from None
        return {address: worker["nthreads"] for address, worker in found.items()}

    def _check_workers(self, data: str | None) -> None:
        give_up = time.monotonic() + FOR_WORKERS
        while not (workers := self._workers()):
            if time.monotonic() > give_up:
                raise RunError(
                    f"--scheduler {self.address}: has no workers; start some with "
                    f"`dask worker {self.address} --nthreads 1`"
                )
            time.sleep(0.1)
        for address, threads in workers.items():
            if threads != 1:
                raise RunError(
                    f"--scheduler {self.address}: the worker {address} has {threads} threads, and "
                    f"npmlp needs workers of one; start it with `dask worker {self.address} "
                    "--nthreads 1 --nworkers N`"
                )
        for address, answer in self.client.run(_probe, data, on_error="return").items():
            if isinstance(answer, ModuleNotFoundError):
                answer = f"has no npmlp ({answer}); install it there"
            elif isinstance(answer, Exception):
                answer = f"cannot be used ({' '.join(str(answer).split())})"
            elif answer == npmlp.__version__:
                continue
            else:
                answer = f"has npmlp {answer}, and this is {npmlp.__version__}"
            raise RunError(f"--scheduler {self.address}: the worker {address} {answer}")

    def capacity(self) -> int:
        return len(self._workers())

    # ------------------------------------------------------------------------------ training

    def start(self, job: Job) -> None:
        # Dask would take an equal call as done already: not pure
        future = self.client.submit(
            _train_on_worker, job, self.topic, key=f"{self.topic}-{job.ticket}", pure=False
        )
        self.futures[job.ticket] = future
        future.add_done_callback(lambda done: self._on_done(job.ticket, done))

    def _on_epoch(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        self.happened.put(Epoch(message["ticket"], message["epoch"], message["accuracy"]))

    def _on_done(self, ticket: str, future: Any) -> None:
        """In a thread of Dask's: what came of a training goes into the queue."""
        ended = Ended(ticket, "lost", error="the scheduler dropped it")
        with contextlib.suppress(Exception):  # the result can be lost before it is fetched
            if ticket in self.pruned:
                ended = Ended(ticket, "pruned")
            elif future.status == "finished":
                ended = future.result()
            elif future.status == "error":
                error = future.exception()
                what = f"{type(error).__name__}: {error}"
                # the worker cannot import npmlp; it came after the sweep began
                missing = isinstance(error, ImportError)
                ended = Ended(ticket, "refused" if missing else "failed", error=what)
        self.happened.put(ended)

    def events(self, timeout: float) -> list[Event]:
        if self.client.status != "running":  # reconnected, it would know of no training any more
            raise self._gone()
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.happened.get(timeout=timeout))
            while True:
                found.append(self.happened.get_nowait())
        known = [event for event in found if event.ticket in self.futures]  # not cancelled since
        for event in known:
            if isinstance(event, Ended):
                del self.futures[event.ticket]
        return known

    def answer(self, ticket: str, stop: bool) -> None:
        if stop and ticket in self.futures:
            self.pruned.add(ticket)
            self.client.cancel([self.futures[ticket]])  # the worker sees it at its next batch

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it may be gone
            self.client.cancel(list(self.futures.values()))
        self.futures.clear()
        self.client.close(timeout=2)
        self._let_dask_log()

    def _let_dask_log(self) -> None:
        for log, level in self.logs.items():
            log.setLevel(level)

    def _gone(self) -> RunError:
        return RunError(
            f"--scheduler {self.address}: the connection is lost; what is done so far is kept. "
            "Start the sweep again once there is a scheduler"
        )


# -------------------------------------------------------------------------------- on the worker


def _probe(data: str | None) -> str:
    """The version of npmlp there. Raises NpmlpError where the data is not found."""
    from npmlp.vision.images import load_image_data

    load_image_data(data)
    return npmlp.__version__


class _Watched(Reporter):
    """Ends the training where nobody waits for it any more: pruned, or the sweep stopped."""

    def __init__(self, worker: Any, job: Job, topic: str) -> None:
        super().__init__(self._log if job.report else None)
        self.worker, self.job, self.topic = worker, job, topic
        self.key = worker.get_current_task()

    def _log(self, epoch: int, accuracy: float) -> None:
        message = {"ticket": self.job.ticket, "epoch": epoch, "accuracy": accuracy}
        self.worker.log_event(self.topic, message)

    def batch(self, done: int, loss: float, accuracy: float, lr: float, rate: float) -> None:
        task = self.worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise Pruned


def _train_on_worker(job: Job, topic: str) -> Ended:
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads != 1:  # it came after the sweep began
        error = f"the worker {worker.address} has {worker.state.nthreads} threads, not one"
        return Ended(job.ticket, "refused", error=error)
    return train(job, _Watched(worker, job, topic))
