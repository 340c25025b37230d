"""What came of a lockstep run: collected step by step, as a dict for JSON, and as text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from npmlp.gradcheck import table
from reference_torch.parity.causes import Finding, first_excess
from reference_torch.parity.compare import Difference
from reference_torch.parity.lockstep import Lockstep, Step

SHOWN = ("activations", "gradients", "weights")


@dataclass
class Worst:
    """Of one array over all steps: what came nearest to what rounding allows, or passed it."""

    kind: str
    name: str
    step: int = 0
    ratio: float = 0.0
    largest: float = 0.0
    ulps: float = 0.0
    most_ulps: float = 0.0

    def see(self, step: int, found: Difference) -> None:
        if not found.ratio <= self.ratio or self.step == 0:
            self.step, self.ratio = step, found.ratio
            self.largest, self.ulps = found.largest, found.ulps
        self.most_ulps = max(self.most_ulps, found.ulps)


@dataclass
class Result:
    """Everything that is said of a run."""

    facts: dict[str, Any]
    """recipe, dtype, seed and what else it was"""
    weights_equal: bool
    steps: int = 0
    batches_equal: int = 0
    """steps whose images, labels and place in the stream were equal to the bit"""
    masks: int = 0
    masks_equal: int = 0
    worst: dict[tuple[str, str], Worst] = field(default_factory=dict)
    zero: set[str] | None = None
    turned: Counter[str] = field(default_factory=Counter)
    steps_turned: int = 0
    finding: Finding | None = None
    excesses: Counter[str] = field(default_factory=Counter)
    """steps with an excess, by kind"""
    by_step: dict[str, list[float]] = field(
        default_factory=lambda: {
            name: []
            for name in ("loss", "loss_torch", "loss_noise", "drift", "drift_noise", "ratio")
        }
    )
    layers: list[dict[str, float]] = field(default_factory=list)
    """by step, the ratio of every array"""

    def see(self, step: Step, options: dict[str, float]) -> None:
        """Take a step in."""
        self.steps += 1
        self.batches_equal += step.batches.equal
        for d in step.differences:
            if d.kind == "masks":
                self.masks += 1
                self.masks_equal += d.largest == 0
            if d.kind != "decisions":
                key = (d.kind, d.name)
                self.worst.setdefault(key, Worst(*key)).see(step.number, d)
        zero = set(step.zero)
        self.zero = zero if self.zero is None else self.zero & zero
        self.turned.update(step.turned)
        self.steps_turned += bool(step.turned)
        found = first_excess(step, options)
        if found is not None:
            self.excesses[found.kind] += 1
            self.finding = self.finding or found
        self._add(step)

    def _add(self, step: Step) -> None:
        ours, theirs, noisy = step.losses
        moving = [sums for name, sums in step.drift.items() if name not in step.zero]
        ours_apart, noise_apart, size = (sum(column) for column in zip(*moving, strict=True))
        values = {
            "loss": ours, "loss_torch": theirs, "loss_noise": noisy,
            "drift": math.sqrt(ours_apart / size), "drift_noise": math.sqrt(noise_apart / size),
            "ratio": max((d.ratio for d in step.differences), default=0.0),
        }  # fmt: skip
        for name, value in values.items():
            self.by_step[name].append(value)
        self.layers.append({f"{d.kind} {d.name}": d.ratio for d in step.differences})

    @property
    def agrees(self) -> bool:
        """Whether nothing but rounding was found."""
        return self.weights_equal and self.finding is None

    def loss_drift(self, name: str = "loss") -> list[float]:
        """By step, how far a loss is from PyTorch's, as a share of it."""
        pairs = zip(self.by_step[name], self.by_step["loss_torch"], strict=True)
        return [abs(a - b) / abs(b) if b else abs(a) for a, b in pairs]

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file; infinities, which JSON has not, as null."""
        content = {
            **self.facts,
            "agrees": self.agrees,
            "steps": self.steps,
            "initial_weights_equal": self.weights_equal,
            "batches_equal": self.batches_equal,
            "masks": self.masks,
            "masks_equal": self.masks_equal,
            "first_excess": None if self.finding is None else asdict(self.finding),
            "steps_with_excess": dict(self.excesses),
            "gradients_zero_by_construction": sorted(self.zero_names),
            "decisions_turned_by_rounding": {"steps": self.steps_turned, **self.turned},
            "arrays": [asdict(worst) for worst in self.worst.values()],
            "by_step": {**self.by_step, "loss_drift": self.loss_drift()},
            "ratio_by_step_and_array": {
                name: [round(row[name], 4) for row in self.layers] for name in self.layers[0]
            },
        }
        plain: dict[str, Any] = _finite(content)
        return plain

    def summary(self) -> dict[str, Any]:
        """The same without what is listed by step: a small file."""
        content = self.as_dict()
        del content["ratio_by_step_and_array"], content["by_step"], content["arrays"]
        drift, noise = self.loss_drift(), self.loss_drift("loss_noise")
        worst = {
            kind: max(
                (w for (k, n), w in self.worst.items() if k == kind and n not in self.zero_names),
                key=lambda w: w.ratio,
            )
            for kind in SHOWN
        }
        return content | {
            "loss_apart": {"npmlp": [max(drift), drift[-1]], "noise": [max(noise), noise[-1]]},
            "weights_apart": {
                "npmlp": self.by_step["drift"][-1], "noise": self.by_step["drift_noise"][-1],
            },
            "largest": {kind: asdict(w) for kind, w in worst.items()},
        }  # fmt: skip

    @property
    def zero_names(self) -> set[str]:
        """Parameters whose gradient was nothing but rounding in every step."""
        return self.zero or set()

    def text(self) -> str:
        """The table for the terminal, and what there is to say about it."""
        return "\n".join([*self._equal(), "", self._table(), *self._zero(), "", *self._verdict()])

    def _equal(self) -> list[str]:
        lines = [
            f"initial weights   {'equal' if self.weights_equal else 'DIFFERENT'} to the bit",
            f"batches           {self.batches_equal} of {self.steps} equal to the bit, "
            "images, labels and draws",
        ]
        if self.masks:
            lines.append(f"dropout masks     {self.masks_equal} of {self.masks} equal to the bit")
        drift, noise = self.loss_drift(), self.loss_drift("loss_noise")
        lines.append(
            f"loss              apart by {max(drift):.1e} of itself at most, {drift[-1]:.1e} at "
            f"the end; with rounding noise PyTorch is from itself {max(noise):.1e}, {noise[-1]:.1e}"
        )
        return lines

    def _table(self) -> str:
        """Of each layer the three kinds side by side: how often what rounding allows, and ulps."""
        rows: dict[str, dict[str, Worst]] = {}
        for (kind, name), worst in self.worst.items():
            if kind in SHOWN and name not in self.zero_names:
                row = name if kind == "activations" else name.rpartition(".")[0]
                kept = rows.setdefault(row, {}).get(kind)
                if kept is None or not worst.ratio <= kept.ratio:
                    rows[row][kind] = worst
        order = [name for kind, name in self.worst if kind == "activations"]
        head = ["largest of all steps", *(f"{k}: ratio (ulp)" for k in SHOWN), "at step"]
        lines = []
        for layer in order:
            found = rows.get(layer, {})
            cells = [
                f"{_short(found[kind].ratio)} ({_short(found[kind].most_ulps)})"
                if kind in found
                else "–"
                for kind in SHOWN
            ]
            last = max(found.values(), key=lambda w: w.ratio).step if found else 0
            lines.append([layer, *cells, str(last)])
        return table(head, lines)

    def _zero(self) -> list[str]:
        if not self.zero:
            return []
        worst = [self.worst["gradients", name] for name in sorted(self.zero)]
        most = max(w.ratio for w in worst)
        return [
            "",
            "gradients that are zero by construction, but for rounding (listed apart; "
            f"{_short(most)} times what it allows at most):",
            "  " + ", ".join(w.name for w in worst),
        ]

    def _verdict(self) -> list[str]:
        lines = [
            "ratio: a difference from the same state over what rounding allows; ulp: the largest "
            "difference in units in the last place of the largest entry"
        ]
        if self.steps_turned:
            named = ", ".join(f"{count} of {name}" for name, count in self.turned.items())
            lines.append(
                f"rounding turned decisions of ReLU or max-pooling around in {self.steps_turned} "
                f"steps ({named}); their gradients were compared along npmlp's way"
            )
        if not self.weights_equal:
            lines.append("FIRST EXCESS before step 1: the initial weights are not PyTorch's")
        if self.finding is not None:
            lines.append(f"FIRST EXCESS {self.finding}")
        if self.agrees:
            lines.append(f"nothing but rounding in {self.steps} steps")
        return lines


def collect(lockstep: Lockstep, count: int, facts: dict[str, Any], progress: Any = None) -> Result:
    """Run up to `count` steps. `progress` is called with each step's number."""
    result = Result(facts, lockstep.weights_equal)
    for step in lockstep.steps(count):
        result.see(step, options_of(lockstep.theirs.optimizer))
        if progress is not None:
            progress(step.number)
    return result


def options_of(optimizer: Any) -> dict[str, float]:
    """The numbers of an update, of the first group of parameters."""
    group = optimizer.param_groups[0]
    options = {name: float(group[name]) for name in ("lr", "eps") if name in group}
    if "betas" in group:
        options["beta1"], options["beta2"] = map(float, group["betas"])
    return options


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
