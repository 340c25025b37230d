"""Every matrix product of the recipes, and large squares: npmlp beside NumPy's BLAS and PyTorch's.

The two others compute with OpenBLAS and MKL in their ordinary builds. Each side is a process, and
what a call costs around the product counts. The ratio is to the better of the two.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import compare
import tyro
from bench_step import THREADS
from matmul_products import Product, as_json, products_of_recipes
from side import Side, SideError

PARTS = (
    "bench_matmul_peers.py", "matmul_products.py", "matmul_npmlp.py", "matmul_numpy.py",
    "matmul_torch.py",
)  # fmt: skip
SCRIPTS = {"npmlp": "matmul_npmlp.py", "numpy": "matmul_numpy.py", "torch": "matmul_torch.py"}
SQUARES = (512, 1024, 2048, 4096)
SLOW = 5e9  # floating-point operations from which fewer rounds do
QUICK = (
    "vanilla-64 fc1 forward", "vanilla-64 fc1 dweight", "residual-128 hidden1.linear forward",
    "residual-128 hidden2.linear dx",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time the recipes' matrix products beside NumPy's and PyTorch's."""

    rounds: int = 15
    """bursts of each side whose ratios are taken; a third of them for large squares"""
    burst: float = 0.02
    """seconds of a burst"""
    largest: int = SQUARES[-1]
    """the largest square"""
    quick: bool = False
    """four shapes only"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def measure(product: Product, sides: dict[str, Side], flags: Flags) -> dict[str, Any]:
    """What came of a product."""
    errors = {name: side.ask("build", product=as_json(product)) for name, side in sides.items()}
    wrong = [name for name, error in errors.items() if not error < 1]
    if wrong:
        raise SideError(f"{product}: {', '.join(wrong)} computes another product: {errors}")
    rounds = flags.rounds if product.flops < SLOW else -(-flags.rounds // 3)
    clocks = [compare.burst(side, flags.burst) for side in sides.values()]
    seconds = dict(zip(sides, compare.in_turns(clocks, rounds), strict=True))
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    better = min(("numpy", "torch"), key=lambda name: middle[name])
    return {
        "gflops": {name: product.flops / 1e9 / middle[name] for name in sides},
        "better": better,
        "ratio": compare.ratio(seconds[better], seconds["npmlp"]),
        "errors": errors,
    }


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    stored = "aᵀ" if row["a_transposed"] else "bᵀ" if row["b_transposed"] else "  "
    shape = f"{row['n']:5} × {row['k']:5} × {row['m']:5} {stored} {row['threads']} t"
    rates = "  ".join(f"{name} {rate:6.1f}" for name, rate in row["gflops"].items())
    return f"{shape}  {rates}  {row['ratio']['median']:5.2f}×  {row['where'][0]}"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The geometric means and the least ratios, of the recipes' products and of the squares."""
    found = {}
    for name, large in (("recipes", False), ("squares", True)):
        ratios = [r["ratio"]["median"] for r in rows if (not r["layer"]) is large]
        if ratios:
            mean = compare.geometric_mean(ratios)
            found[name] = {"geometric_mean": mean, "least": min(ratios), "count": len(ratios)}
    return found


def main() -> None:
    flags = tyro.cli(Flags)
    where = products_of_recipes()
    if flags.quick:
        wanted = {product: places for product, places in where.items() if places[0] in QUICK}
    else:
        sides = [s for s in SQUARES if s <= flags.largest]
        wanted = where | {Product(s, s, s): [f"square {s}"] for s in sides}
    result = compare.Result(
        "matmul-peers", PARTS, {"rounds": flags.rounds, "burst_seconds": flags.burst}, flags.results
    )
    for threads in THREADS:
        running = {name: Side(script, {"threads": threads}) for name, script in SCRIPTS.items()}
        try:
            for product, places in wanted.items():
                key = {**as_json(product), "threads": threads}
                row = result.row(**key)
                if row is None:
                    row = {**key, "where": places, **measure(product, running, flags)}
                    result.add(row)
                print(line(row), flush=True)
        finally:
            for side in running.values():
                side.close()
    found = summary(result.content["rows"])
    if not flags.quick and flags.largest >= SQUARES[-1]:  # else not all is there
        result.finish(summary=found)
    for name, values in found.items():
        print(
            f"{name}: geometric mean {values['geometric_mean']:.2f}×, least {values['least']:.2f}×"
        )


if __name__ == "__main__":
    main()
