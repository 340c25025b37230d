"""What npmlp is to reach beside its peers, and what was measured: read from the result files.

A result counts once it is complete. A ratio says how many times a peer's time is npmlp's, so that
more is better; a share is npmlp's part of the peer's, so that less is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from compare import RESULTS, geometric_mean

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A figure that must be reached, and one to aim at; `value` takes it from a result's rows."""

    result: str
    what: str
    must: float
    aim: float | None
    value: Callable[[Rows], float]
    at_most: bool = False
    unit: str = "×"

    def is_met(self, value: float, bound: float) -> bool:
        """Whether the value is as good as the bound."""
        return value <= bound if self.at_most else value >= bound


def _ratios(rows: Rows, library: str) -> list[float]:
    return [row["ratio"][library]["median"] for row in rows if library in row["ratio"]]


def _products(rows: Rows, of_recipes: bool) -> list[float]:
    return [row["ratio"]["median"] for row in rows if bool(row["layer"]) is of_recipes]


def _epochs(rows: Rows, against: str) -> float:
    return min(r["ratio"][against]["median"] for r in rows if r["against"] == against)


def _start(rows: Rows, what: str) -> dict[str, Any]:
    return next(row for row in rows if row["what"] == what)


GOALS = (
    Goal("matmul-peers", "products of the recipes, geometric mean beside the better of NumPy's and "
         "PyTorch's", 1.0, 1.2, lambda rows: geometric_mean(_products(rows, True))),
    Goal("matmul-peers", "the least of these", 0.85, None,
         lambda rows: min(_products(rows, True))),
    Goal("matmul-peers", "squares of 512 … 4096, the least beside the better of the two", 0.9, 1.0,
         lambda rows: min(_products(rows, False))),
    Goal("step", "training steps, geometric mean beside the best PyTorch", 3.0, 6.0,
         lambda rows: geometric_mean(_ratios(rows, "torch"))),
    Goal("step", "training steps, geometric mean beside the best JAX", 2.0, 3.5,
         lambda rows: geometric_mean(_ratios(rows, "jax"))),
    Goal("step", "the least of all these", 1.5, None,
         lambda rows: min(_ratios(rows, "torch") + _ratios(rows, "jax"))),
    Goal("epoch", "an epoch beside PyTorch, image by image, the least", 15.0, 40.0,
         lambda rows: _epochs(rows, "one_by_one")),
    Goal("epoch", "an epoch beside PyTorch, whole batches in memory, the least", 4.0, 8.0,
         lambda rows: _epochs(rows, "whole_batches")),
    Goal("sklearn", "an epoch of vanilla beside scikit-learn", 10.0, 30.0,
         lambda rows: float(_ratios(rows, "sklearn")[0])),
    Goal("start", "import npmlp, as a share of import torch", 0.5, 0.3,
         lambda rows: float(_start(rows, "import")["share"]["median"]), at_most=True),
    Goal("start", "command line to first step, warm", 2.0, 1.0,
         lambda rows: float(_start(rows, "warm")["npmlp_seconds"]), at_most=True, unit=" s"),
    Goal("start", "command line to first step, first ever", 30.0, 15.0,
         lambda rows: float(_start(rows, "first ever")["npmlp_seconds"]), at_most=True, unit=" s"),
    Goal("memory", "peak memory of a training, the largest share of PyTorch's", 0.6, 0.35,
         lambda rows: max(row["share"]["median"] for row in rows), at_most=True),
    Goal("scaling", "perceptrons of all widths, depths and batches, the least beside PyTorch", 1.0,
         None, lambda rows: min(row["ratio"]["median"] for row in rows)),
)  # fmt: skip


class Measured:
    """The result files in a folder, those that are complete."""

    def __init__(self, folder: Path = RESULTS) -> None:
        self.folder = folder

    @classmethod
    def on_other_machines(cls, folder: Path = RESULTS) -> list[Self]:
        """What was measured elsewhere, and was moved to a folder of its own."""
        return [cls(each) for each in sorted((folder / "other-machines").glob("*"))]

    def processor(self) -> str:
        """The name of the processor, and how wide its vectors are."""
        for goal in GOALS:
            found = self.read(goal.result)
            if found is not None:
                m = found["machine"]
                return f"{m['processor']}{', ' + m['vectors'] if m['vectors'] else ''}"
        return "not measured"

    def read(self, name: str) -> dict[str, Any] | None:
        """A result's content, or None where it is missing or not complete."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found if found.get("complete") else None

    def value(self, goal: Goal) -> float | None:
        """What was measured, where it was. A peer that was not installed gives none."""
        found = self.read(goal.result)
        if found is None:
            return None
        if goal.result == "step" and not all("jax" in row["ratio"] for row in found["rows"]):
            return None
        return goal.value(found["rows"])

    def shortfalls(self) -> list[str]:
        """What must be reached and is not, or is not measured, in sentences."""
        found = []
        for goal in GOALS:
            value = self.value(goal)
            if value is None:
                found.append(f"{goal.what}: not measured")
            elif not goal.is_met(value, goal.must):
                found.append(f"{goal.what}: {value:.2f}{goal.unit}, must reach {goal.must:g}")
        return found
