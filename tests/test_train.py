"""The train command: wrong flags, and numbers that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import run_command, weights

import npmlp
from npmlp import checkpoint, commands, recipes, train
from npmlp.errors import RunError
from npmlp.recipes import Recipe


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
        (["--keep-checkpoints", "0"], "--keep-checkpoints: got 0, expected all, best, last or"),
        (["--keep-checkpoints", "some"], "--keep-checkpoints"),
        (["--early-stopping", "0"], "--early-stopping: got 0, expected a whole number of at least"),
        (["--threads", "0"], "--threads: got 0"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--validation", "test", "--validation-size", "10000"], "--validation-size 10000"),
        (["--resume", "no/such/run"], "no/such/run"),
        (["--name", "../elsewhere"], "--name: got"),
        (["--optimizer", "adam", "--momentum", "0.9"], "--momentum: adam has none"),
        (["--arch", "residual", "--limit", "129"],
         "--batch-size 128: of 129 training images a batch would have only one, and residual's"),
        (["--arch", "residual", "--batch-size", "1", "--limit", "8"], "--batch-size 1: of 8 tr"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_clear_message_and_exit_code_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = commands.run(train.main, [*flags, "--out", str(tmp_path / "run")])
    except SystemExit as exit:  # by tyro
        code = exit.code  # type: ignore[assignment]
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arch", ["mixer", "lenet", "vanilla"])
def test_a_last_batch_of_one_image_trains_where_nothing_normalises_it(
    arch: str, tmp_path: Path
) -> None:
    recipe = recipes.replace(recipes.of_arch(arch), limit=9, batch_size=8, epochs=1)
    assert train.fit(recipe, train.Run(out=str(tmp_path / "run"), report=False))[0]["epochs"] == 1


def test_debug_shows_the_stack(tmp_path: Path) -> None:
    done = run_command("npmlp.train", "--data", "no/such/folder", "--debug")
    assert "Traceback" in done.stderr


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

        def steps(self, skip: int) -> Any:
            return ([self.step(batch)] for batch in self.batches(skip))

    recipe = Recipe(limit=64, epochs=1)
    with pytest.raises(
        RunError, match=r"step 1 .*the input has values.*look at the data.*no check"
    ):
        train.drive(
            lambda: Spoiled(recipe), recipe, train.Run(out=str(tmp_path / "run")), "npmlp",
            npmlp.progress.Silent(),
        )  # fmt: skip
