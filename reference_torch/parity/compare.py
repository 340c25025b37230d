"""Two records of one step from one state: what differs, and is it more than rounding allows?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.checkpoint import Array
from reference_torch.parity.record import UNKNOWN, Record

# how often the noise of one sample an error may reach; both are the largest of many random ones
MARGIN = 8.0
# units in the last place of the largest entry, for the roundings of the array's own computation
FLOOR = 4.0


@dataclass(frozen=True)
class Difference:
    """What is furthest apart in one array."""

    kind: str
    """such as "gradients" """
    name: str
    """of the layer or parameter"""
    largest: float
    """the largest difference of an entry"""
    allowed: float
    """what rounding allows"""
    scale: float
    """the largest entry"""
    ulps: float
    """the largest difference in units in the last place of the largest entry"""

    @property
    def ratio(self) -> float:
        """How often it is what rounding allows; above 1 it is more."""
        if self.largest == 0:
            return 0.0
        return self.largest / self.allowed if self.allowed else math.inf

    @property
    def is_excess(self) -> bool:
        """Whether rounding cannot be why. Not-a-number counts."""
        return not self.ratio <= 1

    @property
    def layer(self) -> str:
        """The layer that it belongs to."""
        name = self.name.split(" ")[0].partition("#")[0]
        if self.kind in ("gradients", "moments", "weights", "statistics"):
            return name.rpartition(".")[0] or name
        return name


def difference(
    kind: str, name: str, ours: Array, theirs: Array, noise: float, floor: float = FLOOR
) -> Difference:
    """Of two arrays; `noise` is what rounding does to their entries before they are stored.

    `floor`: units in the last place of the largest entry that are allowed in any case.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return Difference(kind, name, math.inf, 0.0, 0.0, math.inf)
    if ours.size == 0:
        return Difference(kind, name, 0.0, 0.0, 0.0, 0.0)
    if theirs.dtype.kind != "f":
        largest = float(np.max(np.abs(ours.astype(np.float64) - theirs.astype(np.float64))))
        return Difference(kind, name, largest, 0.0, float(np.max(np.abs(theirs))), largest)
    scale = np.max(np.abs(theirs))
    spacing = float(np.spacing(scale))
    largest = float(np.max(np.abs(ours - theirs)))
    allowed = noise + floor * spacing
    return Difference(kind, name, largest, allowed, float(scale), largest / spacing)


def apart(theirs: Array, noisy: Array) -> float:
    """What rounding allows two right answers to be apart, from one with noise in it."""
    return MARGIN * float(np.max(np.abs(noisy - theirs), initial=0.0))


def differences(
    ours: Record, theirs: Record, noisy: Record, before: dict[str, Any], clip_norm: float | None
) -> Iterator[Difference]:
    """Of everything in the records, in the order in which one thing follows from another.

    Masks come first, for they are drawn and do not follow from anything. Gradients come from the
    last layer to the first. `before` is the state that the step began with.
    """
    for name, mask in theirs.masks.items():
        known = (mask != UNKNOWN) & (ours.masks[name] != UNKNOWN)
        unequal = float(np.sum(known & (ours.masks[name] != mask)))
        yield Difference("masks", name, unequal, 0.0, float(mask.size), unequal)
    yield from _of_each("activations", ours.activations, theirs.activations, noisy.activations)
    yield from _of_each("statistics", ours.statistics, theirs.statistics, noisy.statistics)
    yield _of_losses(ours, theirs, noisy)
    backward = {name: theirs.gradients[name] for name in reversed(theirs.gradients)}
    yield from _of_each("gradients", ours.gradients, backward, noisy.gradients)
    yield from _of_the_update(ours, theirs, before, clip_norm)


def _of_each(
    kind: str, ours: Mapping[str, Array], theirs: Mapping[str, Array], noisy: Mapping[str, Array]
) -> Iterator[Difference]:
    for name, array in theirs.items():
        if name not in ours:
            yield Difference(kind, name, math.inf, 0.0, 0.0, math.inf)
        else:
            yield difference(kind, name, ours[name], array, apart(array, noisy[name]))


def _of_the_update(
    ours: Record, theirs: Record, before: dict[str, Any], clip_norm: float | None
) -> Iterator[Difference]:
    """From the same gradients an update is a few roundings of each entry, and clipping one factor.

    The factor has the error of the norm, a sum of n squares: √n·u of itself at most.
    """
    n = sum(gradient.size for gradient in theirs.gradients.values())
    for kind, mine, torchs in (
        ("moments", ours.moments, theirs.moments),
        ("weights", ours.weights, theirs.weights),
    ):
        for name, array in torchs.items():
            if name not in mine:
                yield Difference(kind, name, math.inf, 0.0, 0.0, math.inf)
                continue
            moved = array - before["model"][name] if kind == "weights" else array
            u = float(np.finfo(array.dtype).eps) / 2
            # a second moment has the factor twice; the division and the root are some u as well
            relative = (2 * math.sqrt(n) if clip_norm is not None else 0.0) + 2 * FLOOR
            noise = 2 * relative * u * float(np.max(np.abs(moved), initial=0.0))
            yield difference(kind, name, mine[name], array, noise)


def _of_losses(ours: Record, theirs: Record, noisy: Record) -> Difference:
    """A loss moves by no more than twice what its logits move by, and is itself rounded."""
    last = next(reversed(theirs.activations))
    logits = theirs.activations[last]
    allowed = 2 * apart(logits, noisy.activations[last])
    eps = float(np.finfo(logits.dtype).eps)
    scale = max(1.0, abs(theirs.loss))
    largest = abs(ours.loss - theirs.loss)
    return Difference(
        "loss", "loss", largest, allowed + 2 * FLOOR * eps * scale, abs(theirs.loss),
        largest / (eps * scale),
    )  # fmt: skip


def turned(ours: Record, theirs: Record) -> dict[str, int]:
    """How many decisions of each layer went the other way, by layer, of those with any."""
    counts = {
        name: int(np.sum(ours.decisions[name] != decision))
        for name, decision in theirs.decisions.items()
    }
    return {name: count for name, count in counts.items() if count}


def wrong_decisions(ours: Record, theirs: Record, noisy: Record) -> Iterator[Difference]:
    """Decisions that went the other way although they were not near enough to it for rounding."""
    for name in turned(ours, theirs):
        margins = theirs.margins[name]
        scale = float(np.spacing(np.max(margins[np.isfinite(margins)], initial=0.0)))
        bound = apart(margins, noisy.margins[name]) + FLOOR * scale
        largest = float(np.max(margins[ours.decisions[name] != theirs.decisions[name]]))
        found = Difference("decisions", name, largest, bound, float(np.max(margins)), largest)
        if found.is_excess:
            yield found


def is_nothing_but_rounding(name: str, theirs: Record, noisy: Record) -> bool:
    """Whether a parameter's gradient is as small as its own rounding error: 0 by construction.

    So is the gradient of a bias in front of BatchNorm, which takes every constant away.
    """
    gradient = theirs.gradients[name]
    noise = np.max(np.abs(noisy.gradients[name] - gradient), initial=0.0)
    return bool(np.max(np.abs(gradient), initial=0.0) <= MARGIN * noise)
