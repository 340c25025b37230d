"""A training says that it compiles, and how long that took; where it need not, it says nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import run_command

from npmlp import compiling, progress
from npmlp.kernels import cache, threads

BEGINS = "compiling kernels for this processor, once; later runs take them from disk"
DONE = re.compile(r" in \d+\.\d s$")


class Heard(progress.Lines):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def batch(self, *args: Any) -> None:
        self.texts.append("batch")

    def epoch(self, row: dict[str, Any]) -> None:
        self.texts.append("epoch")


def compile_something() -> None:
    """A kernel that calls another: two compilations, one within the other."""
    inner = cache.njit(cache=False)(lambda x: x + 1)
    assert cache.njit(cache=False)(lambda x: 2 * inner(x))(3) == 8


def test_the_command_says_so_on_a_cold_cache_and_not_on_a_warm_one(tmp_path: Path) -> None:
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    args = ["--arch", "vanilla", "--limit", "64", "--epochs", "1"]
    args += ["--kernels", "numba", "--no-report", "--out"]
    cold, warm = (
        run_command("npmlp.train", *args, str(tmp_path / name), env=settings)
        for name in ("cold", "warm")
    )
    assert cold.returncode == warm.returncode == 0, cold.stderr + warm.stderr
    lines = cold.stdout.splitlines()
    (begins,) = (i for i, line in enumerate(lines) if line == BEGINS)
    # in the first step, and on several threads in the evaluation, whose products are larger
    done = [i for i, line in enumerate(lines) if re.match("compiled (more )?in .* s$", line)]
    (epoch,) = (i for i, line in enumerate(lines) if line.startswith("epoch 1/1"))
    assert done and begins < done[0] and done[-1] < epoch
    assert "compil" not in warm.stdout + warm.stderr
    # and the same results, but for times and folders
    figures = [
        re.findall(r"loss \S+|train +\S+|test accuracy.*", run.stdout) for run in (cold, warm)
    ]
    assert figures[0] == figures[1] != []


def test_it_is_said_once_that_compiling_begins_and_each_time_how_long_it_took() -> None:
    heard = Heard()
    with compiling.announced(heard) as show:
        show.start(2, [], 10)
        compile_something()
        compile_something()
        assert heard.texts == [BEGINS]
        show.batch(1, 0.0, 0.0, 0.1, 1.0)
        show.batch(2, 0.0, 0.0, 0.1, 1.0)
        compile_something()
        show.epoch({})
        show.note("a remark")
        show.close()
    assert [DONE.sub("", text) for text in heard.texts] == [
        BEGINS, "compiled", "batch", "batch", "compiled more", "epoch", "a remark",
    ]  # fmt: skip


def test_the_seconds_are_those_of_the_outer_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.5])  # read at the beginning of the outer one and at its end
    heard = Heard()
    with compiling.announced(heard) as show:
        monkeypatch.setattr(compiling.time, "perf_counter", lambda: next(ticks))
        compile_something()
        show.close()
    assert heard.texts == [BEGINS, "compiled in 2.5 s"]


def test_it_says_where_kernels_could_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    monkeypatch.setattr(cache, "problems", ["/some/folder: No space left on device"])
    with compiling.announced(heard) as show:
        compile_something()
        show.close()
    assert heard.texts[-1].endswith(" s, not kept: /some/folder: No space left on device")


def test_a_program_that_shows_no_progress_hears_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    silent = progress.Silent()
    with compiling.announced(silent) as show:
        assert show is silent  # driver and report know it by its class
        compile_something()
    compile_something()  # and outside of a training
    assert capfd.readouterr() == ("", "")


TRAINING_IN_PLANS = """
import npmlp
from npmlp import nn
from npmlp.kernels import matmul
npmlp.set_kernels("numba")
npmlp.set_num_threads(2)
model = nn.Linear(784, 100)
optimizer = npmlp.optim.SGD(model.parameters(), lr=0.1)
def step(x):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss
x = npmlp.randn(128, 784)
plan = npmlp.capture(step)
plan(x), plan(x)
print(plan.reason, len(matmul._parts.signatures))
step(x)
print(len(matmul._parts.signatures))
"""


@pytest.mark.skipif(
    threads.numba.config.NUMBA_NUM_THREADS < 2, reason="on one processor nothing is divided"
)
def test_training_in_plans_compiles_no_products_for_eager_threads() -> None:
    """They would be a third of the time that a first run takes to compile."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING_IN_PLANS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "0", "1"]
