"""The measured results: means, intervals and goals, what is trained again, and the page of them."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from npmlp.recipes import RECIPES

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_page_is_what_the_measured_files_say() -> None:
    from results_page import PAGE, render

    assert PAGE.read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_reached_its_goal_with_pytorchs_accuracy(name: str) -> None:
    from measured import Measured

    found = Measured(name)
    assert len(found.seeds("npmlp")) >= 3
    assert found.shortfalls() == []  # the goal, and the interval of the difference to PyTorch


# ---------------------------------------------------------------------------------- what they say


def write(folder: Path, name: str, engine: str, accuracies: list[float], **fields: Any) -> None:
    """Result files of these test accuracies, by seed."""
    (folder / name).mkdir(exist_ok=True)
    for seed, accuracy in enumerate(accuracies):
        recipe = dataclasses.asdict(dataclasses.replace(RECIPES[name], seed=seed))
        content = {
            "recipe": recipe, "engine": engine, "seed": seed, "test_accuracy": accuracy,
            "test_accuracy_by_epoch": [0.5, accuracy], "train_loss": 0.2, **fields,
        }  # fmt: skip
        (folder / name / f"{engine}-seed{seed}.json").write_text(json.dumps(content))


def test_the_interval_is_students_of_the_differences_by_seed(tmp_path: Path) -> None:
    from measured import Measured

    write(tmp_path, "vanilla", "npmlp", [0.880, 0.882, 0.887])
    write(tmp_path, "vanilla", "torch", [0.879, 0.880, 0.884, 0.1])  # a seed without a pair
    found = Measured("vanilla", tmp_path)
    assert found.mean("npmlp") == pytest.approx(0.883)
    assert found.differences() == pytest.approx([0.001, 0.002, 0.003])
    # the mean is 0.002, the deviation 0.001; t(0.975; 2) = 4.302653, from a table
    half = 4.302653 * 0.001 / 3**0.5
    assert found.interval() == pytest.approx((0.002 - half, 0.002 + half), rel=1e-6)
    assert found.agrees()
    assert found.epochs_alike() == (3, 6, pytest.approx(0.003))


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ([0.880, 0.880], [0.880, 0.881], "vanilla: npmlp has 2 seeds"),
        ([0.869, 0.869, 0.869], [0.869, 0.869, 0.870], "mean accuracy 0.8690, expected 0.87"),
        ([0.880, 0.880, 0.890], [0.880, 0.881, 0.880], "is not inside ±0.005"),
        ([0.880, 0.880, 0.880, 0.880], [0.880, 0.880, 0.881], "npmlp and torch have other seeds"),
        ([0.880, 0.881, 0.880], [0.880, 0.881, 0.881], None),
    ],
)
def test_what_is_short_of_a_goal_is_said(
    ours: list[float], theirs: list[float], message: str | None, tmp_path: Path
) -> None:
    from measured import Measured

    write(tmp_path, "vanilla", "npmlp", ours)
    write(tmp_path, "vanilla", "torch", theirs)
    found = Measured("vanilla", tmp_path).shortfalls()
    assert found == [] if message is None else message in " ".join(found)


def test_zeros_must_be_at_chance_exactly(tmp_path: Path) -> None:
    from measured import Measured

    for engine in ("npmlp", "torch"):
        write(tmp_path, "vanilla-zeros", engine, [0.1, 0.1, 0.1], train_loss=2.3027)
    assert Measured("vanilla-zeros", tmp_path).shortfalls() == []
    write(tmp_path, "vanilla-zeros", "npmlp", [0.1, 0.1, 0.1001], train_loss=2.3027)
    assert Measured("vanilla-zeros", tmp_path).shortfalls()
    write(tmp_path, "vanilla-zeros", "npmlp", [0.1, 0.1, 0.1], train_loss=2.3)
    assert Measured("vanilla-zeros", tmp_path).shortfalls()


def test_a_result_of_the_recipe_as_it_once_was_does_not_count(tmp_path: Path) -> None:
    from measured import Measured

    write(tmp_path, "vanilla", "npmlp", [0.88, 0.88])
    path = tmp_path / "vanilla" / "npmlp-seed1.json"
    content = json.loads(path.read_text())
    content["recipe"]["lr"] = 0.2
    path.write_text(json.dumps(content))
    assert Measured("vanilla", tmp_path).seeds("npmlp") == [0]


# -------------------------------------------------------------------------------- what is trained


def test_a_measurement_that_was_stopped_goes_on_and_is_not_done_twice(tmp_path: Path) -> None:
    command = [
        sys.executable, str(BENCHMARKS / "reproduce.py"), "--only", "vanilla-zeros", "--engines",
        "npmlp", "--seeds", "1", "--results", str(tmp_path / "results"), "--runs",
        str(tmp_path / "runs"),
    ]  # fmt: skip
    run = tmp_path / "runs" / "vanilla-zeros" / "npmlp-seed0"
    result = tmp_path / "results" / "vanilla-zeros" / "npmlp-seed0.json"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (1, "stopped; the same command goes on\n")
    assert not result.exists()

    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "test accuracy 0.1000" in done.stdout, done.stderr
    log = (run.parent / "npmlp-seed0.log").read_text()
    assert log.count("epoch  1/20") == 1 and ", from epoch " in log
    found = json.loads(result.read_text())
    assert len(found["test_accuracy_by_epoch"]) == 20 and found["recipe"]["init"] == "zeros"

    again = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "test accuracy" not in again.stdout
