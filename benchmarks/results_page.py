"""Write docs/results.md from the measured files alone: every figure in its text comes from them."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import jinja2
from measured import EVERYTHING, GOALS, MARGIN, Measured

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
DASH = "–"
VARIANTS = (
    ("vanilla", "–"),
    ("vanilla-zeros", "all weights and biases zero"),
    ("vanilla-xavier", "Xavier normal weights, zero biases"),
    ("vanilla-xavier-aug", "and mirrored, moved and scaled images"),
    ("vanilla-xavier-aug-dropout", "and dropout 0.5 on the hidden layer"),
    ("vanilla-double-softmax", "vanilla with a softmax before the loss"),
)


def share(value: float | None, digits: int = 4) -> str:
    """A share of 0 to 1."""
    return DASH if value is None else f"{value:.{digits}f}"


class Tables:
    """What the template asks for."""

    def __init__(self) -> None:
        self.measured = {name: Measured(name) for name in (*GOALS, "mixer-patch2", "mixer-patch7")}
        epochs = HERE / "results" / "epochs.json"
        self.epochs: dict[str, Any] = json.loads(epochs.read_text()) if epochs.exists() else {}

    def accuracy(self, name: str, engine: str = "npmlp", field: str = "test_accuracy") -> str:
        """A mean over the seeds."""
        found = self.measured[name]
        return share(found.mean(engine, field)) if found.seeds(engine) else DASH

    def mean_and_spread(self, name: str, engine: str) -> str:
        """The mean over the seeds ± the standard deviation, and how many seeds."""
        found = self.measured[name]
        seeds = found.seeds(engine)
        if not seeds:
            return DASH
        spread = f" ± {found.spread(engine):.4f}" if len(seeds) > 1 else ""
        return f"{found.mean(engine):.4f}{spread} ({len(seeds)})"

    def interval(self, name: str) -> str:
        """The difference in points with its 95 % interval."""
        found = self.measured[name].interval()
        if found is None:
            return DASH
        mean = statistics.fmean(self.measured[name].differences())
        low, high = (f"{100 * value:+.2f}" for value in found)
        return f"{100 * mean:+.2f} ({low} … {high})"

    def seconds(self, name: str, engine: str) -> str:
        """The median of the measured seconds per epoch."""
        found = self.epochs.get("seconds_per_epoch", {}).get(name, {}).get(engine)
        return f"{statistics.median(found):.2f}" if found else DASH

    def times(self, name: str) -> str:
        """How many times PyTorch's epoch is npmlp's."""
        found = self.epochs.get("seconds_per_epoch", {}).get(name)
        if not found:
            return DASH
        return f"{statistics.median(found['torch']) / statistics.median(found['npmlp']):.1f}"

    def share_of_time(self, name: str, other: str) -> str:
        """How much of the other's time an epoch takes in npmlp, in percent."""
        found = self.epochs["seconds_per_epoch"]
        mine, others = (statistics.median(found[n]["npmlp"]) for n in (name, other))
        return f"{mine / others:.0%}".replace("%", " %")

    def patches_apart(self) -> str:
        """The widest gap between the mean accuracies of the mixer's patch sizes, in points."""
        means = [self.measured[n].mean("npmlp") for n in ("mixer-patch2", "mixer", "mixer-patch7")]
        return f"{100 * (max(means) - min(means)):.2f}"

    def machine(self) -> str:
        """The machine of the timings."""
        found = self.epochs.get("machine")
        return f"{found['processor']}, {found['cores']} cores" if found else DASH

    def whole(self, engine: str) -> str:
        """The wall time of residual's whole command, in seconds."""
        found = self.epochs.get("whole_command_seconds", {}).get("residual", {}).get(engine)
        return f"{found:.0f}" if found else DASH

    def parameters(self, name: str) -> str:
        """How many parameters the recipe's network has."""
        from npmlp import models

        return f"{sum(p.numel() for p in models.build(EVERYTHING[name]).parameters()):,}"

    def goal(self, name: str) -> str:
        """What the recipe must reach."""
        goal = GOALS[name]
        if goal.accuracy is None:
            return "it runs, and the linter speaks"
        return f"exactly {goal.accuracy:.4f}" if goal.exactly else f"≥ {goal.accuracy:.3f}"

    def theirs(self, name: str) -> str:
        """What the original reported."""
        return GOALS[name].theirs

    def is_met(self, name: str) -> str:
        """Whether it reached it, with PyTorch beside it."""
        return "no" if self.measured[name].shortfalls() else "yes"

    def alike(self, name: str) -> str:
        """How alike the two engines are, epoch by epoch, in words."""
        same, count, apart = self.measured[name].epochs_alike()
        return f"after {same} of {count} epochs, and {100 * apart:.2f} points apart at most"

    def has_grid(self, name: str) -> bool:
        """Whether a shipped grid is measured, and its heatmap beside the page."""
        return (HERE / "results" / f"{name}.json").exists()

    def best_cell(self, name: str) -> str:
        """The best cell of a grid in words, with its accuracies and what is as good."""
        best = json.loads((HERE / "results" / f"{name}.json").read_text())["best"]
        cell = ", ".join(f"{field} {value}" for field, value in best["values"].items())
        others = best["as_good_within_it"] or "no"
        return (
            f"{cell}, with {best['validation_accuracy']:.4f} on the held-out images (standard "
            f"error {best['standard_error']:.4f}; {others} other cells are as good within it) and "
            f"{best['test_accuracy']:.4f} on the test images, on which it was not chosen"
        )

    def best_rates(self) -> str:
        """Of the first grid, which batch sizes each learning rate is best for."""
        with open(HERE / "results" / "lenet-batch-lr.csv", newline="") as file:
            rows = list(csv.DictReader(file))  # best first
        sizes: dict[float, list[int]] = {}
        for size in sorted({int(row["batch_size"]) for row in rows}):
            best = next(row for row in rows if int(row["batch_size"]) == size)
            sizes.setdefault(float(best["lr"]), []).append(size)
        return " and ".join(
            f"{rate:g} is best for batches of {', '.join(map(str, of))}"
            for rate, of in sizes.items()
        )

    def lr_drops(self, name: str, seed: int = 0) -> str:
        """After which epochs the plateau scheduler lowered the rate."""
        rates = self.measured[name].trainings["npmlp"].get(seed, {}).get("lr_by_epoch", [])
        drops = [str(i) for i in range(1, len(rates)) if rates[i] < rates[i - 1]]
        return ", ".join(drops) or "none"


def render() -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("results.md.j2")
    return template.render(t=Tables(), goals=list(GOALS), margin=100 * MARGIN, variants=VARIANTS)


def main() -> None:
    PAGE.write_text(render())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
