"""Sweeps on a Dask cluster: a real scheduler and two worker processes on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from sweeping import FLAGS, GRID, begin, numbers, read_until, small_data, table

from npmlp import commands, sweep
from npmlp.sweep import cluster as sweep_cluster


class Cluster:
    """A scheduler, and workers that the test starts and kills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, []
        self.file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", self.file,
        )  # fmt: skip
        while not self.file.exists() or not self.file.read_text():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address: str = json.loads(self.file.read_text())["address"]

    def _start(self, module: str, *args: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, args)]
        with open(self.folder / "log.txt", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def add_worker(self, threads: int = 1) -> subprocess.Popen[bytes]:
        worker = self._start(
            "dask_worker", self.address, "--nthreads", threads, "--no-nanny", "--no-dashboard",
            "--local-directory", self.folder,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def wait_for(self, count: int) -> None:
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_data(tmp_path_factory.mktemp("small") / "data")


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert commands.run(sweep.main, [str(arg) for arg in args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_worker_that_is_killed_loses_no_cell(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    victim, _ = cluster.add_worker(), cluster.add_worker()
    cluster.wait_for(2)
    # long enough that both workers are in the middle of a cell when one dies
    flags = [*FLAGS, *GRID, "--epochs", 8, "--data", data]
    out = tmp_path / "dask"
    process = begin(*flags, "--out", out, "--scheduler", cluster.address)
    first = read_until(process, lambda line: line.startswith("2/6"))
    victim.kill()
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"; Dask at {cluster.address}, 2 workers now; " in first[0]
    assert "6/6" in printed and "failed" not in printed
    with Client(cluster.address, set_as_default=False) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1
    assert [row["state"] for row in table(out)] == ["done"] * 6

    here = tmp_path / "processes"
    process = begin(*flags, "--out", here, "--jobs", 2)
    process.communicate(timeout=120)
    assert numbers(out) == numbers(here)


def test_a_sweep_that_stops_or_is_killed_leaves_its_workers_free(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    cluster.add_worker()
    cluster.wait_for(1)
    flags = [*FLAGS, "--grid", "lr=.1,.01", "--epochs", 100000, "--data", data, "--scheduler",
             cluster.address]  # fmt: skip
    process = begin(*flags, "--out", tmp_path / "endless")
    read_until(process, lambda line: "trainings over" in line)
    with Client(cluster.address, set_as_default=False) as client:
        while not any(client.processing().values()):
            time.sleep(0.05)
        time.sleep(0.5)
        process.kill()
        process.communicate()
        out = tmp_path / "short"
        short = begin(*flags, "--epochs", 3, "--prune", "--out", out)
        _, errors = short.communicate(timeout=60)  # the worker has time for it
        assert short.returncode == 0, errors
        assert [row["state"] for row in table(out)] == ["done", "done"]


def test_a_cluster_that_cannot_do_the_work_is_one_sentence(
    cluster: Cluster,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_cluster, "PATIENCE", 1.0)
    flags = [*FLAGS, *GRID, "--data", data, "--out", tmp_path / "s", "--scheduler"]
    assert "has no workers; start some with `dask worker" in error_of(
        capsys, *flags, cluster.address
    )
    cluster.add_worker(threads=2)
    cluster.wait_for(1)
    error = error_of(capsys, *flags, cluster.address)
    assert "has 2 threads, and npmlp needs workers of one" in error and "--nthreads 1" in error
    for address in ("tcp://127.0.0.1:1", "127.0.0.1:1", "udp://127.0.0.1:1"):
        error = error_of(capsys, *flags, address)
        assert f"--scheduler {address}: does not answer" in error
    assert {row["attempts"] for row in table(tmp_path / "s")} == {"0"}
