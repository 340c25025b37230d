"""What sweeps find: numbers, their order, the best recipe, and what the other samplers do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from pathlib import Path

import pytest
from sweeping import (  # noqa: F401 - two are fixtures
    FLAGS,
    GRID,
    QUICK,
    finished_sweep,
    numbers,
    run_here,
    small_data,
    small_data_set,
    table,
)

from npmlp import recipes
from npmlp.recipes import Recipe
from npmlp.train import Run, fit


def recipe_of(row: dict[str, str]) -> Recipe:
    return Recipe(
        epochs=3, lr=float(row["lr"]), batch_size=int(row["batch_size"]), scheduler="none",
        validation="train", validation_size=500,
    )  # fmt: skip


def test_every_cell_equals_a_training_of_its_own(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    rows = table(finished)
    assert len(rows) == 6
    early = [row for row in rows if row["best_epoch"] != row["epochs_trained"]]
    assert early
    for row in [rows[0], early[0]]:
        recipe = recipe_of(row)
        summary, run = fit(
            recipe, Run(data=str(data), out=str(tmp_path / row["digest"]), report=False)
        )
        assert row["digest"] == recipes.digest(recipe)
        lines = (run.path / "metrics.jsonl").read_text().splitlines()
        history = [json.loads(line) for line in lines]
        best = history[summary["best_epoch"] - 1]
        # the same numbers to the last bit: the table has all their digits
        assert float(row["validation_accuracy"]) == best["val_accuracy"]
        assert float(row["validation_loss"]) == best["val_loss"]
        assert float(row["train_loss"]) == summary["train_loss"]


def test_cells_are_ranked_by_their_accuracy_on_held_out_images(finished: Path) -> None:
    rows = table(finished)
    assert [row["rank"] for row in rows] == list("123456")
    accuracies = [float(row["validation_accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]
    best = json.loads((finished / "result.json").read_text())["best"]
    assert best["validation_accuracy"] == accuracies[0]


def test_test_images_have_no_say(finished: Path, tmp_path: Path) -> None:
    """The same training images beside test images with wrong labels: only the last figure moves."""
    other = small_data(tmp_path / "data", roll_test_labels=1)
    out = tmp_path / "sweep"
    assert run_here(*FLAGS, *GRID, "--data", other, "--out", out, "--jobs", 1) == 0
    assert numbers(out) == numbers(finished)
    assert (out / "best.json").read_bytes() == (finished / "best.json").read_bytes()
    results = [json.loads((f / "result.json").read_text())["best"] for f in (out, finished)]
    wrong, right = (result.pop("test_accuracy") for result in results)
    assert results[0] == results[1]
    assert wrong < 0.3 < right


def test_it_prints_a_line_per_cell_and_the_test_accuracy_once(finished: Path) -> None:
    lines = (finished.parent / "printed.txt").read_text().splitlines()
    assert lines[0].startswith("vanilla: 6 trainings over lr × batch_size; 2 processes; folder ")
    for i, line in enumerate(lines[1:7], 1):
        assert line.startswith(f"{i}/6  lr=") and f"of {i}  " in line
        assert line.endswith(" left") == (i < 6)
    assert sum("test accuracy" in line for line in lines) == 1
    assert "test" not in (finished / "sweep.csv").read_text()


def test_the_best_recipe_trains_to_what_the_sweep_reports(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    best = json.loads((finished / "result.json").read_text())["best"]
    recipe = recipes.find(str(finished / "best.json"))
    assert recipe == dataclasses.replace(recipe_of(table(finished)[0]), name="vanilla-best")
    summary, _ = fit(recipe, Run(data=str(data), out=str(tmp_path / "run"), report=False))
    assert summary["test_accuracy"] == best["test_accuracy"]


def test_cells_are_averaged_over_seeds(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--grid", "lr=.1,.01", "--seeds", "3,4", "--data", data, "--out", out]
    assert run_here(*flags, "--jobs", 1) == 0
    rows = table(out)
    assert [(row["rank"], row["seed"]) for row in rows] == [("1", "3"), ("1", "4"), ("2", "3"),
                                                           ("2", "4")]  # fmt: skip
    for pair in (rows[:2], rows[2:]):
        values = [float(row["validation_accuracy"]) for row in pair]
        # the mean of two numbers, rounded once
        assert float(pair[0]["mean_validation_accuracy"]) == sum(values) / 2
    assert recipes.find(str(out / "best.json")).seed == 3
    assert json.loads((out / "result.json").read_text())["best"]["seeds"] == [3, 4]


def test_where_every_cell_fails_there_is_no_best(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--grid", "lr=1e30,1e31", "--data", data, "--out", out, "--jobs", 1]
    assert run_here(*flags) == 1
    assert "no cell is done" in capsys.readouterr().out
    assert not (out / "best.json").exists() and (out / "heatmap.png").exists()


# ------------------------------------------------------------------------------ other samplers


def test_a_cell_that_the_sampler_chooses_again_is_not_trained_again(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--sampler", "tpe", "--grid", "init=default,zeros", "--data", data,
             "--out", out, "--jobs", 2]  # fmt: skip
    assert run_here(*flags, "--trials", 6) == 0
    assert [row["attempts"] for row in table(out)] == ["1", "1"]
    with contextlib.closing(sqlite3.connect(out / "study.db")) as study:
        states = study.execute("SELECT state, count(*) FROM trials GROUP BY state").fetchall()
    assert states == [("COMPLETE", 6)]
