"""Each of the nine recipes trains by the command, with npmlp and with PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from small_run import without_times

import reference_torch.train
from npmlp import train
from npmlp.recipes import RECIPES
from npmlp.runs import RunFolder

ENGINES: dict[str, Any] = {"npmlp": train, "torch": reference_torch.train}


def test_there_are_nine_recipes() -> None:
    assert list(RECIPES) == [
        "vanilla", "vanilla-zeros", "vanilla-xavier", "vanilla-xavier-aug",
        "vanilla-xavier-aug-dropout", "vanilla-double-softmax", "lenet", "mixer", "residual",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_an_epoch(
    name: str, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--recipe", name, "--limit", "600", "--epochs", "1", "--no-report"]
    assert ENGINES[engine].main([*flags, "--out", str(tmp_path / "run")]) == 0
    folder = RunFolder(tmp_path / "run")
    assert folder.config()["engine"] == engine
    assert folder.recipe().name == name
    (row,) = without_times(folder.path)
    assert all(math.isfinite(value) for value in row.values())  # type: ignore[arg-type]
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy"} <= row.keys()
    assert ("val_loss" in row) == ("val_accuracy" in row) == (name == "residual")
    summary = folder.summary()
    assert summary is not None
    count = 5000 if name == "residual" else 10_000
    assert summary["test_count"] == count
    assert f"of {count:,} images" in capsys.readouterr().out
