"""`python -m reference_torch.parity`: the flags, the files, what is printed."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

import npmlp
from npmlp import commands, config, recipes
from npmlp.errors import RunError
from npmlp.files import write_atomically
from npmlp.preserved import preserved_settings
from npmlp.recipes import Recipe
from npmlp.report.style import write_png
from reference_torch.parity import faults
from reference_torch.parity.lockstep import Lockstep
from reference_torch.parity.picture import divergence_figure
from reference_torch.parity.result import Result, collect


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Train a recipe in npmlp and in PyTorch in lockstep and say where they part.

    Exit code 0 where nothing but rounding is found, 1 where something else is.
    """

    recipe: str = "vanilla"
    """a recipe's name, or a JSON file with one"""
    steps: int = 500
    """how many training steps at most"""
    dtype: Literal["float32", "float64"] | None = None
    """the precision of both, the recipe's own if not given"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where PyTorch computes; masks, batches and first weights come from its CPU generator"""
    seed: int | None = None
    """as in torch.manual_seed; the recipe's own if not given"""
    limit: int | None = None
    """train on the first so many training images only"""
    data: str | None = None
    """a folder with images, as for npmlp.train"""
    inject: str | None = None
    """a fault to plant in npmlp, as layer=fc3,kind=gradient,scale=1.001,step=5; by default halfway.
    The kinds: order, label, augmentation, mask, statistics, gradient, moment, weight, epsilon,
    bias_correction"""
    out: Path | None = None
    """the folder of parity.json and parity.png, by default runs/parity-<recipe>-<dtype>"""
    threads: int | None = None
    """threads of both, which PyTorch's last digits depend on"""
    debug: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """show the whole stack when something goes wrong"""


def run(flags: Flags, progress: Any = None) -> tuple[Result, Recipe]:
    """Do what the flags ask for, without files. Raises NpmlpError for what cannot be done."""
    if flags.steps < 1:
        raise RunError(f"--steps: got {flags.steps}, expected at least 1")
    recipe = recipes.find(flags.recipe)
    chosen: dict[str, Any] = {
        name: getattr(flags, name)
        for name in ("dtype", "seed", "limit")
        if getattr(flags, name) is not None
    }
    recipe = dataclasses.replace(recipe, **chosen)
    fault = None if flags.inject is None else faults.parse(flags.inject, max(1, flags.steps // 2))
    if fault is not None and not 1 <= fault.step <= flags.steps:
        raise RunError(
            f"--inject {flags.inject}: step {fault.step} is none of the {flags.steps} steps"
        )
    threads = torch.get_num_threads(), config.get_num_threads()
    before = torch.get_default_dtype(), torch.get_rng_state()
    try:
        if flags.threads is not None:
            torch.set_num_threads(flags.threads)
            config.set_num_threads(flags.threads)
        with preserved_settings():
            lockstep = Lockstep(recipe, flags.data, flags.device, fault)
            facts = _facts(recipe, flags.device, lockstep)
            return collect(lockstep, flags.steps, facts, progress), recipe
    finally:
        torch.set_default_dtype(before[0])
        torch.set_rng_state(before[1])
        torch.set_num_threads(threads[0])
        config.set_num_threads(threads[1])


def _facts(recipe: Recipe, device: str, lockstep: Lockstep) -> dict[str, Any]:
    """What the result file says of the run."""
    fault = lockstep.planted.fault
    return {
        "recipe": dataclasses.asdict(recipe),
        "dtype": recipe.dtype,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "fault": None if fault is None else str(fault),
        "versions": {
            "npmlp": npmlp.__version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "kernels": config.get_kernels(),
        "threads": torch.get_num_threads(),
    }


def main(argv: Sequence[str]) -> int:
    flags = commands.parse(Flags, argv, "python -m reference_torch.parity")
    result, recipe = run(flags)
    facts = result.facts
    print(
        f"{recipe.name}, seed {recipe.seed}, {recipe.dtype}, {result.steps} steps of "
        f"{recipe.batch_size} images: npmlp beside PyTorch {facts['versions']['torch']} on "
        f"{facts['device']}"
    )
    if facts["fault"] is not None:
        print(f"planted: {facts['fault']}")
    if result.steps < flags.steps:
        print(f"the recipe has no more than {result.steps} steps")
    print()
    print(result.text())
    out = flags.out or Path("runs") / f"parity-{recipe.name}-{recipe.dtype}"
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "parity.json", json.dumps(result.as_dict(), allow_nan=False) + "\n")
    title = f"{recipe.name}, {recipe.dtype}, seed {recipe.seed}"
    write_png(divergence_figure(result, title), out / "parity.png")
    print(f"\nfiles: {out / 'parity.json'}, {out / 'parity.png'}")
    return 0 if result.agrees else 1
