"""Sweeps that are stopped, killed, started again or grown: nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from sweeping import (  # noqa: F401 - two are fixtures
    ENDLESS,
    FLAGS,
    GRID,
    QUICK,
    begin,
    ended,
    finished_sweep,
    have_ended,
    let_on,
    numbers,
    read_until,
    run_here,
    small_data_set,
    table,
    under_way,
    wait_for,
)

from npmlp import sweep
from npmlp.sweep.command import parse


def by_digest(folder: Path) -> dict[str, dict[str, str]]:
    """sweep.csv without the ranks, which move as cells come."""
    return {row["digest"]: {k: v for k, v in row.items() if k != "rank"} for row in table(folder)}


# --------------------------------------------------------------------------------- stop, go on


def test_a_finished_sweep_has_nothing_left_to_do(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "sweep"))
    assert run_here(*FLAGS, *GRID, "--data", data, "--out", out) == 0
    assert table(out) == table(finished)
    assert "trainings over" not in capsys.readouterr().out


def test_after_a_kill_only_what_is_missing_is_done(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags = [*FLAGS, *GRID, "--data", data, "--out", out, "--jobs", 2]
    process = begin(*flags, halt_at="3/6")
    read_until(process, lambda line: line.startswith("3/6"))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    ended(process)
    before = by_digest(out)
    assert [row["state"] for row in before.values()].count("done") == 3
    wait_for(lambda: have_ended(workers))

    assert run_here("--resume", out, "--jobs", 1) == 0
    assert len(table(out)) == 6
    for digest, row in by_digest(out).items():
        if before[digest]["state"] == "done":
            assert row == before[digest]
        else:  # one more, of the training that was in flight too
            assert int(row["attempts"]) == int(before[digest]["attempts"]) + 1
    assert numbers(out) == numbers(finished)
    assert not (out / "running").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags = [*FLAGS, *GRID, "--data", data, "--out", out, "--jobs", 2, "--prune"]
    process = begin(*flags, halt_at="1/6")
    read_until(process, lambda line: line.startswith("1/6"))
    os.killpg(process.pid, signal.SIGINT)  # as from a terminal: the workers get it, too
    let_on(process)
    printed, errors = ended(process)
    assert (process.returncode, errors) == (130, "")
    last = printed.splitlines()[-1]
    assert last.endswith(f"Go on with: python -m npmlp.sweep --resume {out} --jobs 2 --prune")
    # the other worker's cell is taken where it came with the first
    assert [row["state"] for row in table(out)].count("done") in (1, 2)
    assert (out / "heatmap.png").exists() and not (out / "result.json").exists()
    _, _, how = last.partition("python -m npmlp.sweep ")
    # --prune does not act on the first four trainings; without it the numbers are the others'
    assert run_here(*shlex.split(how.removesuffix(" --prune"))) == 0
    assert numbers(out) == numbers(finished)


def test_a_grid_that_grew_does_the_new_cells(finished: Path, data: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "sweep"))
    more = ["--grid", "lr=.1,.01,.3", "--grid", "batch_size=32,100,200"]
    spec, _ = parse([*FLAGS, *more, "--data", str(data)])
    results = []
    sweep.run_sweep(
        spec, out, jobs=1, say=lambda line: results.append((out / "result.json").exists())
    )
    # while it is not at its end, there is no result to be taken for that of the whole
    assert results == [False] * 4 and (out / "result.json").exists()
    rows, old = by_digest(out), by_digest(finished)
    assert len(rows) == 9 and {row["attempts"] for row in rows.values()} == {"1"}
    assert old.items() <= rows.items()
    assert {row["batch_size"] for digest, row in rows.items() if digest not in old} == {"200"}


def test_cells_that_train_alike_are_trained_once(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK[:-4], *QUICK[-2:], "--data", data, "--out", out, "--grid", "step_size=1,2,3"]
    # step_size has no effect without the scheduler that is called step
    assert run_here(*flags, "--grid", "scheduler=none", "--grid", "lr=.1", "--jobs", 1) == 2
    assert run_here(*flags, "--grid", "scheduler=none,step", "--jobs", 2) == 0
    for start in ("fresh", "grown"):
        rows = table(out)
        alike = [row for row in rows if row["scheduler"] == "none"]
        assert len({row["digest"] for row in alike}) == 1, start
        assert len({row["validation_accuracy"] for row in alike}) == 1
        assert {row["attempts"] for row in rows} == {"1"}
        if start == "fresh":
            run_here(*flags[:-1], "step_size=1,2,3,4,5", "--grid", "scheduler=none,step",
                     "--jobs", 2)  # fmt: skip
    assert len(rows) == 10 and {row["state"] for row in rows} == {"done"}


def test_tpe_goes_on_to_more_trials(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = [*QUICK, "--sampler", "tpe", "--range", "lr=1e-3..1:log", "--grid", "batch_size=32,100",
             "--data", data, "--out", out]  # fmt: skip
    assert run_here(*flags, "--trials", 3, "--jobs", 1) == 0
    first = by_digest(out)
    assert len(first) == 3
    assert run_here("--resume", out, "--trials", 5, "--jobs", 2) == 0
    rows = table(out)
    assert len({row["lr"] for row in rows}) == 5  # none of the first points once more
    assert {row["batch_size"] for row in rows} <= {"32", "100"}
    assert all(1e-3 <= float(row["lr"]) <= 1 for row in rows)
    assert first.items() <= by_digest(out).items()
    assert (out / "heatmap.png").exists()


def test_a_storage_elsewhere_remembers_without_the_folder(data: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    flags = [*QUICK, "--grid", "lr=.1,.01", "--data", data, "--storage", url, "--jobs", 1]
    assert run_here(*flags, "--out", tmp_path / "first") == 0
    shutil.move(tmp_path / "first", tmp_path / "gone")
    assert run_here(*flags, "--out", tmp_path / "second") == 0
    assert table(tmp_path / "second") == table(tmp_path / "gone")
    assert not (tmp_path / "second" / "study.db").exists()


# ------------------------------------------------------------------------- pruned, and then not


def pruning(data: Path, out: Path) -> list[object]:
    # the sampler gives 1e-8 after four others
    return [*QUICK, "--grid", "lr=.1,.11,.12,.13,1e-8", "--data", data, "--out", out, "--jobs", 1]


@pytest.fixture(scope="module")
def pruned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of which one cell was pruned; do not change what is in it."""
    out = tmp_path_factory.mktemp("sweeps") / "pruned"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run_here(*pruning(data, out), "--prune") == 0
    (out.parent / "printed.txt").write_text(printed.getvalue())
    return out


def test_the_pruner_stops_what_is_behind_and_is_not_asked_again(
    pruned: Path, data: Path, tmp_path: Path
) -> None:
    rows = {row["lr"]: row for row in table(pruned)}
    behind = rows.pop("1e-08")
    assert (behind["state"], behind["rank"], behind["epochs_trained"]) == ("pruned", "", "2")
    assert {(row["state"], row["epochs_trained"]) for row in rows.values()} == {("done", "3")}
    result = json.loads((pruned / "result.json").read_text())
    assert (result["done"], result["pruned"], result["failed"]) == (4, 1, 0)
    printed = (pruned.parent / "printed.txt").read_text()
    assert printed.count("  pruned after 2 epochs") == 1
    how = f"python -m npmlp.sweep --resume {pruned} --jobs 1"
    assert f"pruned         1 of 5, without a rank; in full with: {how}\n" in printed

    out = Path(shutil.copytree(pruned, tmp_path / "sweep"))
    assert run_here(*pruning(data, out), "--prune") == 0
    assert run_here("--resume", out, "--prune") == 0
    assert table(out) == table(pruned)


@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "the same command"])
def test_what_was_pruned_is_trained_in_full_once_the_sweep_goes_on_without(
    pruned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], resumed: bool
) -> None:
    out = Path(shutil.copytree(pruned, tmp_path / "sweep"))
    flags = ["--resume", out, "--jobs", 1] if resumed else pruning(data, out)
    assert run_here(*flags) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "5 trainings over lr, 4 known already, 1 pruned before and now trained in full" in first
    rows = by_digest(out)
    for digest, row in by_digest(pruned).items():
        if row["state"] == "done":
            assert rows[digest] == row
        else:
            again = {
                field: rows[digest][field] for field in ("state", "epochs_trained", "attempts")
            }
            assert again == {"state": "done", "epochs_trained": "3", "attempts": "2"}
    assert json.loads((out / "result.json").read_text())["pruned"] == 0
    before = table(out)
    assert run_here(*flags, "--prune") == 0
    assert table(out) == before


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


def test_a_cell_whose_worker_is_killed_is_done_again_and_fails_the_third_time(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    process = begin(
        "--recipe", "vanilla", "--grid", f"epochs={ENDLESS},2", "--validation-size", 500,
        "--kernels", "numpy", "--data", data, "--out", out, "--jobs", 1,
    )  # fmt: skip
    parent = psutil.Process(process.pid)

    def worker() -> int | None:
        """The process that trains the endless cell."""
        for run in under_way(out / "running", ENDLESS):
            for child in parent.children():
                with contextlib.suppress(psutil.Error):
                    if any(str(run) in f.path for f in child.open_files()):
                        return child.pid
        return None

    for _ in range(3):
        found = wait_for(worker, process)
        assert found is not None
        os.kill(found, signal.SIGKILL)
        lines = read_until(process, lambda line: "SIGKILL" in line)
    printed, _ = ended(process)
    assert process.returncode == 0
    assert f"epochs={ENDLESS}" in lines[-1]
    assert "failed: its process ended with signal 9" in lines[-1]
    assert "failed         1 of 2" in printed
    rows = {int(row["epochs"]): row for row in table(out)}
    done, failed = rows[2], rows[ENDLESS]
    assert (done["state"], done["epochs_trained"]) == ("done", "2")
    assert (failed["state"], failed["epochs_trained"], failed["attempts"]) == ("failed", "", "3")
    assert failed["error"] == "its process ended with signal 9 (SIGKILL) (3 times)"


def test_a_killed_sweep_leaves_no_process_behind(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    process = begin(
        *QUICK, "--epochs", ENDLESS, "--grid", "lr=.1", "--data", data, "--out", out, "--jobs", 1
    )
    wait_for(lambda: under_way(out / "running", ENDLESS), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    try:
        wait_for(lambda: have_ended(children))
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        ended(process)
