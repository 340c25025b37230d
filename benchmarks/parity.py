"""Hold every recipe beside PyTorch, step by step and to the bit: `make parity`.

Writes small files into benchmarks/results/parity; parity_page.py makes docs/parity.md of them. Some
tens of minutes.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import machine
import torch
import tyro

from npmlp import recipes
from npmlp.files import write_atomically
from npmlp.recipes import RECIPES
from npmlp.report.style import write_png
from reference_torch.parity import command, streams
from reference_torch.parity.picture import divergence_figure
from reference_torch.parity.whole import compare_whole

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parity"
DOCS = HERE.parent / "docs"
DTYPES = ("float64", "float32")
STEPS = {"mixer": 100}
"""of 500; its steps take longer"""
PICTURES = (("vanilla", "float32"), ("residual", "float64"), ("residual", "float32"))
FAULTS = (
    ("residual", "kind=order"),
    ("residual", "kind=label"),
    ("residual", "kind=augmentation"),
    ("residual", "kind=mask"),
    ("residual", "kind=statistics,layer=hidden2.norm,scale=1.001"),
    ("lenet", "kind=gradient,layer=fc3,scale=1.001"),
    ("residual", "kind=moment,layer=hidden4.linear,scale=1.001"),
    ("mixer", "kind=weight,layer=block1.over_patches.fc1,scale=1.001"),
    ("residual", "kind=epsilon,scale=100"),
    ("residual", "kind=bias_correction"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Measure parity with PyTorch: streams, lockstep, planted faults, a whole training."""

    only: tuple[str, ...] = ("streams", "lockstep", "faults", "whole")
    """these parts alone"""


def keep(name: str, content: dict[str, Any]) -> None:
    """Write a result file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content | {"machine": machine.facts()}, indent=1, allow_nan=False)
    write_atomically(RESULTS / f"{name}.json", text + "\n")


def measure_streams() -> None:
    """Everything random, over the whole data set."""
    status = streams.main(["--out", str(RESULTS / "streams.json")])
    if status:
        raise SystemExit("what is drawn differs")


def measure_lockstep() -> None:
    """Every recipe in both precisions."""
    for name in RECIPES:
        for dtype in DTYPES:
            flags = command.Flags(recipe=name, dtype=dtype, steps=STEPS.get(name, 500))  # type: ignore[arg-type]
            result, recipe = command.run(flags)
            keep(f"{name}-{dtype}", result.summary())
            print(f"{name:27} {dtype}: {'agrees' if result.agrees else result.finding}", flush=True)
            if (name, dtype) in PICTURES:
                title = f"{name}, {dtype}, seed {recipe.seed}"
                write_png(divergence_figure(result, title), DOCS / f"parity-{name}-{dtype}.png")


def measure_faults() -> None:
    """What the comparison says of faults that were planted."""
    found = []
    for name, inject in FAULTS:
        result, _ = command.run(command.Flags(recipe=name, steps=20, inject=inject))
        assert result.finding is not None, f"{inject} in {name} was not found"
        found.append(
            {
                "recipe": name,
                "inject": inject,
                "planted": result.facts["fault"],
                "finding": dataclasses.asdict(result.finding),
            }
        )
        print(f"{inject}: {result.finding}", flush=True)
    keep("faults", {"faults": found})


def measure_whole() -> None:
    """vanilla to its end, in float64."""
    recipe = dataclasses.replace(recipes.find("vanilla"), dtype="float64")
    found = compare_whole(recipe)
    keep("whole-vanilla-float64", dataclasses.asdict(found))
    print(f"vanilla, float64, to its end: {found}")


PARTS = {
    "streams": measure_streams,
    "lockstep": measure_lockstep,
    "faults": measure_faults,
    "whole": measure_whole,
}


def main() -> None:
    flags = tyro.cli(Flags)
    unknown = set(flags.only) - PARTS.keys()
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(unknown)}; the parts: {', '.join(PARTS)}")
    torch.set_num_threads(1)  # what else runs here would make two threads wait for one another
    for part in flags.only:
        PARTS[part]()


if __name__ == "__main__":
    main()
