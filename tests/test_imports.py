"""What importing and training bring in: start-up time is other packages' imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "torch", "torchvision", "numba", "llvmlite", "matplotlib", "PIL", "rich", "tyro", "safetensors",
    "tensorboard", "threadpoolctl", "platformdirs", "sklearn", "scipy", "jinja2", "markdown_it",
    "docstring_parser", "optuna", "distributed", "IPython",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("module", ["npmlp", "npmlp.nn", "npmlp.optim", "npmlp.utils.data"])
def test_importing_the_engine_imports_numpy_and_nothing_heavy(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_a_training_run_never_imports_torch(tmp_path: object) -> None:
    code = (
        "from npmlp import train; from npmlp.recipes import Recipe\n"
        f"train.fit(Recipe(limit=64, epochs=1), train.Run(out={str(tmp_path) + '/run'!r}))"
    )
    assert not modules_after(code) & {"torch", "torchvision"}


def test_the_first_step_waits_for_nothing_that_only_the_end_of_an_epoch_needs(
    tmp_path: object,
) -> None:
    code = (
        "import os, sys; from npmlp import progress, train; from npmlp.recipes import Recipe\n"
        "class Stop(progress.Silent):\n"
        "    def batch(self, *args): print(*sys.modules, file=sys.stderr); os._exit(0)\n"
        f"train.fit(Recipe(limit=64), train.Run(out={str(tmp_path) + '/run'!r}), show=Stop())"
    )
    late = {"tensorboard", "matplotlib", "sklearn", "jinja2", "PIL", "IPython", "optuna"}
    assert not modules_after(code) & late


def test_numpy_kernels_compile_nothing(tmp_path: object) -> None:
    code = (
        "import npmlp; from npmlp import train; from npmlp.recipes import Recipe\n"
        f"run = train.Run(out={str(tmp_path) + '/run'!r}, kernels='numpy')\n"
        "train.fit(Recipe(limit=64, epochs=1), run)"
    )
    assert not modules_after(code) & {"numba", "llvmlite"}
