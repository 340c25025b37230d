"""An epoch of vanilla without evaluation: npmlp beside scikit-learn's MLPClassifier."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare
import tyro
from bench_step import CHECKED_STEPS, SCRIPTS, THREADS, TOLERANCE
from side import Side, SideError
from step_case import BATCHES, make_case

from npmlp.recipes import RECIPES

PARTS = (
    "bench_sklearn.py", "bench_step.py", "step_case.py", "step_npmlp.py", "epoch_npmlp.py",
    "epoch_sklearn.py",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time an epoch of vanilla in npmlp and in scikit-learn."""

    pairs: int = 9
    """epochs of each side whose ratios are taken"""
    rounds: int = 2
    """epochs of two settings that decide between them"""
    images: int | None = None
    """train on the first so many images only"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def settings(name: str) -> Iterator[dict[str, Any]]:
    """What is tried of a side."""
    for threads in THREADS:
        if name == "npmlp":
            yield {"threads": threads}
        else:
            yield from ({"how": how, "threads": threads} for how in ("partial_fit", "fit"))


def check() -> float:
    """How far apart the mean losses of the first steps are, from the same weights and batches."""
    with tempfile.TemporaryDirectory() as folder:
        case = make_case("vanilla", 64, f"{folder}/case.npz").as_json()
        with Side(SCRIPTS["npmlp"], {"how": "eager", "threads": 1}) as ours:
            ours.ask("build", case=case)
            losses = ours.ask("losses", steps=CHECKED_STEPS)["losses"]
        with Side("epoch_sklearn.py", {"how": "partial_fit", "threads": 1}) as theirs:
            found = theirs.ask("mean_loss", case=case, rounds=CHECKED_STEPS // BATCHES)
    apart = abs(found / statistics.fmean(losses) - 1)
    if not apart <= TOLERANCE:
        raise SideError(f"scikit-learn does not compute the same: mean losses {apart:.1e} apart")
    return apart


def main() -> None:
    flags = tyro.cli(Flags)
    header = {"pairs": flags.pairs, "images": flags.images or 60_000}
    result = compare.Result("sklearn", PARTS, header, flags.results)
    if result.content["rows"]:
        print(line(result.content["rows"][0]))
        return
    apart = check()
    recipe = dataclasses.asdict(dataclasses.replace(RECIPES["vanilla"], limit=flags.images))

    def start(name: str, setting: dict[str, Any]) -> Side:
        side = Side("epoch_npmlp.py" if name == "npmlp" else "epoch_sklearn.py", setting)
        side.ask("build", recipe=recipe)
        clock(side)()
        return side

    sides: dict[str, list[Side]] = {}
    tried: dict[str, list[dict[str, Any]]] = {}
    try:
        for name in ("npmlp", "sklearn"):
            print(f"  {name}", flush=True)
            sides[name], tried[name] = compare.finalists(
                lambda s: start(name, s),  # noqa: B023
                settings(name),
                clock,
                flags.rounds,
            )
        found = compare.final(sides, clock, flags.pairs)
    finally:
        for running in sides.values():
            compare.close(running)
    checked = {"tolerance": TOLERANCE, "mean_loss_apart": apart}
    row = {"recipe": "vanilla", "checked": checked, **found, "tried": tried}
    result.add(row)
    if flags.images is None:
        result.finish()
    print(line(row))


def clock(side: Side) -> Callable[[], float]:
    more = {"evaluate": False} if side.script == "epoch_npmlp.py" else {}
    return lambda: float(side.ask("epoch", **more)["seconds"])


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    r, best = row["ratio"]["sklearn"], row["best"]
    return (
        f"vanilla  npmlp {compare.duration(best['npmlp']['seconds'])}  scikit-learn "
        f"{compare.duration(best['sklearn']['seconds'])}  {r['median']:.2f}× "
        f"({r['quarter']:.2f} … {r['three_quarters']:.2f})"
    )


if __name__ == "__main__":
    main()
