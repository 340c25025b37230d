"""--keep-checkpoints: which epochs' checkpoints stay, through kills and resumes too."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_run import SMALL, SMALL_FLAGS, run_command, same_bits, weights, without_times

from npmlp import commands, driver, recipes, train, train_command
from npmlp import evaluate as evaluation
from npmlp.errors import RecipeError, RunError
from npmlp.evaluate import evaluate
from npmlp.recipes import Recipe
from npmlp.runs import Keep, RunFolder

FEW = recipes.replace(SMALL, limit=300, epochs=4)
# a rate at which the accuracy goes up and down: the best of the first two epochs, and of all four,
# is not the last
CHOOSING = Recipe(limit=300, epochs=4, lr=0.8, validation="test")


def names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "checkpoints").iterdir()}


def stop_in_epoch(number: int, recipe: Recipe, run: train.Run, patch: pytest.MonkeyPatch) -> None:
    """Train, with a Ctrl-C after the row of the epoch before."""

    def log(self: RunFolder, row: dict[str, Any]) -> None:
        if row["epoch"] == number - 1:
            signal.raise_signal(signal.SIGINT)

    with patch.context() as patched, pytest.raises(driver.Stopped):
        patched.setattr(RunFolder, "log", log)
        train.fit(recipe, run)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (None, {"last", "best"}),
        ("best", {"last", "best"}),
        ("last", {"last"}),
        ("all", {"last", "best", "epoch-001", "epoch-002", "epoch-003", "epoch-004"}),
        (1, {"last", "best", "epoch-004"}),
        (3, {"last", "best", "epoch-002", "epoch-003", "epoch-004"}),
        (9, {"last", "best", "epoch-001", "epoch-002", "epoch-003", "epoch-004"}),
    ],
)
def test_what_stays_after_four_epochs(
    keep: Keep | None, expected: set[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train.fit(FEW, train.Run(report=False, out=str(folder), keep_checkpoints=keep))
    assert names(folder) == expected
    assert RunFolder(folder).config()["keep_checkpoints"] == (keep or "best")
    if keep == "all":
        assert same_bits(weights(folder, "epoch-004"), weights(folder, "last"))
        best = RunFolder(folder).summary()["best_epoch"]  # type: ignore[index]
        assert same_bits(weights(folder, f"epoch-{best:03d}"), weights(folder, "best"))
        shorter = recipes.replace(FEW, epochs=2)
        train.fit(shorter, train.Run(report=False, out=str(tmp_path / "shorter")))
        assert same_bits(weights(folder, "epoch-002"), weights(tmp_path / "shorter"))


@pytest.mark.parametrize(("keep", "moment"), [("all", 1), ("2", 2)])
def test_after_a_kill_and_a_resume_the_files_are_those_of_an_unbroken_run(
    keep: str, moment: int, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "npmlp.train", *SMALL_FLAGS, "--no-report", "--out", str(folder),
         "--keep-checkpoints", keep],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (folder / "checkpoints" / f"epoch-00{moment}.safetensors").exists():
        assert process.poll() is None, "the run ended before it began"
        time.sleep(0.001)
    # from between two files of the same moment to the epoch after
    time.sleep(random.Random(keep + str(moment)).uniform(0, 0.02))
    process.kill()
    process.wait()
    done = run_command("npmlp.train", "--resume", str(folder), "--no-report")
    assert done.returncode == 0, done.stderr
    epochs = [1, 2, 3] if keep == "all" else [2, 3]
    assert names(folder) == {"last", "best", *(f"epoch-{e:03d}" for e in epochs)}
    assert same_bits(weights(folder), weights(finished))
    assert same_bits(weights(folder, "best"), weights(finished, "best"))
    assert same_bits(weights(folder, "epoch-003"), weights(finished))
    assert without_times(folder) == without_times(finished)


def test_what_a_kill_left_of_an_epoch_that_is_done_again_goes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train.fit(FEW, train.Run(report=False, out=str(folder), keep_checkpoints=2))
    (folder / "summary.json").unlink()
    # as after a kill that came when these were written, and last was not
    stands = folder / "checkpoints" / "epoch-003.safetensors"
    (folder / "checkpoints" / "last.safetensors").write_bytes(stands.read_bytes())
    later = folder / "checkpoints" / "epoch-007.safetensors"
    later.write_bytes(stands.read_bytes())
    expected = weights(folder, "epoch-004")
    train.fit(FEW, train.Run(report=False, resume=str(folder)))
    assert names(folder) == {"last", "best", "epoch-003", "epoch-004"}
    assert same_bits(weights(folder), expected)
    # and where no epoch is left to be trained
    (folder / "summary.json").unlink()
    train.fit(FEW, train.Run(report=False, resume=str(folder), keep_checkpoints=1))
    assert names(folder) == {"last", "best", "epoch-004"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("all", None, {"last", "best", "epoch-001", "epoch-002", "epoch-003", "epoch-004"}),
        ("all", 1, {"last", "best", "epoch-004"}),
        ("all", "best", {"last", "best"}),
        ("best", "all", {"last", "best", "epoch-003", "epoch-004"}),
        (1, "last", {"last"}),
    ],
)
def test_a_resume_keeps_as_before_or_as_it_is_told(
    before: Keep,
    after: Keep | None,
    expected: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    run = train.Run(report=False, out=str(folder), keep_checkpoints=before)
    stop_in_epoch(3, FEW, run, monkeypatch)
    train.fit(FEW, train.Run(report=False, resume=str(folder), keep_checkpoints=after))
    assert names(folder) == expected
    assert RunFolder(folder).config()["keep_checkpoints"] == (after or before)


# --------------------------------------------------------------------- the figure that is reported


def test_with_last_alone_the_last_epoch_is_the_one_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    flags = ["--limit", "300", "--epochs", "4", "--lr", "0.8", "--validation", "test"]
    assert (
        train.main([*flags, "--keep-checkpoints", "last", "--no-report", "--out", str(folder)]) == 0
    )
    assert "of 5,000 images, after 4 epochs)" in capsys.readouterr().out
    summary = RunFolder(folder).summary()
    assert summary is not None
    assert summary["best_epoch"] < summary["chosen_epoch"] == 4
    assert summary["test_accuracy"] == without_times(folder)[-1]["test_accuracy"]
    assert evaluate(folder).accuracy == summary["test_accuracy"]


@pytest.mark.parametrize("kept", ["best", "last"])
def test_a_best_checkpoint_that_is_not_there_is_chosen_anew_and_the_run_says_so(
    kept: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run = train.Run(report=False, out=str(folder), keep_checkpoints=kept)
    stop_in_epoch(3, CHOOSING, run, monkeypatch)
    RunFolder(folder).best.unlink(missing_ok=True)
    flags = ["--keep-checkpoints", "best", "--no-report"]
    assert train.main(["--resume", str(folder), *flags]) == 0
    assert "there is no best.safetensors, so the best is chosen from here on" in (
        capsys.readouterr().out
    )
    summary = RunFolder(folder).summary()
    assert summary is not None
    accuracies = [row["val_accuracy"] for row in without_times(folder)]
    assert summary["chosen_epoch"] == 3 + accuracies[2:].index(max(accuracies[2:]))
    assert summary["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert evaluate(folder).accuracy == summary["test_accuracy"]


def test_an_epochs_checkpoint_can_be_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train.fit(FEW, train.Run(report=False, out=str(folder), keep_checkpoints=2))
    for row in without_times(folder)[2:]:
        found = evaluate(folder, checkpoint=row["epoch"])  # type: ignore[arg-type]
        assert found.accuracy == row["test_accuracy"] and found.loss == row["test_loss"]
    assert evaluation.main(["--run", str(folder), "--checkpoint", "3"]) == 0
    accuracy = without_times(folder)[2]["test_accuracy"]
    assert capsys.readouterr().out.startswith(f"test accuracy  {accuracy:.4f} ")
    arguments = ["--run", str(folder), "--checkpoint", "1"]
    assert commands.run(evaluation.main, arguments) == 2
    assert (
        "has no checkpoint epoch-001.safetensors; there are best, last, 3, 4"
        in capsys.readouterr().err
    )


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    train.fit(FEW, train.Run(report=False, out=str(tmp_path / "run")))
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(RunError, match=r"has no checkpoint last\.safetensors; train it first"):
        evaluate(tmp_path / "run")


@pytest.mark.parametrize("keep", [0, -1, True, 2.0, "some", "2"])
def test_what_is_no_choice_is_refused(keep: Any) -> None:
    with pytest.raises(RecipeError, match=r"--keep-checkpoints: got .*expected all, best, last or"):
        train.Run(keep_checkpoints=keep)


def test_the_flag_takes_words_and_numbers() -> None:
    for text, value in [("all", "all"), ("12", 12)]:
        run = train_command.parse(["--keep-checkpoints", text], "train", train.Run)[1]
        assert run.keep_checkpoints == value
    assert json.dumps(train.Run().keep_checkpoints) == "null"
