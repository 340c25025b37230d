"""One epoch, end to end: data, augmentation, steps, and the evaluation on 10,000 test images.

epoch_npmlp.py beside two of PyTorch: epoch_torchvision.py prepares images one by one in a
DataLoader, as tutorials do; epoch_torch.py has all in memory and augments whole batches. The second
epoch of a process is the first that counts: the first compiles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import compare
import machine
import tyro
from bench_step import CHECKED_STEPS, ENVIRONMENT, THREADS, TOLERANCE
from side import Side, SideError

from npmlp.recipes import RECIPES, Recipe

NAMES = ("vanilla", "vanilla-xavier-aug", "residual")
PARTS = (
    "bench_epoch.py", "bench_step.py", "step_torch.py", "step_case.py",
    "epoch_npmlp.py", "epoch_torchvision.py", "epoch_torch.py",
)  # fmt: skip
SCRIPTS = {
    "npmlp": "epoch_npmlp.py",
    "one_by_one": "epoch_torchvision.py",
    "whole_batches": "epoch_torch.py",
}
TUNED_ON = 6400  # images; with this many one setting of one_by_one is told from another
WHOLE = 60_000
# Shares of pixels that may differ from torchvision's, where a position is exactly between two.
# Found: none.
PIXELS_APART = 1e-3
# What the second epoch's mean loss and test accuracy may differ by where orders and draws are
# others. Of vanilla's seeds, benchmarks/results/accuracy has second epochs 0.6 % of the loss and
# 3 points of accuracy apart at most: at a rate of 0.1 the accuracy still jumps.
LOSS_APART, ACCURACY_APART = 0.05, 0.06


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Time an epoch of npmlp beside two ways to train in PyTorch."""

    only: tuple[str, ...] = ()
    """these recipes alone"""
    against: tuple[Literal["one_by_one", "whole_batches"], ...] = ("one_by_one", "whole_batches")
    """these ways alone"""
    pairs: int = 7
    """epochs of each side whose ratios are taken; of one_by_one, half as many"""
    rounds: int = 2
    """epochs of two settings that decide between them"""
    images: int = WHOLE
    """train on so many images; fewer are scaled up to 60,000, and the result says so"""
    results: Path = compare.RESULTS
    """the folder of the result file"""


def settings(name: str, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """What is tried of a side."""
    for threads in THREADS:
        if name == "npmlp":
            yield {"threads": threads}
        elif name == "one_by_one":
            for workers in (0, 2):
                yield {"workers": workers, "threads": threads}
        else:
            hows = ("eager", "compile", "whole") if machine.compiler() else ("eager",)
            for how in hows:
                for augment in ("index", "grid") if recipe.augment == "flip_affine" else ("",):
                    yield {"how": how, "augment": augment, "threads": threads}


class Starter:
    """Starts sides of one recipe and checks that they train as npmlp does."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        small = dataclasses.replace(recipe, limit=TUNED_ON)
        with Side(SCRIPTS["npmlp"], {"threads": 1}) as side:
            side.ask("build", recipe=dataclasses.asdict(recipe))
            self.losses = side.ask("losses", steps=CHECKED_STEPS)
            side.ask("build", recipe=dataclasses.asdict(small))
            self.epochs = [side.ask("epoch") for _ in range(2)]
        self.checked: dict[str, Any] = {}

    def start(self, name: str, setting: dict[str, Any]) -> Side:
        """A side that is warm. Raises SideError where it trains otherwise."""
        side = Side(SCRIPTS[name], setting, ENVIRONMENT)
        try:
            if name == "one_by_one" and setting["workers"] == 0:  # with workers it draws others
                side.ask("build", recipe=dataclasses.asdict(self.recipe))
                losses = side.ask("losses", steps=CHECKED_STEPS)
                apart = compare.losses_apart(self.losses, losses)
                self._note(name, "losses_apart", apart, TOLERANCE)
            if name == "whole_batches":
                for way, apart in side.ask("augmentation_apart").items():
                    self._note(name, f"pixels_apart_by_{way}", apart, PIXELS_APART)
            small = dataclasses.replace(self.recipe, limit=TUNED_ON)
            side.ask("build", recipe=dataclasses.asdict(small))
            for expected in self.epochs:
                found = side.ask("epoch")
                loss = abs(found["loss"] / expected["loss"] - 1)
                self._note(name, "epoch_loss_apart", loss, LOSS_APART)
            correct = abs(found["correct"] - expected["correct"]) / expected["evaluated"]
            self._note(name, "accuracy_apart", correct, ACCURACY_APART)
            if found["evaluated"] != expected["evaluated"]:
                raise SideError(f"evaluates {found['evaluated']} images")
        except BaseException:
            side.close()
            raise
        return side

    def _note(self, name: str, what: str, apart: float, most: float) -> None:
        if not apart <= most:
            raise SideError(f"does not train the same: {what} {apart:.1e}")
        found = self.checked.setdefault(name, {})
        found[what] = max(apart, found.get(what, 0.0))

    def of(self, side: Side, images: int) -> None:
        """Let a side take so many training images, and get warm on them."""
        limit = None if images >= WHOLE else images
        recipe = dataclasses.replace(self.recipe, limit=limit)
        side.ask("build", recipe=dataclasses.asdict(recipe))
        side.ask("epoch")


def clock(side: Side) -> Callable[[], float]:
    return lambda: float(side.ask("epoch")["seconds"])


def clock_of_whole(side: Side) -> Callable[[], float]:
    """The seconds of an epoch over 60,000 images, scaled where it had fewer.

    Training and evaluation are scaled apart: the evaluation has all its images either way.
    """

    def seconds() -> float:
        found = side.ask("epoch")
        if found["images"] == WHOLE:
            return float(found["seconds"])
        training = side.ask("epoch", evaluate=False)["seconds"]
        evaluation = max(0.0, found["seconds"] - training)
        return float(training * WHOLE / found["images"] + evaluation)

    return seconds


def measure(name: str, against: str, flags: Flags) -> dict[str, Any]:
    """A row of the result: one recipe against one way to train in PyTorch."""
    recipe = RECIPES[name]
    starter = Starter(recipe)
    sides: dict[str, list[Side]] = {}
    tried: dict[str, list[dict[str, Any]]] = {}
    try:
        for library in ("npmlp", against):
            print(f"  {library}", flush=True)
            sides[library], tried[library] = compare.finalists(
                lambda s: starter.start(library, s),  # noqa: B023
                settings(library, recipe),
                clock,
                flags.rounds,
            )
            for side in sides[library]:
                starter.of(side, flags.images)
        pairs = flags.pairs if against == "whole_batches" else -(-flags.pairs // 2)
        found = compare.final(sides, clock_of_whole, pairs)
    finally:
        for running in sides.values():
            compare.close(running)
    return {
        "recipe": name,
        "against": against,
        "trained_images": flags.images,
        "scaled_to": WHOLE,
        "checked": starter.checked,
        **found,
        "tried_on_images": TUNED_ON,
        "tried": tried,
    }


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    r, best = row["ratio"][row["against"]], row["best"]
    scaled = "" if row["trained_images"] == WHOLE else f", scaled from {row['trained_images']:,}"
    return (
        f"{row['recipe']:20} {row['against']:14} npmlp "
        f"{compare.duration(best['npmlp']['seconds']):>9}  PyTorch "
        f"{compare.duration(best[row['against']]['seconds']):>9}  {r['median']:.2f}× "
        f"({r['quarter']:.2f} … {r['three_quarters']:.2f}){scaled}"
    )


def main() -> None:
    flags = tyro.cli(Flags)
    unknown = set(flags.only) - set(NAMES)
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(unknown)}; the names: {', '.join(NAMES)}")
    header = {"pairs": flags.pairs, "compiler": machine.compiler()}
    result = compare.Result("epoch", PARTS, header, flags.results)
    for name in flags.only or NAMES:
        for against in flags.against:
            row = result.row(recipe=name, against=against, trained_images=flags.images)
            if row is None:
                print(f"{name}, {against}: which settings are the fastest", flush=True)
                row = measure(name, against, flags)
                result.add(row)
            print(line(row), flush=True)
    if all(result.row(recipe=n, against=a) for n in NAMES for a in ("one_by_one", "whole_batches")):
        result.finish()


if __name__ == "__main__":
    main()
