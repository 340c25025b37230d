"""The same training in PyTorch: `python -m reference_torch.train --arch vanilla --device cpu`.

Flags and run folder are those of npmlp.train, so that two folders can be compared file by file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from npmlp import commands, recipes, train_command
from npmlp import train as npmlp_train
from npmlp.errors import RunError
from npmlp.progress import Progress
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class Run(npmlp_train.Run):
    """Where and how a recipe is run."""

    device: Literal["cpu", "cuda"] | None = None
    """where PyTorch computes: on the CPU, if not given"""


def fit(
    recipe: Recipe | str,
    run: npmlp_train.Run | None = None,
    *,
    show: Progress | None = None,
    live: bool = False,
) -> tuple[dict[str, Any], RunFolder]:
    """Train a recipe with PyTorch. Arguments, result and errors as of npmlp.train.fit."""
    import torch

    from reference_torch.engine import TorchEngine

    recipe = recipes.find(recipe, "fit") if isinstance(recipe, str) else recipe
    show = npmlp_train.watching(recipe, show, live)
    # PyTorch's sums, unlike npmlp's, depend on the number of threads
    run = npmlp_train.as_before(run or Run(), "device", "threads")
    device = getattr(run, "device", None) or "cpu"
    threads = torch.get_num_threads()
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    before = torch.get_default_dtype()
    try:
        return npmlp_train.drive(
            lambda: TorchEngine(recipe, run.data, device), recipe, run, "torch",
            show, device=device, threads=torch.get_num_threads(),
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
        torch.set_num_threads(threads)


def summarize(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> str:
    """A table of the recipe's network, by torchinfo. Raises RunError where that is missing."""
    import torch

    from reference_torch import models

    try:
        import torchinfo
    except ImportError:
        raise RunError(
            "--summary: needs torchinfo here, which is not installed; pip install torchinfo, or "
            "ask python -m npmlp.train --summary, which counts the same"
        ) from None
    before, dtype = torch.get_default_dtype(), getattr(torch, recipe.dtype)
    torch.set_default_dtype(dtype)
    try:
        model = models.build(recipe, shape, classes)
        table = torchinfo.summary(
            model, (recipe.batch_size, *shape), dtypes=[dtype], device="cpu", verbose=0, depth=9,
            col_names=("output_size", "num_params", "mult_adds"), row_settings=("var_names",),
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    return str(table)


def main(argv: Sequence[str]) -> int:
    """`python -m reference_torch.train`"""
    return train_command.command(argv, "python -m reference_torch.train", Run, fit, summarize)


if __name__ == "__main__":
    sys.exit(commands.run(main))
