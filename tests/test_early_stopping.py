"""Early stopping: a training ends where epochs pass without a better value, and says so."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from small_run import same_bits, weights, without_times

from npmlp import driver, recipes, train
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder

# at this rate the training loss and the accuracy go up and down
WILD = Recipe(limit=300, epochs=8, lr=1.0, seed=1, scheduler="none", early_stopping=2)
FLAGS = ["--limit", "300", "--epochs", "8", "--lr", "1.0", "--seed", "1", "--scheduler", "none",
         "--no-report"]  # fmt: skip


def fit(recipe: Recipe, folder: Path) -> dict[str, Any]:
    return train.fit(recipe, train.Run(report=False, out=str(folder)))[0]


def expected_end(values: list[float], patience: int) -> int:
    """After which epoch a training with these values ends."""
    best = 0
    for i, value in enumerate(values):
        if value > values[best]:
            best = i
        if i - best >= patience:
            return i + 1
    return len(values)


@pytest.mark.parametrize("validation", ["none", "test"])
def test_it_ends_after_so_many_epochs_without_a_better_value(
    validation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--validation", validation]
    assert train.main([*flags, "--out", str(tmp_path / "whole")]) == 0
    whole = without_times(tmp_path / "whole")
    values = [row["val_accuracy"] if validation == "test" else -row["train_loss"] for row in whole]
    end = expected_end(values, 2)
    assert 3 <= end < 8, "the recipe of this test no longer shows what it is for"
    capsys.readouterr()

    early = tmp_path / "early"
    assert train.main([*flags, "--early-stopping", "2", "--out", str(early)]) == 0
    assert without_times(early) == whole[:end]
    summary = RunFolder(early).summary()
    assert summary is not None
    assert summary["stopped_early"] is True
    assert (summary["epochs"], summary["epochs_planned"]) == (end, 8)
    assert summary["best_epoch"] == end - 2
    output = capsys.readouterr().out.splitlines()
    what = "higher validation accuracy" if validation == "test" else "lower loss"
    line = f"stopped early, after {end} of 8 epochs: no {what} since epoch {end - 2}"
    assert output.count(line) == 1
    reported = f"epoch {end - 2} of {end}, the best" if validation == "test" else f"after {end} ep"
    assert any(reported in line for line in output)


def test_patience_that_runs_out_with_the_last_epoch_stops_nothing(tmp_path: Path) -> None:
    end = fit(WILD, tmp_path / "run")["epochs"]
    summary = fit(recipes.replace(WILD, epochs=end), tmp_path / "same")
    assert summary["epochs"] == end and summary["stopped_early"] is False


def test_a_run_that_was_interrupted_stops_early_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = fit(WILD, whole)

    def log(self: RunFolder, row: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)

    run = train.Run(report=False, out=str(broken))
    for _ in range(expected["epochs"] - 1):  # interrupted after every epoch
        with monkeypatch.context() as patched, pytest.raises(driver.Stopped):
            patched.setattr(RunFolder, "log", log)
            train.fit(WILD, run)
        run = train.Run(report=False, resume=str(broken))
    found, _ = train.fit(WILD, run)
    assert found | {"seconds": 0} == expected | {"seconds": 0}
    assert without_times(broken) == without_times(whole)
    assert same_bits(weights(broken), weights(whole))
    assert same_bits(weights(broken, "best"), weights(whole, "best"))


def test_a_run_that_was_killed_before_its_summary_trains_no_further(tmp_path: Path) -> None:
    expected = fit(WILD, tmp_path / "run")
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "run", killed)
    (killed / "summary.json").unlink()
    assert train.fit(WILD, train.Run(report=False, resume=str(killed)))[0] == expected
