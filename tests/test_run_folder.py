"""What a run leaves in its folder, and folders that are not right."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL, run_command, same_bits, weights, without_times

import npmlp
from npmlp import checkpoint, train
from npmlp.errors import RunError
from npmlp.evaluate import evaluate
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder


def test_the_command_ends_with_accuracy_time_folder_and_pictures(finished: Path) -> None:
    last_lines = (finished.parent / "output.txt").read_text().splitlines()[-5:]
    assert re.fullmatch(
        r"test accuracy  0\.\d{4}  \(\d,\d{3} of 10,000 images, after 3 epochs\)", last_lines[0]
    )
    assert last_lines[1].startswith("wall time ") and last_lines[1].endswith(" s")
    assert last_lines[2] == f"run folder     {finished}"
    pictures = "curves.png, confusion.png, samples.png, mistakes.png, weights.png"
    assert last_lines[3] == f"pictures       {finished}{os.sep}{pictures}"
    assert last_lines[4] == f"report         {finished}{os.sep}report.html, metrics.json"
    for name in [*pictures.split(", "), "report.html", "metrics.json"]:
        assert (finished / name).stat().st_size > 1000


def test_a_report_that_fails_is_a_sentence_and_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(self: RunFolder, summary: dict[str, object]) -> None:
        finish_as_always(self, summary)
        (self.path / "metrics.jsonl").write_text("spoiled")  # which the report reads first

    finish_as_always = RunFolder.finish
    monkeypatch.setattr(RunFolder, "finish", finish)
    flags = ["--limit", "64", "--epochs", "1", "--out"]
    assert train.main([*flags, str(tmp_path / "run")]) == 0
    output = capsys.readouterr().out
    assert "the report could not be written (" in output
    assert f"python -m npmlp.report {tmp_path / 'run'} tries again" in output
    assert output.count("test accuracy") == 1
    assert RunFolder(tmp_path / "run").summary() is not None
    with pytest.warns(UserWarning, match="the report could not be written"):
        train.fit(Recipe(limit=64, epochs=1), train.Run(out=str(tmp_path / "other")))


def test_without_a_terminal_there_is_one_line_per_epoch(finished: Path) -> None:
    lines = (finished.parent / "output.txt").read_text().splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 3


def test_the_run_folder_has_every_file_with_its_fields(finished: Path) -> None:
    config = json.loads((finished / "config.json").read_text())
    assert {"recipe", "seed", "versions", "threads", "machine", "kernels"} <= config.keys()
    assert {"npmlp", "numpy", "numba"} <= config["versions"].keys()
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[0].keys() == {
        "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "dead_relus",
        "seconds", "samples_per_second",
    }  # fmt: skip
    summary = json.loads((finished / "summary.json").read_text())
    assert summary.keys() == {
        "recipe", "seed", "epochs", "epochs_planned", "stopped_early", "best_epoch",
        "chosen_epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
        "test_correct", "test_count", "seconds",
    }  # fmt: skip
    assert summary["chosen_epoch"] == summary["epochs"] == summary["epochs_planned"] == 3
    assert summary["stopped_early"] is False
    for field in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert summary[field] == rows[-1][field]
    assert summary["test_correct"] == round(rows[-1]["test_accuracy"] * 10_000)
    assert summary["test_count"] == 10_000
    assert (finished / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(finished.rglob("*.tmp"))


def test_best_is_the_epoch_of_the_lowest_training_loss(finished: Path) -> None:
    rows = without_times(finished)
    losses = [row["train_loss"] for row in rows]
    assert json.loads((finished / "summary.json").read_text())["best_epoch"] == 1 + losses.index(
        min(losses)
    )


def test_tensorboard_shows_loss_accuracy_and_rate_per_epoch(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    rows = without_times(finished)
    for tag, field in [
        ("loss/train", "train_loss"), ("loss/test", "test_loss"),
        ("accuracy/test", "test_accuracy"), ("lr", "lr"),
    ]:  # fmt: skip
        scalars = events.Scalars(tag)
        assert [s.step for s in scalars] == [1, 2, 3]
        # TensorBoard keeps float32
        np.testing.assert_allclose([s.value for s in scalars], [r[field] for r in rows], rtol=1e-6)


def test_a_checkpoint_is_safetensors_with_json_in_its_header(finished: Path) -> None:
    from safetensors import safe_open

    with safe_open(finished / "checkpoints" / "last.safetensors", framework="numpy") as file:
        assert "state.model.fc1.weight" in file.keys()  # noqa: SIM118 - not a dict
        assert json.loads(file.metadata()["npmlp"])["dict"][0] == ["format", checkpoint.FORMAT]


def test_fit_gives_the_commands_numbers(finished: Path, tmp_path: Path) -> None:
    summary, folder = train.fit(SMALL, train.Run(out=str(tmp_path / "run"), report=False))
    assert without_times(folder.path) == without_times(finished)
    assert summary["test_accuracy"] == folder.summary()["test_accuracy"]
    assert same_bits(weights(folder.path), weights(finished))


def test_fit_leaves_the_default_dtype_as_it_was(tmp_path: Path) -> None:
    recipe = Recipe(limit=64, epochs=1, dtype="float64")
    train.fit(recipe, train.Run(out=str(tmp_path / "run"), report=False))
    assert npmlp.get_default_dtype() is npmlp.float32


def test_evaluate_finds_the_accuracy_that_the_run_reports(finished: Path) -> None:
    done = run_command("npmlp.evaluate", "--run", str(finished))
    summary = json.loads((finished / "summary.json").read_text())
    assert f"({summary['test_correct']:,} of 10,000 images)" in done.stdout
    assert done.stdout.count("of 1,000)") == 10


@pytest.mark.parametrize(
    ("validation", "images"),
    [("train", "5,000 validation images"), ("test", "5,000 validation images"),
     ("reported", "these very images")],
)  # fmt: skip
def test_validation_images_choose_the_checkpoint(
    validation: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # a rate at which the accuracy goes up and down, so that the last epoch is not the best
    flags = ["--limit", "300", "--epochs", "4", "--lr", "0.8", "--validation", validation]
    assert train.main([*flags, "--no-report", "--out", str(tmp_path / "run")]) == 0
    rows, summary = without_times(tmp_path / "run"), RunFolder(tmp_path / "run").summary()
    assert summary is not None
    accuracies = [row["val_accuracy"] for row in rows]
    best = accuracies.index(max(accuracies))
    assert best < 3, "the recipe of this test no longer shows what it is for"
    assert summary["best_epoch"] == summary["chosen_epoch"] == best + 1
    for field in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss",
                  "test_accuracy"):  # fmt: skip
        assert summary[field] == rows[best][field]
    count = 5000 if validation == "test" else 10_000
    assert summary["test_count"] == count
    assert (
        f"test accuracy  {summary['test_accuracy']:.4f}  ({summary['test_correct']:,} of "
        f"{count:,} images, epoch {best + 1} of 4, the best on {images})"
    ) in capsys.readouterr().out
    assert evaluate(tmp_path / "run").accuracy == summary["test_accuracy"]


# ---------------------------------------------------------------------- folders that are not right


def test_a_folder_that_holds_a_run_is_left_alone(finished: Path) -> None:
    before = (finished / "config.json").read_bytes()
    done = run_command("npmlp.train", "--out", str(finished))
    assert done.returncode == 2
    assert f"--resume {finished}" in done.stderr
    assert (finished / "config.json").read_bytes() == before


def test_a_folder_that_holds_a_run_is_not_kept_locked_by_the_refusal(finished: Path) -> None:
    with pytest.raises(RunError, match="already holds a run") as kept:
        RunFolder.create(finished, Recipe(), "npmlp")
    assert kept.value is not None  # as a notebook keeps the last error, and its frames
    folder = RunFolder(finished)
    folder.lock()
    folder.unlock()


def test_a_network_that_the_last_step_ruined_is_no_finished_run(tmp_path: Path) -> None:
    recipe = Recipe(limit=64, batch_size=64, epochs=1, lr=1e30)  # one step, no loss after it
    with pytest.raises(RunError, match="the mean loss on the test images is nan"):
        train.fit(recipe, train.Run(out=str(tmp_path / "run")))
    assert RunFolder(tmp_path / "run").summary() is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        train.fit(SMALL, train.Run(out=str(file / "run")))


def test_a_summary_that_lacks_a_part_is_named(unfinished: Path) -> None:
    (unfinished / "summary.json").write_text("{}")
    done = run_command("npmlp.train", "--resume", str(unfinished))
    assert done.returncode == 2
    assert "is damaged, it lacks best_epoch" in done.stderr


def test_a_config_of_an_unknown_network_is_refused(unfinished: Path) -> None:
    config = json.loads((unfinished / "config.json").read_text())
    config["recipe"]["arch"] = "transformer"
    (unfinished / "config.json").write_text(json.dumps(config))
    for command in (["npmlp.train", "--resume"], ["npmlp.evaluate", "--run"]):
        done = run_command(*command, str(unfinished))
        assert done.returncode == 2
        assert "config.json: arch: got 'transformer', expected one of vanilla" in done.stderr


def test_a_run_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not the folder of a run"):
        RunFolder(tmp_path).recipe()
