"""Stopping a run, by Ctrl-C or by a kill, and going on with it to the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import SMALL, SMALL_FLAGS, run_command, same_bits, weights, without_times

import npmlp
from npmlp import checkpoint, driver, train, train_command
from npmlp.errors import CheckpointError, RecipeError, RunError
from npmlp.runs import RunFolder


def test_a_finished_run_says_so_and_exits_with_0(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    done = run_command("npmlp.train", "--resume", str(finished))
    assert done.returncode == 0
    assert "is a finished run" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


@pytest.mark.parametrize("moment", range(10))
def test_resume_after_kill_is_bitwise_equal(moment: int, finished: Path, tmp_path: Path) -> None:
    """SIGKILL at a random moment, then --resume: the weights and rows of an unbroken run."""
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "npmlp.train", *SMALL_FLAGS, "--no-report", "--out", str(folder),
         "--checkpoint-seconds", "0.01"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (folder / "config.json").exists():
        assert process.poll() is None, "the run ended before it began"
        time.sleep(0.001)
    # an unbroken run takes about this long, the first half second of it to import and compile
    time.sleep(random.Random(moment).uniform(0, 2.2))
    process.kill()
    process.wait()
    done = run_command("npmlp.train", "--resume", str(folder), "--no-report")
    assert done.returncode == 0, done.stderr
    assert same_bits(weights(folder), weights(finished))
    assert same_bits(weights(folder, "best"), weights(finished, "best"))
    assert without_times(folder) == without_times(finished)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for another process")
def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "npmlp.train", "--epochs", "500", "--out", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # the run has begun
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume {folder}" in output
    assert "Traceback" not in errors
    assert checkpoint.read(folder / "checkpoints" / "last.safetensors")["position"]["batch"] > 0


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    (folder / "summary.json").unlink()
    done = run_command("npmlp.train", "--resume", str(folder), "--no-report")
    assert "from the start: there is no checkpoint yet" in done.stdout
    assert same_bits(weights(folder), weights(finished))
    assert without_times(folder) == without_times(finished)


def test_resume_goes_on_with_the_kernels_that_the_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.Run(out=str(tmp_path / "whole"), kernels="numpy", report=False)
    train.fit(SMALL, whole)
    stopped = train.Run(out=str(tmp_path / "stopped"), kernels="numpy", report=False)
    with monkeypatch.context() as patched:  # a stop in the middle of the second epoch
        patched.setattr("npmlp.runs.RunFolder.log", _interrupt)
        with pytest.raises(driver.Stopped):
            train.fit(SMALL, stopped)
    train.fit(SMALL, train.Run(resume=str(tmp_path / "stopped"), report=False))
    assert same_bits(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    with pytest.raises(RecipeError, match="leave out --kernels"):
        train.fit(SMALL, train.Run(resume=str(tmp_path / "stopped"), kernels="numba"))


def _interrupt(self: RunFolder, row: dict[str, object]) -> None:
    signal.raise_signal(signal.SIGINT)


def test_two_processes_do_not_train_in_one_folder(unfinished: Path) -> None:
    holder = RunFolder(unfinished)
    holder.lock()
    done = run_command("npmlp.train", "--resume", str(unfinished))
    assert done.returncode == 2
    assert "another process is training in this folder" in done.stderr
    holder.unlock()


def test_runs_that_start_at_once_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [RunFolder.create(None, SMALL, "npmlp") for _ in range(4)]
    assert len({folder.path for folder in folders}) == 4
    for folder in folders:
        folder.unlock()


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise on Windows")
def test_training_goes_on_when_nobody_reads_its_lines_any_more(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "npmlp.train", *SMALL_FLAGS, "--no-report",
         "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert errors == ""
    assert (tmp_path / "run" / "summary.json").exists()


def test_what_a_kill_left_half_written_is_removed(unfinished: Path) -> None:
    half = unfinished / "checkpoints" / "last.safetensors.123.tmp"
    half.write_bytes(b"half")
    train.fit(SMALL, train.Run(resume=str(unfinished), report=False))
    assert not half.exists()


def test_a_file_that_cannot_be_written_is_one_sentence(unfinished: Path) -> None:
    (unfinished / "metrics.jsonl").unlink()
    (unfinished / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl.*go on with --resume"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


# ----------------------------------------------------------------- checkpoints that are not right


def test_resume_refuses_other_settings(finished: Path) -> None:
    with pytest.raises(RecipeError, match="leave out --lr"):
        train_command.parse(["--resume", str(finished), "--lr", "0.5"], "train", train.Run)


def test_a_truncated_checkpoint_is_named(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"last\.safetensors is not a whole file"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


def test_a_checkpoint_of_another_recipe_is_named(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "last.safetensors"
    other = checkpoint.read(path)
    other["recipe"]["arch"] = "lenet"
    checkpoint.write(path, other)
    with pytest.raises(CheckpointError, match="architecture lenet, expected vanilla"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


def test_a_checkpoint_that_lacks_a_part_is_named(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "last.safetensors"
    damaged = checkpoint.read(path)
    del damaged["position"]["batch"]  # type: ignore[misc]
    checkpoint.write(path, damaged)
    with pytest.raises(CheckpointError, match="is damaged, it lacks batch"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


def test_a_checkpoint_that_is_not_ours_is_named(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "last.safetensors"
    npmlp.save({"weight": npmlp.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of npmlp"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))
