"""What sweeps say to folders, storages and data that cannot be used, in one sentence each."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from sweeping import (  # noqa: F401 - two are fixtures
    FLAGS,
    GRID,
    finished_sweep,
    numbers,
    run_here,
    small_data_set,
    table,
)

from npmlp import config, sweep

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
    used = config.get_kernels()
    other = {"numba": "numpy", "numpy": "numba"}[used]
    error = fails(capsys, *FLAGS, *GRID, "--kernels", other, *there)
    assert f"differs in --kernels ({used} there, {other} here)" in error
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
    out = Path(shutil.copytree(finished, tmp_path / "sweep"))
    url = f"sqlite:///{out / 'study.db'}?timeout=0.1"  # by itself SQLite waits for 5 seconds
    with contextlib.closing(sqlite3.connect(out / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = fails(capsys, *FLAGS, *GRID, "--data", data, "--out", out, "--storage", url)
    assert error.startswith(f"--storage {url}: the study cannot be read or written (database is lo")
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
