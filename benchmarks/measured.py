"""What reproduce.py measured: read from its result files, averaged, and compared in pairs.

A result file is one training: results/accuracy/<recipe>/<engine>-seed<n>.json. Pairs have the same
recipe and seed, so the same starting weights and order of images.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npmlp.recipes import RECIPES

VARIANTS = {
    f"mixer-patch{patch}": dataclasses.replace(
        RECIPES["mixer"], name=f"mixer-patch{patch}", patch=patch
    )
    for patch in (2, 7)
}
EVERYTHING = {**RECIPES, **VARIANTS}
RESULTS = Path(__file__).parent / "results" / "accuracy"
MARGIN = 0.005  # npmlp and PyTorch are said to agree where the 95 % interval is inside of it


@dataclass(frozen=True)
class Goal:
    """What a recipe's original reported, and what npmlp must reach as a mean over seeds."""

    theirs: str
    accuracy: float | None
    exactly: bool = False  # the accuracy, on every seed, with the loss at chance


GOALS = {
    "vanilla": Goal("loss 0.2477, accuracy 0.7540", 0.87),
    "vanilla-zeros": Goal("loss 2.3027, accuracy 0.1000", 0.1, exactly=True),
    "vanilla-xavier": Goal("loss 0.2433, accuracy 0.7497", 0.87),
    "vanilla-xavier-aug": Goal("loss 0.3319, accuracy 0.8481", 0.85),
    "vanilla-xavier-aug-dropout": Goal("loss 0.5413, accuracy 0.8289", 0.83),
    "vanilla-double-softmax": Goal("no figure", None),
    "lenet": Goal("accuracy 0.8923", 0.89),
    "mixer": Goal("no figure in words", 0.885),
    "residual": Goal("validation 0.9156, test half 0.9202", 0.913),
}


class Measured:
    """The trainings of one recipe, by engine ("npmlp" or "torch") and seed."""

    def __init__(self, name: str, folder: Path = RESULTS) -> None:
        self.name = name
        self.trainings: dict[str, dict[int, dict[str, Any]]] = {"npmlp": {}, "torch": {}}
        for path in sorted((folder / name).glob("*-seed*.json")):
            found = json.loads(path.read_text())
            if found["recipe"] != dataclasses.asdict(
                dataclasses.replace(EVERYTHING[name], seed=found["seed"])
            ):
                continue  # of the recipe as it was once
            self.trainings[found["engine"]][found["seed"]] = found

    def seeds(self, engine: str) -> list[int]:
        """The seeds that were trained, in order."""
        return sorted(self.trainings[engine])

    def values(self, engine: str, field: str = "test_accuracy") -> list[float]:
        """A field of the summaries, by seed."""
        return [self.trainings[engine][seed][field] for seed in self.seeds(engine)]

    def mean(self, engine: str, field: str = "test_accuracy") -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values(engine, field))

    def spread(self, engine: str, field: str = "test_accuracy") -> float:
        """The standard deviation over the seeds, 0 of a single one."""
        values = self.values(engine, field)
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def differences(self) -> list[float]:
        """npmlp's test accuracy less PyTorch's, for each seed that both have."""
        ours, theirs = self.trainings["npmlp"], self.trainings["torch"]
        return [
            ours[seed]["test_accuracy"] - theirs[seed]["test_accuracy"]
            for seed in sorted(ours.keys() & theirs.keys())
        ]

    def epochs_alike(self) -> tuple[int, int, float]:
        """Epochs after which both engines have the same test accuracy, of how many; most apart."""
        ours, theirs = self.trainings["npmlp"], self.trainings["torch"]
        field = "test_accuracy_by_epoch"
        apart = [
            abs(a - b)
            for seed in sorted(ours.keys() & theirs.keys())
            for a, b in zip(ours[seed][field], theirs[seed][field], strict=True)
        ]
        return apart.count(0.0), len(apart), max(apart, default=0.0)

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean difference (Student's t, paired); None below 2 pairs."""
        from scipy import stats

        d = self.differences()
        if len(d) < 2:
            return None
        if not any(d):  # the same on every seed, which has no spread to speak of
            return 0.0, 0.0
        found = stats.ttest_1samp(d, 0.0).confidence_interval(0.95)
        return float(found.low), float(found.high)

    def agrees(self) -> bool:
        """Whether the interval is inside the margin."""
        interval = self.interval()
        return interval is not None and interval[0] > -MARGIN and interval[1] < MARGIN

    def shortfalls(self, least_seeds: int = 3) -> list[str]:
        """What is not as it must be, in sentences."""
        goal, found = GOALS[self.name], []
        for engine in ("npmlp", "torch"):
            if len(self.seeds(engine)) < least_seeds:
                found.append(f"{self.name}: {engine} has {len(self.seeds(engine))} seeds")
        if found:
            return found
        if self.seeds("npmlp") != self.seeds("torch"):
            found.append(f"{self.name}: npmlp and torch have other seeds, so the means do not pair")
        ours = self.values("npmlp")
        if goal.exactly:
            losses = self.values("npmlp", "train_loss")
            # the loss at chance is ln 10 = 2.3026
            if set(ours) != {goal.accuracy} or any(abs(x - 2.3026) > 0.001 for x in losses):
                found.append(f"{self.name}: accuracies {ours}, losses {losses}")
        elif goal.accuracy is not None and self.mean("npmlp") < goal.accuracy:
            found.append(
                f"{self.name}: mean accuracy {self.mean('npmlp'):.4f}, expected {goal.accuracy}"
            )
        if not self.agrees():
            found.append(f"{self.name}: the interval {self.interval()} is not inside ±{MARGIN}")
        return found
