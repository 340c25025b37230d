"""Train every recipe over several seeds, in npmlp and in PyTorch: `make reproduce`.

What has a result file is not trained again, and a training that was stopped goes on from its
checkpoint, so this can be stopped and started at will. Hours on two cores.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import machine
import tyro
from measured import EVERYTHING, GOALS, RESULTS, Measured

from npmlp.recipes import Recipe
from npmlp.runs import RunFolder

MODULES = {"npmlp": "npmlp.train", "torch": "reference_torch.train"}
GRIDS = ("lenet-batch-lr", "lenet-inputs")
DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Measure every recipe's accuracy over seeds, in npmlp and in PyTorch."""

    results: Path = RESULTS
    """where the result files are"""
    runs: Path = Path("runs/reproduce")
    """where the run folders are"""
    only: tuple[str, ...] = ()
    """these recipes alone; mixer-patch2 and mixer-patch7 are the other patch sizes"""
    engines: tuple[Literal["npmlp", "torch"], ...] = ("npmlp", "torch")
    """which of the two train"""
    seeds: int = 3
    """how many seeds at least: 0, 1, …"""
    most_seeds: int = 40
    """how many at most, where the interval of the difference needs more to be narrow enough"""
    jobs: int = 2
    """trainings at a time, of one thread each; their numbers do not depend on it"""
    check: bool = False
    """the recipes that have a goal only, and an error at the end where one falls short of it"""


@dataclass(frozen=True)
class Training:
    """One recipe, seed and engine."""

    recipe: Recipe
    engine: str

    @property
    def key(self) -> str:
        return f"{self.recipe.name}/{self.engine}-seed{self.recipe.seed}"


class Reproduction:
    """Does what is missing, `jobs` at a time."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.starting = threading.Lock()  # so that none starts unseen while the others are stopped
        self.processes: set[subprocess.Popen[bytes]] = set()

    def names(self) -> list[str]:
        unknown = set(self.flags.only) - EVERYTHING.keys()
        if unknown:
            raise SystemExit(
                f"--only: there is no {', '.join(unknown)}; the names: {', '.join(EVERYTHING)}"
            )
        return list(self.flags.only or (GOALS if self.flags.check else EVERYTHING))

    def run(self) -> None:
        """Train everything that is missing, then further seeds where they are needed."""
        first = range(min(self.flags.seeds, self.flags.most_seeds))
        self._do(t for name in self.names() for seed in first for t in self._trainings(name, seed))
        for seed in range(self.flags.seeds, self.flags.most_seeds):
            if self.stopping.is_set():
                return
            undecided = [name for name in self.names() if self._undecided(name)]
            self._do(t for name in undecided for t in self._trainings(name, seed))

    def _trainings(self, name: str, seed: int) -> list[Training]:
        recipe = dataclasses.replace(EVERYTHING[name], seed=seed)
        return [Training(recipe, engine) for engine in self._engines(name)]

    def _engines(self, name: str) -> tuple[str, ...]:
        """Which of the two train this recipe: the other patch sizes compare with npmlp's alone."""
        return tuple(e for e in self.flags.engines if e == "npmlp" or name in GOALS)

    def _undecided(self, name: str) -> bool:
        both = set(self.flags.engines) == set(MODULES)
        return both and name in GOALS and not Measured(name, self.flags.results).agrees()

    def _do(self, wanted: Any) -> None:
        missing = [t for t in wanted if not self._is_done(t)]
        with concurrent.futures.ThreadPoolExecutor(self.flags.jobs) as pool:
            for _ in pool.map(self._train, missing):
                pass

    def _file(self, training: Training) -> Path:
        return self.flags.results / f"{training.key}.json"

    def _is_done(self, training: Training) -> bool:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._file(training).read_text())
            return bool(found["recipe"] == dataclasses.asdict(training.recipe))
        return False

    def _train(self, training: Training) -> None:
        if self.stopping.is_set():
            return
        folder = self.flags.runs / training.key
        began = time.perf_counter()
        if not self._goes_on(training, folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            recipe = folder.parent / f"{folder.name}-recipe.json"
            recipe.write_text(json.dumps(dataclasses.asdict(training.recipe)))
            place = ["--recipe", str(recipe), "--out", str(folder), "--threads", "1"]
        else:
            place = ["--resume", str(folder)]
        log = folder.parent / f"{folder.name}.log"
        with open(log, "a") as output:
            process = self._start(
                [sys.executable, "-m", MODULES[training.engine], *place, "--no-report"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            status = self._wait(process)
        if self.stopping.is_set():
            return
        if status:
            self.failures.append(f"{training.key}: failed, see {log}")
            print(self.failures[-1], flush=True)
            return
        result = self._record(training, folder)
        print(
            f"{training.key}: test accuracy {result['test_accuracy']:.4f}, "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )

    def _goes_on(self, training: Training, folder: Path) -> bool:
        """Whether the folder holds this training, begun earlier."""
        try:
            return RunFolder(folder).recipe() == training.recipe
        except Exception:
            return False

    def _record(self, training: Training, folder: Path) -> dict[str, Any]:
        """Keep what the tables need of a finished run, in a small file."""
        run = RunFolder(folder)
        summary, config = run.summary(), run.config()
        assert summary is not None
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        result: dict[str, Any] = {
            **summary,
            "engine": training.engine,
            "recipe": dataclasses.asdict(training.recipe),
            "threads": config["threads"],
            "versions": config["versions"],
            "machine": machine.facts(),
            "train_loss_by_epoch": [round(row["train_loss"], 5) for row in rows],
            "lr_by_epoch": [row["lr"] for row in rows],
            "test_accuracy_by_epoch": [row["test_accuracy"] for row in rows],
        }
        if "val_accuracy" in rows[0]:
            result["val_accuracy_by_epoch"] = [row["val_accuracy"] for row in rows]
        path = self._file(training)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".tmp").replace(path)
        return result

    def sweep(self, grid: str) -> None:
        """Train a shipped grid, and keep its table, result and heatmap."""
        result = self.flags.results.parent / f"{grid}.json"
        if result.exists() or self.stopping.is_set():
            return
        folder = self.flags.runs / grid
        begun = (folder / "sweep.json").exists()
        place = ["--resume", str(folder)] if begun else ["--grid-file", grid, "--out", str(folder)]
        jobs = ["--jobs", str(self.flags.jobs)]
        process = self._start([sys.executable, "-m", "npmlp.sweep", *place, *jobs])
        status = self._wait(process)
        if status:
            self.failures.append(f"{grid}: ended with status {status}")
        if status == 0:
            shutil.copy(folder / "sweep.csv", result.with_suffix(".csv"))
            shutil.copy(folder / "heatmap.png", DOCS / f"{grid}.png")
            shutil.copy(folder / "result.json", result)

    def _start(self, command: list[str], **kwargs: Any) -> subprocess.Popen[bytes] | None:
        """Start a command out of the reach of the terminal's Ctrl-C; None once all is to stop."""
        with self.starting:
            if self.stopping.is_set():
                return None
            process = subprocess.Popen(command, start_new_session=True, **kwargs)
            self.processes.add(process)
            return process

    def _wait(self, process: subprocess.Popen[bytes] | None) -> int:
        if process is None:
            return -1
        status = process.wait()
        self.processes.discard(process)
        return status

    def stop(self, number: int, frame: Any) -> None:
        """Let every training keep a checkpoint, and end."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        threading.Thread(target=self._stop_all).start()  # a signal handler must not wait for locks

    def _stop_all(self) -> None:
        with self.starting:
            for process in list(self.processes):
                process.send_signal(signal.SIGTERM)


def main() -> None:
    flags = tyro.cli(Flags)
    work = Reproduction(flags)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, work.stop)
    work.run()
    if not (flags.only or flags.check):
        for grid in GRIDS:
            work.sweep(grid)
    if work.stopping.is_set():
        raise SystemExit("stopped; the same command goes on")
    shortfalls = list(work.failures)
    for name in work.names():
        if name in GOALS:
            found = Measured(name, flags.results)
            if found.seeds("npmlp"):
                print(f"{name:27} npmlp {found.mean('npmlp'):.4f}", end="")
            if found.seeds("torch"):
                print(f"  PyTorch {found.mean('torch'):.4f}", end="")
            if (interval := found.interval()) is not None:
                print(f"  difference {interval[0]:+.4f} … {interval[1]:+.4f}", end="")
            print()
            shortfalls += found.shortfalls(flags.seeds)
    if work.failures or (flags.check and shortfalls):
        raise SystemExit("\n".join(shortfalls))


if __name__ == "__main__":
    main()
