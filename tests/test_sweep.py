"""Sweeps from the outside: what they find, how they go on, and what they say to bad input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest
from sweeping import FLAGS, GRID, QUICK, begin, numbers, read_until, small_data, table

from npmlp import commands, recipes, sweep
from npmlp.recipes import Recipe
from npmlp.train import Run, fit


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_data(tmp_path_factory.mktemp("small") / "data")


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that two processes did, undisturbed."""
    out = tmp_path_factory.mktemp("sweeps") / "finished"
    process = begin(*FLAGS, *GRID, "--data", data, "--out", out, "--jobs", 2)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (out.parent / "printed.txt").write_text(printed)
    return out


def run_here(*args: object) -> int:
    return commands.run(sweep.main, [str(arg) for arg in args])


def recipe_of(row: dict[str, str]) -> Recipe:
    return Recipe(
        epochs=3, lr=float(row["lr"]), batch_size=int(row["batch_size"]), scheduler="none",
        validation="train", validation_size=500,
    )  # fmt: skip


# ------------------------------------------------------------------------------- what it finds


def test_every_cell_equals_a_training_of_its_own(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    rows = table(finished)
    assert len(rows) == 6
    early = [row for row in rows if row["best_epoch"] != row["epochs"]]
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
    assert run_here(*FLAGS, *GRID, "--data", other, "--out", out, "--jobs", 2) == 0
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
    assert run_here(*flags) == 0
    rows = table(out)
    assert [(row["rank"], row["seed"]) for row in rows] == [("1", "3"), ("1", "4"), ("2", "3"),
                                                           ("2", "4")]  # fmt: skip
    for pair in (rows[:2], rows[2:]):
        values = [float(row["validation_accuracy"]) for row in pair]
        # the mean of two numbers, rounded once
        assert float(pair[0]["mean_validation_accuracy"]) == sum(values) / 2
    assert recipes.find(str(out / "best.json")).seed == 3
    assert json.loads((out / "result.json").read_text())["best"]["seeds"] == [3, 4]


# --------------------------------------------------------------------------------- stop, go on


def test_a_finished_sweep_has_nothing_left_to_do(
    finished: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table(finished)
    assert run_here(*FLAGS, *GRID, "--data", data, "--out", finished) == 0
    assert table(finished) == before
    assert "trainings over" not in capsys.readouterr().out


def test_after_a_kill_only_what_is_missing_is_done(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags = [*FLAGS, *GRID, "--data", data, "--out", out, "--jobs", 1]
    process = begin(*flags)
    read_until(process, lambda line: line.startswith("3/6"))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    kept = {row["digest"]: row for row in table(out) if row["state"] == "done"}
    assert 3 <= len(kept) < 6
    assert not still_there(workers)

    assert run_here("--resume", out, "--jobs", 2) == 0
    rows = {row["digest"]: row for row in table(out)}
    assert len(rows) == 6
    for digest, row in kept.items():
        was = {k: v for k, v in row.items() if k != "rank"}
        assert {k: v for k, v in rows[digest].items() if k != "rank"} == was
    # what was done is not done again; the one in flight may have to be
    assert 6 <= sum(int(row["attempts"]) for row in rows.values()) <= 7
    assert numbers(out) == numbers(finished)
    assert not (out / "running").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    process = begin(*FLAGS, *GRID, "--data", data, "--out", out, "--jobs", 1)
    read_until(process, lambda line: line.startswith("1/6"))
    os.killpg(process.pid, signal.SIGINT)  # as from a terminal: the workers get it, too
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    last = printed.splitlines()[-1]
    assert last.endswith(f"Go on with: python -m npmlp.sweep --resume {out} --jobs 1")
    states = [row["state"] for row in table(out)]
    assert 1 <= states.count("done") < 6
    assert (out / "heatmap.png").exists() and not (out / "result.json").exists()
    assert run_here("--resume", out, "--jobs", 2) == 0
    assert numbers(out) == numbers(finished)


def test_a_grid_that_grew_does_the_new_cells(finished: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(finished, out)
    more = ["--grid", "lr=.1,.01,.3", "--grid", "batch_size=32,100,200"]
    assert run_here(*FLAGS, *more, "--data", data, "--out", out, "--jobs", 2) == 0
    rows, old = table(out), {row["digest"] for row in table(finished)}
    assert len(rows) == 9 and {row["attempts"] for row in rows} == {"1"}
    began = (finished / "sweep.csv").stat().st_mtime
    for row in rows:
        started = time.mktime(time.strptime(row["started"], "%Y-%m-%dT%H:%M:%S"))
        assert (started < began) == (row["digest"] in old)


# --------------------------------------------------------------------- what fails, and who dies


def test_failed_cells_are_done_again_only_when_that_is_asked(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--grid", "lr=.1,1e30", "--data", data, "--out", out, "--jobs", 1]
    assert run_here(*flags) == 0  # there is a best cell all the same
    good, bad = table(out)
    assert (good["state"], bad["state"], bad["rank"]) == ("done", "failed", "")
    assert bad["error"].startswith("training stopped at step 2 (epoch 1): the loss is nan")
    assert run_here(*flags) == 0
    assert table(out) == [good, bad]
    assert run_here(*flags, "--retry-failed") == 0
    assert table(out)[0] == good
    assert table(out)[1] | {"started": ""} == bad | {"started": "", "attempts": "2"}


def test_where_every_cell_fails_there_is_no_best(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--grid", "lr=1e30,1e31", "--data", data, "--out", out, "--jobs", 1]
    assert run_here(*flags) == 1
    assert "no cell is done" in capsys.readouterr().out
    assert not (out / "best.json").exists() and (out / "heatmap.png").exists()


def test_a_cell_whose_worker_is_killed_is_done_again_and_fails_the_third_time(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    process = begin(
        "--recipe", "vanilla", "--grid", "epochs=500,2", "--validation-size", 500,
        "--kernels", "numpy", "--data", data, "--out", out, "--jobs", 1,
    )  # fmt: skip
    parent = psutil.Process(process.pid)
    for _ in range(3):  # the cell of 500 epochs; the other is over by the time that it is seen
        worker = wait_for_worker(parent, out)
        os.kill(worker, signal.SIGKILL)
        lines = read_until(process, lambda line: "SIGKILL" in line)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "epochs=500" in lines[-1] and "failed: its process ended with signal 9" in lines[-1]
    assert "failed         1 of 2" in printed
    rows = {row["epochs"]: row for row in table(out)}
    assert {row["state"] for row in rows.values()} == {"done", "failed"}
    (failed,) = (row for row in rows.values() if row["state"] == "failed")
    assert failed["attempts"] == "3"
    assert failed["error"] == "its process ended with signal 9 (SIGKILL) (3 times)"


def wait_for_worker(parent: psutil.Process, out: Path) -> int:
    """The process that has trained the long cell for an epoch or more."""
    for _ in range(6000):
        with contextlib.suppress(psutil.Error, OSError):
            for run in out.glob("running/*/run"):
                config = json.loads((run / "config.json").read_text())
                rows = (run / "metrics.jsonl").read_text().count("\n")
                if config["recipe"]["epochs"] == 500 and rows:
                    for child in parent.children():
                        if any(str(run) in f.path for f in child.open_files()):
                            return child.pid
        time.sleep(0.01)
    raise AssertionError("no worker trains")


def test_a_killed_sweep_leaves_no_process_behind(data: Path, tmp_path: Path) -> None:
    process = begin(
        *QUICK, "--epochs", 100_000, "--grid", "lr=.1", "--data", data, "--out", tmp_path / "sweep",
    )  # fmt: skip
    while not list(tmp_path.glob("sweep/running/*/run/config.json")):
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    left = still_there(children)
    for child in left:
        child.kill()
    process.communicate()
    assert not left


def still_there(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended, given 20 seconds to do it."""
    for _ in range(400):
        left = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                # where nobody collects orphans, what has ended stays as a zombie
                if process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        if not left:
            break
        time.sleep(0.05)
    return left


# ------------------------------------------------------------------------------ other samplers


def test_tpe_goes_on_to_more_trials(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--sampler", "tpe", "--range", "lr=1e-3..1:log", "--grid", "batch_size=32,100",
             "--data", data, "--out", out]  # fmt: skip
    assert run_here(*flags, "--trials", 3, "--jobs", 1) == 0
    first = {row["digest"]: row["started"] for row in table(out)}
    assert len(first) == 3
    assert run_here("--resume", out, "--trials", 5, "--jobs", 2) == 0
    rows = table(out)
    assert len({row["lr"] for row in rows}) == 5  # none of the first points once more
    assert {row["batch_size"] for row in rows} <= {"32", "100"}
    assert all(1e-3 <= float(row["lr"]) <= 1 for row in rows)
    assert first.items() <= {row["digest"]: row["started"] for row in rows}.items()
    assert (out / "heatmap.png").exists()


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


def test_the_pruner_stops_what_is_behind_and_is_not_asked_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--grid", "lr=.1,.11,.12,.13,.14,.15,1e-6,1e-7,1e-8", "--epochs", 4, "--prune",
             "--data", data, "--out", out, "--jobs", 1]  # fmt: skip
    assert run_here(*flags) == 0
    rows = table(out)
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    for row in pruned:
        assert row["rank"] == "" and row["epochs"] in ("2", "3")
    assert {"1e-08"} <= {row["lr"] for row in pruned}  # which the sampler gives after four others
    assert sum(row["state"] == "done" for row in rows) == 9 - len(pruned)
    assert run_here(*flags) == 0
    assert table(out) == rows


def test_a_storage_elsewhere_remembers_without_the_folder(data: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    flags = [*QUICK, "--grid", "lr=.1,.01", "--data", data, "--storage", url, "--jobs", 1]
    assert run_here(*flags, "--out", tmp_path / "first") == 0
    shutil.move(tmp_path / "first", tmp_path / "gone")
    assert run_here(*flags, "--out", tmp_path / "second") == 0
    assert table(tmp_path / "second") == table(tmp_path / "gone")
    assert not (tmp_path / "second" / "study.db").exists()


# --------------------------------------------------------------------------------- bad folders


def fails(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The sentence with which a sweep ends."""
    capsys.readouterr()
    assert run_here(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error.removeprefix("error: ").strip()


def test_a_folder_of_another_sweep_is_refused(
    finished: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {f: f.read_bytes() for f in finished.iterdir()}
    there = ["--data", data, "--out", finished]
    error = fails(capsys, *FLAGS, *GRID, "--epochs", 4, *there)
    assert "holds a sweep that differs in --epochs (3 there, 4 here)" in error
    error = fails(capsys, *FLAGS, *GRID, "--kernels", "numpy", *there)
    assert "differs in --kernels (numba there, numpy here)" in error
    error = fails(capsys, *FLAGS, "--grid", "lr=.1", *there)
    assert "holds a sweep of lr, batch_size, not of lr;" in error
    assert {f: f.read_bytes() for f in finished.iterdir()} == before


def test_a_folder_that_holds_something_else_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("Dear")
    error = fails(capsys, *FLAGS, *GRID, "--data", data, "--out", tmp_path)
    assert error.startswith(f"--out {tmp_path}: holds something else than a sweep")
    assert [f.name for f in tmp_path.iterdir()] == ["letter.txt"]
    error = fails(capsys, "--resume", tmp_path)
    assert "is not the folder of a sweep" in error
    (tmp_path / "sweep.json").write_text("{")
    assert "sweep.json: is damaged" in fails(capsys, "--resume", tmp_path)


def test_one_process_drives_a_sweep(
    finished: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = sweep.SweepFolder(finished)
    other.lock()
    error = fails(capsys, *FLAGS, *GRID, "--data", data, "--out", finished)
    other.unlock()
    assert error == f"{finished}: another process is driving this sweep"


def test_resume_takes_the_sweep_as_it_is(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(capsys, "--resume", finished, "--grid", "lr=.1", "--epochs", 3)
    assert "leave out --grid, --epochs" in error and f"--out {finished}" in error


# -------------------------------------------------------------------------------- bad storages


def test_a_storage_that_cannot_be_used_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(url: str) -> str:
        return fails(capsys, *FLAGS, *GRID, "--data", data, "--out", tmp_path / "s", "--storage",
                     url)  # fmt: skip

    assert "--storage nonsense: is no URL of a database" in error("nonsense")
    assert "is no URL of a database" in error("nosuchdb://host/name")
    assert "needs the database's Python driver" in error("postgresql://me:secret@localhost/name")
    assert "secret" not in error("postgresql://me:secret@localhost/name")
    assert "secret" not in (tmp_path / "s" / "sweep.json").read_text()
    assert "unable to open database file" in error(f"sqlite:///{tmp_path}/no/such/folder.db")
    (tmp_path / "text.db").write_text("no database, but a text that is long enough to be one\n" * 9)
    assert "file is not a database" in error(f"sqlite:///{tmp_path / 'text.db'}")


def test_a_locked_study_is_one_sentence_and_nothing_is_lost(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(finished, out)
    with contextlib.closing(sqlite3.connect(out / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = fails(capsys, *FLAGS, *GRID, "--data", data, "--out", out)
    assert error.startswith(f"{out / 'study.db'}: the study cannot be read or written (database is")
    assert run_here("--resume", out) == 0
    assert numbers(out) == numbers(finished)


def test_a_storage_that_may_not_be_written_is_one_sentence(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///file:{finished / 'study.db'}?mode=ro&uri=true"  # for root, too
    more = [*FLAGS, "--grid", "lr=.1,.5", *GRID[2:], "--data", data, "--out", tmp_path / "sweep"]
    assert "(attempt to write a readonly database)" in fails(capsys, *more, "--storage", url)


def test_data_that_is_not_there_is_said_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    error = fails(capsys, *FLAGS, *GRID, "--data", tmp_path / "none", "--out", out)
    assert str(tmp_path / "none") in error
    assert {row["attempts"] for row in table(out)} == {"0"}
