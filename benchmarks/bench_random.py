"""Random draws beside PyTorch's own, in alternation: dropout masks, orders, uniform numbers.

Before it is timed each pair is checked to draw the same numbers. A ratio above 1: npmlp is faster.
Both draw on one thread, as PyTorch does on a CPU whatever its number of threads.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch

import npmlp
from npmlp.random import default_generator

RESULT = Path(__file__).parent / "results" / "random.json"
PAIRS = 60
Draw = Callable[[], Any]


def uniform(x: Any) -> Draw:
    return lambda: x.uniform_(-0.1, 0.1).numpy()


def mask(n: int) -> Draw:
    return lambda: default_generator.dropout_mask(n, 0.3)


def torch_mask(n: int) -> Draw:
    """What F.dropout draws, without the product."""
    x = torch.ones(n)
    return lambda: torch.empty_like(x, dtype=torch.bool).bernoulli_(0.7).numpy()


def cases() -> dict[str, tuple[Draw, Draw]]:
    """What npmlp draws, and PyTorch, by name. Each gives an array."""
    found: dict[str, tuple[Draw, Draw]] = {
        "randperm(60000)": (
            lambda: default_generator.randperm(60_000),
            lambda: torch.randperm(60_000).numpy(),
        )
    }
    for n in (16_384, 1_000_000):
        for dtype in ("float32", "float64"):
            found[f"uniform_(-0.1, 0.1) of {n:,} {dtype}"] = (
                uniform(npmlp.empty(n, dtype=getattr(npmlp, dtype))),
                uniform(torch.empty(n, dtype=getattr(torch, dtype))),
            )
        found[f"dropout mask of {n:,}, p 0.3"] = mask(n), torch_mask(n)
    return found


def seconds(draw: Draw, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        draw()
    return (time.perf_counter() - began) / times


def main() -> None:
    torch.set_num_threads(1)
    results = {}
    for name, (ours, theirs) in cases().items():
        npmlp.manual_seed(1)
        torch.manual_seed(1)
        if not np.array_equal(ours(), theirs()):
            raise SystemExit(f"{name}: the two draw other numbers")
        times = max(1, int(0.01 / seconds(theirs, 3)))
        ratios, micro = [], []
        for i in range(PAIRS):
            first, second = (ours, theirs) if i % 2 == 0 else (theirs, ours)
            took = {first: seconds(first, times)}
            took[second] = seconds(second, times)
            ratios.append(took[theirs] / took[ours])
            micro.append(took[ours] * 1e6)
        quarters = statistics.quantiles(ratios, n=4)
        results[name] = {
            "ratio": quarters[1], "quartiles": [quarters[0], quarters[2]],
            "npmlp_us": statistics.median(micro),
        }  # fmt: skip
        print(
            f"{name:40} {statistics.median(micro):9.1f} µs  PyTorch ÷ npmlp {quarters[1]:5.2f} "
            f"({quarters[0]:.2f} … {quarters[2]:.2f})"
        )
    content = {"pairs": PAIRS, "results": results, "torch": torch.__version__}
    RESULT.write_text(json.dumps(content | {"machine": machine.facts()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
