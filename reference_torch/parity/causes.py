"""What a difference looks like the result of: the first excess of a step, in words.

A step's quantities follow from each other: batch, masks, outputs, running statistics, loss,
gradients, what the optimizer keeps, weights. The first that is off is where the fault is, or right
behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from npmlp.checkpoint import Array
from reference_torch.parity.compare import Difference
from reference_torch.parity.lockstep import Batches, Step

# what a fitted explanation may leave of a difference, for it to be an explanation
UNEXPLAINED = 0.1


@dataclass(frozen=True)
class Finding:
    """Where a step first does more than rounding allows."""

    step: int
    kind: str
    """such as "gradients"; "batch", "draws" and "options" for what is no array of the network"""
    name: str
    """the parameter's or layer's"""
    layer: str
    what: str
    """how far off"""
    cause: str
    """what it looks like"""

    def __str__(self) -> str:
        place = f" of {self.name}" if self.name else ""
        return f"step {self.step}: {self.kind}{place}: {self.what}. {self.cause}"


def first_excess(step: Step, options: dict[str, float]) -> Finding | None:
    """The first thing of a step that is more than rounding, if there is one.

    `options` are the optimizer's: lr, betas, eps, weight_decay of the group that is looked at.
    """
    if not (step.batches.images_equal and step.batches.labels_equal):
        what, cause = _of_the_batch(step.batches)
        return Finding(step.number, "batch", "", "", what, cause)
    excesses = [d for d in step.differences if d.is_excess]
    masks = [d for d in excesses if d.kind == "masks"]
    if not step.batches.same_place and not masks:
        return Finding(
            step.number, "draws", "", "", "the generators are in different places",
            "One side has drawn more random numbers than the other.",
        )  # fmt: skip
    if excesses:
        return _of_arrays(step, excesses, options)
    if step.options:
        name, ours, theirs = step.options[0]
        return Finding(
            step.number, "options", name, "", f"{ours:.9g} where PyTorch has {theirs:.9g}",
            "The scheduler or the parameter groups differ.",
        )  # fmt: skip
    return None


def _of_the_batch(batches: Batches) -> tuple[str, str]:
    (x, y), (their_x, their_y) = batches.ours, batches.theirs
    if x.shape != their_x.shape:
        return f"{len(x)} images where PyTorch has {len(their_x)}", "The batches are cut otherwise."
    apart = [i for i in range(len(x)) if x[i].tobytes() != their_x[i].tobytes()]
    labels = np.flatnonzero(y != their_y)
    if not apart:
        return (
            f"{len(labels)} of {len(y)} labels differ, first that of image {labels[0]}, "
            f"{y[labels[0]]} where PyTorch has {their_y[labels[0]]}",
            "The images are the same, so it is the labels that went wrong.",
        )
    what = f"{len(apart)} of {len(x)} images differ, first image {apart[0]}"
    if sorted(image.tobytes() for image in x) == sorted(image.tobytes() for image in their_x):
        return what, "They are the same images in another order: the batch order."
    if len(labels) == 0:
        return what, "The labels are the same, so it is how images are changed: the augmentation."
    return what, "Images and labels differ: another batch order, or another data set."


def _of_arrays(step: Step, excesses: list[Difference], options: dict[str, float]) -> Finding:
    first = excesses[0]
    same_kind = [d for d in excesses if d.kind == first.kind]
    if first.kind == "masks":
        what = f"{first.largest:.0f} of {first.scale:.0f} entries are kept or dropped otherwise"
        cause = "The weights and the draws were the same, so it is the mask itself."
        return Finding(step.number, "masks", first.name, first.layer, what, cause)
    what = (
        f"off by {first.largest:.2g}, {_times(first.ratio)} what rounding allows "
        f"({first.ulps:.3g} units in the last place of its largest entry, {first.scale:.2g})"
    )
    cause = {
        "activations": "Everything before this layer agrees, so it is what the layer computes.",
        "decisions": "A ReLU or max-pooling went a way that was not open to it.",
        "loss": "The logits agree, so it is the loss itself.",
        "gradients": "The loss and the gradients of all later layers agree, so it is this layer's "
        "gradient.",
        "moments": "The gradients agree, so it is what the optimizer keeps: its state.",
        "statistics": "The outputs agree, so it is the running statistics.",
    }.get(first.kind, "")
    if first.kind == "weights":
        several = len({d.name for d in same_kind}) > max(2, len(step.judged.weights) // 2)
        cause = (
            _of_the_update(step, options)
            if several
            else "Its gradient and the optimizer's state agree, and so do the other weights: the "
            "weights themselves were changed."
        )
    return Finding(step.number, first.kind, first.name, first.layer, what, cause)


def _times(ratio: float) -> str:
    return "more than" if math.isinf(ratio) else f"{ratio:,.3g} times"


def _of_the_update(step: Step, options: dict[str, float]) -> str:
    """Gradients and moments agree, and the weights do not: what about the update is off?"""
    moved = [_updates(step, name) for name in step.judged.weights]
    ours, theirs = (np.concatenate([m[i].ravel() for m in moved]) for i in (0, 1))
    off = float(np.linalg.norm(ours - theirs))
    beginning = "The gradients and the optimizer's state agree, so it is the update: "
    factor = float(ours @ theirs / (theirs @ theirs))
    by_factor = float(np.linalg.norm(ours - factor * theirs)) / off
    eps, by_eps = _fitted_eps(step, options, ours, off) if "eps" in options else (0.0, math.inf)
    if min(by_factor, by_eps) > UNEXPLAINED:
        return beginning + "no single factor and no other eps explains it."
    if by_eps < by_factor:
        return beginning + f"it fits an eps of {eps:.3g} in place of {options['eps']:.3g}."
    for name, expected in _missing_corrections(step, options).items():
        if abs(factor / expected - 1) < 1e-2:
            return beginning + (
                f"all of it is {factor:.4g} times PyTorch's, as without {name}: the bias "
                "correction."
            )
    return beginning + f"all of it is {factor:.4g} times PyTorch's, as with another learning rate."


def _updates(step: Step, name: str) -> tuple[Array, Array]:
    """By how much npmlp and PyTorch moved a parameter, in float64, without decoupled decay."""
    before = step.before["model"][name].astype(np.float64)
    return step.taken.weights[name] - before, step.judged.weights[name] - before


def _fitted_eps(
    step: Step, options: dict[str, float], ours: Array, off: float
) -> tuple[float, float]:
    """The eps that npmlp's updates would have come from, and what it leaves unexplained.

    θ' - θ = -lr · m̂ / (√v̂ + eps) gives eps = -lr · m̂ / (θ' - θ) - √v̂ for each entry; the median of
    those whose update is large enough to tell.
    """
    mean, root = [], []
    for name in step.judged.weights:
        count = float(step.judged.moments[f"{name} step"])
        m, v = (
            step.judged.moments[f"{name} {kept}"].astype(np.float64).ravel()
            for kept in ("exp_avg", "exp_avg_sq")
        )
        mean.append(m / (1 - options["beta1"] ** count))
        root.append(np.sqrt(v / (1 - options["beta2"] ** count)))
    means, roots = np.concatenate(mean), np.concatenate(root)
    theirs = -options["lr"] * means / (roots + options["eps"])
    # what is not of the quotient: weight decay, the same on both sides
    decay = np.concatenate([_updates(step, n)[1].ravel() for n in step.judged.weights]) - theirs
    quotient = ours - decay
    telling = np.abs(quotient - theirs) > 0.25 * np.max(np.abs(quotient - theirs))
    fits = -options["lr"] * means[telling] / quotient[telling] - roots[telling]
    eps = float(np.median(fits))
    left = -options["lr"] * means / (roots + eps) - quotient
    return eps, float(np.linalg.norm(left)) / off


def _missing_corrections(step: Step, options: dict[str, float]) -> dict[str, float]:
    """By which factor an update is off where Adam's corrections are left out."""
    if "beta1" not in options:
        return {}
    name = next(iter(step.judged.weights))
    count = float(step.judged.moments[f"{name} step"])
    first, second = 1 - options["beta1"] ** count, math.sqrt(1 - options["beta2"] ** count)
    return {
        "both corrections": first / second,
        "the first correction": first,
        "the second correction": 1 / second,
    }
