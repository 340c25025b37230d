"""A training of a second, run by the command, and how tests look at what it leaves."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npmlp import checkpoint
from npmlp.recipes import Recipe

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


@pytest.fixture(scope="session")
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
