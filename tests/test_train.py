"""Training from the outside: the run folder, stopping and going on, and what can go wrong."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npmlp
from npmlp import checkpoint, driver, train
from npmlp.errors import CheckpointError, RecipeError, RunError
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder

# everything that a checkpoint has to keep: momentum, dropout and augmentation in the middle of an
# epoch; an odd last batch; a second of work
SMALL = Recipe(
    name="vanilla", limit=6010, epochs=3, batch_size=32, seed=1, lr=0.02, momentum=0.9, dropout=0.2,
    augment="flip_affine", patience=0,
)  # fmt: skip
SMALL_FLAGS = shlex.split(
    "--limit 6010 --epochs 3 --batch-size 32 --seed 1 --lr 0.02 --momentum 0.9 --dropout 0.2 "
    "--augment flip_affine --patience 0"
)


def run_command(*args: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args], capture_output=True, text=True, timeout=300, **kwargs
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went to its end, by the command."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = run_command("npmlp.train", "--arch", "vanilla", *SMALL_FLAGS, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    (folder.parent / "output.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that looks as if it had been stopped at the very end."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    return folder


def weights(folder: Path, name: str = "last") -> dict[str, np.ndarray]:
    found = checkpoint.read(folder / "checkpoints" / f"{name}.safetensors")
    return {key: t.numpy() for key, t in found["state"]["model"].items()}


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


def without_times(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows
    ]


# ----------------------------------------------------------------------------- what a run leaves


def test_the_command_ends_with_accuracy_time_folder_and_pictures(finished: Path) -> None:
    last_lines = (finished.parent / "output.txt").read_text().splitlines()[-4:]
    assert last_lines[0].startswith("test accuracy  0.")
    assert last_lines[1].startswith("wall time ") and last_lines[1].endswith(" s")
    assert last_lines[2] == f"run folder     {finished}"
    assert last_lines[3] == f"pictures       {finished / 'curves.png'}"


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
        "epoch", "lr", "train_loss", "train_accuracy", "test_accuracy", "seconds",
        "samples_per_second",
    }  # fmt: skip
    summary = json.loads((finished / "summary.json").read_text())
    assert summary.keys() == {
        "recipe", "seed", "epochs", "train_loss", "test_accuracy", "test_correct", "test_count",
        "best_epoch", "seconds",
    }  # fmt: skip
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
        ("loss/train", "train_loss"), ("accuracy/test", "test_accuracy"), ("lr", "lr")
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
    summary, folder = train.fit(SMALL, train.Run(out=str(tmp_path / "run")))
    assert without_times(folder.path) == without_times(finished)
    assert summary["test_accuracy"] == folder.summary()["test_accuracy"]
    assert same_bits(weights(folder.path), weights(finished))


def test_fit_leaves_the_default_dtype_as_it_was(tmp_path: Path) -> None:
    train.fit(Recipe(limit=64, epochs=1, dtype="float64"), train.Run(out=str(tmp_path / "run")))
    assert npmlp.get_default_dtype() is npmlp.float32


def test_evaluate_finds_the_accuracy_that_the_run_reports(finished: Path) -> None:
    done = run_command("npmlp.evaluate", "--run", str(finished))
    summary = json.loads((finished / "summary.json").read_text())
    assert f"({summary['test_correct']:,} of 10,000 images)" in done.stdout
    assert done.stdout.count("of 1,000)") == 10


def test_validation_images_choose_the_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(limit=500, epochs=3, validation="test", validation_size=5000)
    summary, folder = train.fit(recipe, train.Run(out=str(tmp_path / "run")))
    rows = without_times(folder.path)
    accuracies = [row["val_accuracy"] for row in rows]
    best = summary["best_epoch"] - 1
    assert accuracies[best] == max(accuracies)
    assert summary["test_accuracy"] == rows[best]["test_accuracy"]
    assert summary["test_count"] == 5000


# ------------------------------------------------------------------------------ stop and go on


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
        [sys.executable, "-m", "npmlp.train", *SMALL_FLAGS, "--out", str(folder),
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
    done = run_command("npmlp.train", "--resume", str(folder))
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
    done = run_command("npmlp.train", "--resume", str(folder))
    assert "from the start: there is no checkpoint yet" in done.stdout
    assert same_bits(weights(folder), weights(finished))
    assert without_times(folder) == without_times(finished)


def test_resume_goes_on_with_the_kernels_that_the_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.Run(out=str(tmp_path / "whole"), kernels="numpy")
    train.fit(SMALL, whole)
    stopped = train.Run(out=str(tmp_path / "stopped"), kernels="numpy")
    with monkeypatch.context() as patched:  # a stop in the middle of the second epoch
        patched.setattr("npmlp.runs.RunFolder.log", _interrupt)
        with pytest.raises(driver.Stopped):
            train.fit(SMALL, stopped)
    train.fit(SMALL, train.Run(resume=str(tmp_path / "stopped")))
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
        [sys.executable, "-m", "npmlp.train", *SMALL_FLAGS, "--out", str(tmp_path / "run")],
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
    train.fit(SMALL, train.Run(resume=str(unfinished)))
    assert not half.exists()


def test_a_file_that_cannot_be_written_is_one_sentence(unfinished: Path) -> None:
    (unfinished / "metrics.jsonl").unlink()
    (unfinished / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl.*go on with --resume"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch", "vanila"], "did you mean vanilla?"),
        (["--recipe", "zzz"], "there is no 'zzz'"),
        (["--epoch", "3"], "--epochs"),
        (["--epochs", "0"], "--epochs: got 0"),
        (["--batch-size", "-1"], "--batch-size: got -1"),
        (["--lr", "0"], "--lr: got 0"),
        (["--lr", "nan"], "--lr: got nan"),
        (["--epochs", "many"], "--epochs"),
        (["--dropout", "1"], "--dropout: got 1.0"),
        (["--optimizer", "sgdd"], "sgd"),
        (["--threads", "0"], "--threads: got 0"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--validation", "test", "--validation-size", "10000"], "--validation-size 10000"),
        (["--resume", "no/such/run"], "no/such/run"),
        (["--name", "../elsewhere"], "--name: got"),
        (["--optimizer", "adam", "--momentum", "0.9"], "--momentum: adam has none"),
    ],
)
def test_a_wrong_flag_is_one_clear_message_and_exit_code_2(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    done = run_command("npmlp.train", *flags, "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_stack(tmp_path: Path) -> None:
    done = run_command("npmlp.train", "--data", "no/such/folder", "--debug")
    assert "Traceback" in done.stderr


def test_a_folder_that_holds_a_run_is_left_alone(finished: Path) -> None:
    before = (finished / "config.json").read_bytes()
    done = run_command("npmlp.train", "--out", str(finished))
    assert done.returncode == 2
    assert f"--resume {finished}" in done.stderr
    assert (finished / "config.json").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        train.fit(SMALL, train.Run(out=str(file / "run")))


def test_resume_refuses_other_settings(finished: Path) -> None:
    with pytest.raises(RecipeError, match="leave out --lr"):
        train.parse(["--resume", str(finished), "--lr", "0.5"], "train", train.Run)


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
        assert "--arch: got 'transformer'" in done.stderr


def test_a_checkpoint_that_is_not_ours_is_named(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "last.safetensors"
    npmlp.save({"weight": npmlp.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of npmlp"):
        train.fit(SMALL, train.Run(resume=str(unfinished)))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # a rate at which float32 overflows within the second epoch, and not within the first
    recipe = Recipe(limit=640, epochs=3, lr=0.1, scheduler="none")
    from npmlp.engine import NpmlpEngine

    class Overflows(NpmlpEngine):
        def end_epoch(self, train_loss: float) -> None:
            self.optimizer.param_groups[0]["lr"] = 1e30

    with pytest.raises(RunError, match=r"stopped at step 1[12] \(epoch 2\).*fc[12].*lower --lr"):
        train.drive(
            lambda: Overflows(recipe), recipe, train.Run(out=str(folder)), "npmlp",
            npmlp.progress.Silent(),
        )  # fmt: skip
    kept = checkpoint.read(folder / "checkpoints" / "last.safetensors")
    assert kept["position"]["epoch"] == 1
    assert all(np.isfinite(w).all() for w in weights(folder).values())


def test_an_input_that_is_not_finite_is_named_and_the_rate_is_not_blamed(tmp_path: Path) -> None:
    from npmlp.engine import NpmlpEngine

    class Spoiled(NpmlpEngine):
        def step(self, batch: Any) -> Any:
            batch[0].numpy()[3, 0, 5, 5] = np.nan
            return super().step(batch)

    recipe = Recipe(limit=64, epochs=1)
    with pytest.raises(
        RunError, match=r"step 1 .*the input has values.*look at the data.*no check"
    ):
        train.drive(
            lambda: Spoiled(recipe), recipe, train.Run(out=str(tmp_path / "run")), "npmlp",
            npmlp.progress.Silent(),
        )  # fmt: skip


def test_a_run_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not the folder of a run"):
        RunFolder(tmp_path).recipe()
