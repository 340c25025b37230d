"""Sweeps on a Dask cluster: a real scheduler and two worker processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from sweeping import (  # noqa: F401 - two are fixtures
    DEADLINE,
    ENDLESS,
    FLAGS,
    GRID,
    begin,
    ended,
    finished_sweep,
    let_on,
    numbers,
    read_until,
    run_here,
    small_data_set,
    table,
    under_way,
    wait_for,
)

from npmlp.sweep import cluster as sweep_cluster


class Cluster:
    """A scheduler, and workers that the test starts and kills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, []
        self.file = folder / "scheduler.json"
        self.cells = folder / "cells"  # where the workers train
        self.cells.mkdir()
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", self.file,
        )  # fmt: skip
        self.address = wait_for(self._address, self.scheduler)

    def _address(self) -> str | None:
        try:
            address: str = json.loads(self.file.read_text())["address"]
        except (OSError, ValueError):  # not there yet, or being written
            return None
        return address

    def _start(self, module: str, *args: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, args)]
        with open(self.folder / "log.txt", "ab") as log:
            places = {**os.environ, "TMPDIR": str(self.cells)}
            return subprocess.Popen(command, stdout=log, stderr=log, env=places)

    def add_worker(self, name: str = "worker", threads: int = 1) -> subprocess.Popen[bytes]:
        worker = self._start(
            "dask_worker", self.address, "--name", name, "--nthreads", threads, "--no-nanny",
            "--no-dashboard", "--local-directory", self.folder,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def wait_for(self, count: int) -> None:
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=DEADLINE)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert run_here(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_worker_that_is_killed_loses_no_cell(
    cluster: Cluster, finished: Path, data: Path, tmp_path: Path
) -> None:
    victim = cluster.add_worker("victim")
    cluster.add_worker("other")
    cluster.wait_for(2)
    out = tmp_path / "dask"
    flags = [*FLAGS, *GRID, "--data", data, "--out", out, "--scheduler", cluster.address]
    process = begin(*flags, halt_at="vanilla:")
    first = read_until(process, lambda line: "trainings over" in line)
    assert f"; Dask at {cluster.address}, 2 workers now; " in first[0]
    victim.send_signal(signal.SIGSTOP)  # a cell that it gets cannot come to an end
    let_on(process)
    read_until(process, lambda line: line.startswith("5/6"))
    with Client(cluster.address, set_as_default=False) as client:

        def workers() -> dict[str, str]:
            found = client.scheduler_info(n_workers=-1)["workers"]
            return {worker["name"]: address for address, worker in found.items()}

        assert len(client.processing()[workers()["victim"]]) == 1
        victim.kill()
        printed, errors = ended(process)
        assert process.returncode == 0, errors
        assert "6/6" in printed and "failed" not in printed
        assert list(workers()) == ["other"]
    assert [row["state"] for row in table(out)] == ["done"] * 6
    assert numbers(out) == numbers(finished)


def test_a_sweep_that_stops_or_is_killed_leaves_its_workers_free(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    cluster.add_worker()
    cluster.wait_for(1)
    flags = [*FLAGS, "--grid", "lr=.1,.01", "--data", data, "--scheduler", cluster.address]
    endless = [*flags, "--epochs", ENDLESS, "--out", tmp_path / "endless"]
    for ending in (signal.SIGINT, signal.SIGKILL):
        process = begin(*endless)
        wait_for(lambda: under_way(cluster.cells, ENDLESS), process)
        process.send_signal(ending)
        ended(process)
        # the worker has time for another sweep, which it can do after that alone
        out = tmp_path / ending.name
        short = begin(*flags, "--prune", "--out", out)
        _, errors = ended(short)
        assert short.returncode == 0, errors
        assert [row["state"] for row in table(out)] == ["done", "done"]
        assert not under_way(cluster.cells, ENDLESS)


def test_a_cluster_that_cannot_do_the_work_is_one_sentence(
    cluster: Cluster,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_cluster, "FOR_WORKERS", 0.1)  # none will come
    flags = [*FLAGS, *GRID, "--data", data, "--out", tmp_path / "s", "--scheduler"]
    assert "has no workers; start some with `dask worker" in error_of(
        capsys, *flags, cluster.address
    )
    cluster.add_worker(threads=2)
    cluster.wait_for(1)
    error = error_of(capsys, *flags, cluster.address)
    assert "has 2 threads, and npmlp needs workers of one" in error and "--nthreads 1" in error
    monkeypatch.setattr(sweep_cluster, "PATIENCE", 0.2)  # nothing is there to answer
    for address in ("tcp://127.0.0.1:1", "127.0.0.1:1", "udp://127.0.0.1:1"):
        error = error_of(capsys, *flags, address)
        assert f"--scheduler {address}: does not answer" in error
    assert {row["attempts"] for row in table(tmp_path / "s")} == {"0"}
