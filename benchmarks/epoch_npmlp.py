"""npmlp's side of an epoch: its engine, as npmlp.driver uses it, without the run's files."""

from __future__ import annotations

import itertools
import time
from typing import Any

from side import serve, setting

import npmlp
from npmlp.engine import NpmlpEngine
from npmlp.recipes import Recipe


def epoch(engine: NpmlpEngine, evaluate: bool) -> dict[str, Any]:
    """Train an epoch, and evaluate on all held-out images."""
    began = time.perf_counter()
    loss, count = 0.0, 0
    for scores in engine.steps(0):
        for score in scores:
            loss += score.loss * score.count
            count += score.count
    correct = held_out = 0
    if evaluate:
        for split in ("validation", "test") if engine.has_validation else ("test",):
            found = engine.evaluate(split)
            correct += found.correct
            held_out += found.count
    return {
        "seconds": time.perf_counter() - began, "images": count, "loss": loss / count,
        "evaluated": held_out, "correct": correct,
    }  # fmt: skip


def main() -> None:
    how = setting()
    npmlp.set_num_threads(how["threads"])
    engine: list[NpmlpEngine] = []

    def build(recipe: dict[str, Any]) -> None:
        engine[:] = [NpmlpEngine(Recipe(**recipe))]

    def losses(steps: int) -> dict[str, Any]:
        scores = itertools.chain.from_iterable(engine[0].steps(0))
        return {"first": 0, "losses": [s.loss for s in itertools.islice(scores, steps)]}

    serve(
        {
            "build": build,
            "losses": losses,
            "epoch": lambda evaluate=True: epoch(engine[0], evaluate),
        }
    )


if __name__ == "__main__":
    main()
