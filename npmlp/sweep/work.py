"""What a worker does: one training, in one thread, of which a small summary is left."""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from npmlp import recipes
from npmlp.driver import Stopped
from npmlp.errors import NpmlpError
from npmlp.progress import Silent
from npmlp.sweep.pool import Ended, Job


class Pruned(Exception):
    """The parent wants no more of this training."""


class Reporter(Silent):
    """Gives each epoch's held-out accuracy to `report`, which raises Pruned to end the training."""

    def __init__(self, report: Callable[[int, float], None] | None) -> None:
        self.report = report

    def epoch(self, row: dict[str, Any]) -> None:
        if self.report is not None:
            self.report(row["epoch"], row["val_accuracy"])


def train(job: Job, show: Reporter, folder: Path | None = None) -> Ended:
    """Train the job's recipe, in a folder that is gone afterwards; `folder` is where it is made."""
    try:
        with tempfile.TemporaryDirectory(prefix="cell-", dir=folder) as place:
            return Ended(job.ticket, "done", _train(job, show, Path(place) / "run"))
    except Pruned:
        return Ended(job.ticket, "pruned")
    except Stopped:
        return Ended(job.ticket, "lost", error="the training was stopped")
    except NpmlpError as error:
        # without how to go on with the run, which is gone
        what = " ".join(str(error).split()).partition(" To get further,")[0]
        return Ended(job.ticket, "failed", error=what)
    except Exception as error:
        where = traceback.format_exc().strip()
        return Ended(job.ticket, "failed", error=f"{type(error).__name__}: {error}\n{where}")


def _train(job: Job, show: Reporter, out: Path) -> dict[str, Any]:
    from npmlp.train import Run, fit

    # a checkpoint within an epoch would only help a run that goes on, and these do not
    run = Run(
        data=job.data, out=str(out), threads=1, report=False, checkpoint_seconds=1e9,
        kernels=job.kernels,  # type: ignore[arg-type]
    )  # fmt: skip
    summary, folder = fit(recipes.from_dict(job.recipe, "the job"), run, show=show)
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    best = rows[summary["best_epoch"] - 1]  # the best by held-out accuracy
    return {
        "validation_accuracy": best["val_accuracy"],
        "validation_loss": best["val_loss"],
        "best_epoch": summary["best_epoch"],
        "epochs": summary["epochs"],
        "train_loss": summary["train_loss"],
        "seconds": summary["seconds"],
        # of the checkpoint that the held-out images chose; nothing is ranked by it
        "test_accuracy": summary["test_accuracy"],
        "test_count": summary["test_count"],
    }
