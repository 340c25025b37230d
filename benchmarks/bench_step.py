"""A training step, from the input to the updated weights: npmlp beside PyTorch and JAX.

step_npmlp.py, step_torch.py and step_jax.py are the sides. Of each every setting is tried that is
known to matter; one that does not compute the same losses as npmlp is out. The fastest of each side
then run bursts in turns, and the ratios of neighbours count.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare
import machine
import tyro
from side import Side, SideError
from step_case import BATCHES, Case, make_case

ROWS = (
    ("vanilla", 64), ("vanilla", 16), ("vanilla", 256), ("residual", 128),
    ("lenet", 20), ("lenet", 64), ("mixer", 128),
)  # fmt: skip
QUICK = (("vanilla", 64), ("residual", 128))
PARTS = (
    "bench_step.py", "step_case.py", "step_npmlp.py", "step_torch.py", "step_jax.py",
)  # fmt: skip
SCRIPTS = {"npmlp": "step_npmlp.py", "torch": "step_torch.py", "jax": "step_jax.py"}
THREADS = (1, 2)
AT_ONCE = ("scan", "plan-8", "whole-8")  # these do the steps of all batches in a call
CHECKED_STEPS = 24
# How far the losses of the first 24 steps may be apart, as a share of the loss. A product of 784
# terms rounds by about √784 · 6e-8 = 2e-6 of its size, and a loss is as exact as that. A step then
# carries the rounding on into the weights; Adam most, which divides each gradient by its own size,
# so that one near zero that rounding turns around moves its weight the other way. Found, over all
# rows and settings: 5e-6. What is wrong is further apart: 5e-4 without residual's weight decay, and
# 2e-3 or more with a rate 1 % off.
TOLERANCE = 1e-4
# mixer has the highest rate of Adam and 3.7 million ReLUs a step, of which rounding turns some:
# 3e-5 at its batch of 128, and at one of 32 PyTorch's own plain and fused Adam are 3e-4 apart
TOLERANCES = {"mixer": 5e-4}
ENVIRONMENT = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # no pool of compilers that stays beside it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time a training step of npmlp beside PyTorch's and JAX's."""

    only: tuple[str, ...] = ()
    """these rows alone, as vanilla-64 or residual-128"""
    pairs: int = 40
    """bursts of each side in the end, whose ratios are taken"""
    rounds: int = 7
    """bursts of two settings that decide between them"""
    burst: float = 0.15
    """seconds of a burst"""
    quick: bool = False
    """two rows and few settings, without torch.compile"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


# ------------------------------------------------------------------------------- what is tried


def of_npmlp(case: Case, quick: bool) -> Iterator[dict[str, Any]]:
    """As a plan of a step, of eight steps, and eager."""
    for how in ("plan",) if quick else ("plan", "plan-8", "eager"):
        for threads in THREADS:
            yield {"how": how, "threads": threads}


def of_torch(case: Case, quick: bool) -> Iterator[dict[str, Any]]:
    """Three optimizers, two layouts of images, four ways to compile."""
    for threads in THREADS:
        for optimizer in ("fused",) if quick else ("fused", "foreach", "plain"):
            yield {"how": "eager", "optimizer": optimizer, "threads": threads}
        if quick:
            continue
        if case.recipe.arch == "lenet":
            yield {
                "how": "eager", "optimizer": "fused", "images": "channels_last", "threads": threads
            }  # fmt: skip
        if machine.compiler() is not None:
            for how in ("compile", "compile-max"):
                yield {"how": how, "optimizer": "fused", "threads": threads}
            hows = ["whole", "whole-cpp"]
            if case.recipe.arch == "vanilla":  # where calls are a share of the time that one sees
                hows.append("whole-8")
            for how in hows:
                yield {"how": how, "threads": threads}


def of_jax(case: Case, quick: bool) -> Iterator[dict[str, Any]]:
    """A call a step or lax.scan; and what may help either."""
    if importlib.util.find_spec("jax") is None:
        return
    for threads in THREADS:
        lenet = case.recipe.arch == "lenet"
        if lenet:
            yield {"how": "jit", "images": "nhwc", "threads": threads}
        if quick:
            if not lenet:
                yield {"how": "jit", "threads": threads}
            continue
        yield {"how": "jit", "threads": threads}
        yield {"how": "scan", "threads": threads}
        yield {"how": "jit", "sync": "synchronous dispatch", "threads": threads}
        yield {"how": "jit", "xla": "--xla_cpu_prefer_vector_width=512", "threads": threads}
        if case.recipe.dropout:
            yield {"how": "jit", "keys": "rbg", "threads": threads}


SETTINGS: dict[str, Callable[[Case, bool], Iterator[dict[str, Any]]]] = {
    "npmlp": of_npmlp, "torch": of_torch, "jax": of_jax,
}  # fmt: skip


# -------------------------------------------------------------------------------------- a row


def tolerance(network: str) -> float:
    """How far the losses of a network's first steps may be apart."""
    return TOLERANCES.get(network, TOLERANCE)


class Checked:
    """Starts sides that have shown that they compute the training that npmlp does."""

    def __init__(self, case: Case) -> None:
        self.case, self.plain = case, case.without_dropout()
        self.apart: dict[str, float] = {}
        with Side(SCRIPTS["npmlp"], {"how": "eager", "threads": 1}) as side:
            self.expected = self._losses(side, self.plain)
            self.expected_with_dropout = self._losses(side, case)

    @staticmethod
    def _losses(side: Side, case: Case) -> dict[str, Any]:
        side.ask("build", case=case.as_json())
        losses: dict[str, Any] = side.ask("losses", steps=CHECKED_STEPS)
        return losses

    def start(self, name: str, setting: dict[str, Any]) -> Side:
        """A side with this setting. Raises SideError where its losses are others."""
        side = Side(SCRIPTS[name], setting, ENVIRONMENT)
        try:
            self._compare(name, self._losses(side, self.plain), self.expected)
            if self.case.recipe.dropout:
                losses = self._losses(side, self.case)
                # npmlp's masks are those of PyTorch eager; compiled code and JAX draw others
                if name == "npmlp" or setting["how"] == "eager":
                    self._compare(name, losses, self.expected_with_dropout)
            side.ask("build", case=self.case.at_rest().as_json())
        except BaseException:
            side.close()
            raise
        return side

    def _compare(self, name: str, losses: dict[str, Any], expected: dict[str, Any]) -> None:
        apart = compare.losses_apart(expected, losses)
        if not apart <= tolerance(self.case.recipe.arch):
            raise SideError(f"does not compute the same: losses {apart:.1e} apart")
        self.apart[name] = max(apart, self.apart.get(name, 0.0))


def measure(name: str, batch_size: int, flags: Flags) -> dict[str, Any]:
    """A row of the result."""

    def clock(side: Side) -> Callable[[], float]:
        least = BATCHES if side.setting["how"] in AT_ONCE else 1
        return compare.burst(side, flags.burst, least)

    with tempfile.TemporaryDirectory() as folder:
        checked = Checked(make_case(name, batch_size, f"{folder}/case.npz"))
        sides: dict[str, list[Side]] = {}
        tried: dict[str, list[dict[str, Any]]] = {}
        try:
            for library, settings in SETTINGS.items():
                wanted = list(settings(checked.case, flags.quick))
                if not wanted:
                    continue
                print(f"  {library}", flush=True)
                sides[library], tried[library] = compare.finalists(
                    lambda s: checked.start(library, s),  # noqa: B023
                    wanted,
                    clock,
                    flags.rounds,
                    beyond=3 if flags.quick else math.inf,
                )
            found = compare.final(sides, clock, flags.pairs)
        finally:
            for running in sides.values():
                compare.close(running)
    return {
        "network": name,
        "batch_size": batch_size,
        "checked": {
            "steps": CHECKED_STEPS, "tolerance": tolerance(name), "losses_apart": checked.apart
        },
        **found,
        "tried": tried,
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    text = f"{row['network'] + '-' + str(row['batch_size']):13}"
    for library, found in row["best"].items():
        text += f"  {library} {compare.duration(found['seconds']):>9}"
        if library != "npmlp":
            r = row["ratio"][library]
            text += f" ({r['median']:.2f}×: {r['quarter']:.2f} … {r['three_quarters']:.2f})"
    return text


def main() -> None:
    flags = tyro.cli(Flags)
    rows = {f"{name}-{size}": (name, size) for name, size in (QUICK if flags.quick else ROWS)}
    unknown = set(flags.only) - rows.keys()
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(unknown)}; the rows: {', '.join(rows)}")
    header = {"pairs": flags.pairs, "burst_seconds": flags.burst, "compiler": machine.compiler()}
    result = compare.Result("step", PARTS, header, flags.results)
    for key in flags.only or rows:
        name, size = rows[key]
        row = result.row(network=name, batch_size=size)
        if row is None:
            print(f"{key}: which settings are the fastest", flush=True)
            row = measure(name, size, flags)
            result.add(row)
        print(line(row), flush=True)
    if all(result.row(network=name, batch_size=size) for name, size in rows.values()):
        result.finish(summary=summary(result.content["rows"]))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The geometric mean of the rows' ratios, and the least, for each library."""
    found = {}
    for library in ("torch", "jax"):
        ratios = [row["ratio"][library]["median"] for row in rows if library in row["ratio"]]
        if ratios:
            found[library] = {
                "geometric_mean": compare.geometric_mean(ratios), "least": min(ratios),
            }  # fmt: skip
    return found


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the sides
    main()
