"""The rules: each a function from facts to a Finding or None, with its threshold and the reason.

The facts are plain numbers and NumPy arrays, whatever has computed them. docs/mistakes.md has a
paragraph for each rule, under its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from npmlp.lint.finding import Finding
from npmlp.observe import Array, Dead

RULES = (
    "zero-init", "double-softmax", "different-preparation", "missing-labels", "chosen-on-reported",
    "dead-relus", "loss-at-chance", "loss-rises",
)  # fmt: skip

# ------------------------------------------------------------------------------- before training


def zero_init(stuck: Sequence[str]) -> Finding | None:
    """Layers start at zero and stay there.

    Parameters: `stuck`, names of the layers whose weights are all zero and get no gradient.

    No threshold: the gradient has to be exactly zero. A last layer that starts at zero behind a
    random one is not meant: it gets a gradient, and learns.
    """
    if not stuck:
        return None
    return Finding(
        "zero-init",
        f"all weights of {_listed(stuck)} are zero and get no gradient, so they stay zero; start "
        "from random weights",
    )


# Σ p = 1 to float32's rounding over up to a thousand classes; logits do not do that by chance
PROBABILITY = 1e-4


def double_softmax(outputs: Array, loss: str, last: str = "") -> Finding | None:
    """Softmax cross-entropy is fed probabilities, and takes the softmax of them once more.

    Parameters: `outputs` (N, C) of the network; `loss`, the class or function that takes them;
    `last`, the class of the network's last layer.
    """
    if loss not in ("CrossEntropyLoss", "cross_entropy") or outputs.ndim < 2:
        return None
    values = outputs.astype(np.float64)
    one = values.shape[1] > 1 and bool((values >= 0).all())
    probabilities = last == "Softmax" or (one and _sum_to_one(values))
    if probabilities:
        return Finding(
            "double-softmax",
            "the network's outputs are probabilities already, and the loss takes their softmax "
            "again; feed it the logits",
        )
    if last == "LogSoftmax":
        return Finding(
            "double-softmax",
            "the network ends in LogSoftmax, and the loss takes the same again, which changes "
            "nothing and costs time; feed it the logits, or use NLLLoss",
        )
    return None


def _sum_to_one(values: Array) -> bool:
    return bool((abs(values.sum(axis=1) - 1) < PROBABILITY).all())


# Standardising one side only moves the mean by 0.28 or 0.8 deviations and the scale by 2.8, and
# [-1, 1] beside standardised is 0.43 and 1.4. Mirroring and moving by ±10 % with scale ±10 % moves
# the mean by 0.03 and the scale by 1.01, ±30 % by 0.13 and 1.05.
MEANS_APART = 0.25
SCALES_APART = 1.25
# and so many standard errors on top, so that a small sample is no reason: 4 is 1 in 16,000
ERRORS = 4.0


def different_preparation(train: Array, test: Array) -> Finding | None:
    """The network is fed train and test inputs on different scales.

    Parameters: `train` and `test`, inputs (N, …) as the network gets them.

    Compared are an image's mean and its deviation, averaged over the images of each side: means
    apart by more than MEANS_APART deviations of the test pixels, or deviations by more than the
    factor SCALES_APART, count as different.
    """
    sides = [side.reshape(len(side), -1).astype(np.float64) for side in (train, test)]
    unit = sides[1].std() or 1.0
    means = [side.mean(axis=1) / unit for side in sides]
    apart = abs(means[0].mean() - means[1].mean()) - ERRORS * _error(*means)

    scales = [side.std(axis=1) for side in sides]
    levels = [max(float(scale.mean()), 1e-12) for scale in scales]
    factor = abs(math.log(levels[0] / levels[1]))
    factor -= ERRORS * _error(*(s / level for s, level in zip(scales, levels, strict=True)))
    if apart <= MEANS_APART and factor <= math.log(SCALES_APART):
        return None
    texts = [f"mean {side.mean():.3f}, deviation {side.std():.3f}" for side in sides]
    return Finding(
        "different-preparation",
        f"train and test inputs are prepared differently: train {texts[0]}; test {texts[1]}",
    )


def _error(*samples: Array) -> float:
    """The standard error of the difference between the means of samples."""
    return math.sqrt(sum(sample.var() / len(sample) for sample in samples))


def missing_labels(train: Array, test: Array, classes: Sequence[str]) -> Finding | None:
    """Classes that the network has outputs for, or is tested on, and that it is never shown.

    Parameters: `train` and `test`, all labels of each; `classes`, their names.

    No threshold: not one image of the class is among those trained on.
    """
    in_train, in_test = set(np.unique(train).tolist()), set(np.unique(test).tolist())
    missing = sorted((set(range(len(classes))) | in_test) - in_train)
    if not missing:
        return None
    names = [classes[i] if 0 <= i < len(classes) else f"label {i}" for i in missing]
    tested = int(np.isin(test, missing).sum())
    return Finding(
        "missing-labels",
        f"no training image is labelled {_listed(names, 'or')}, so the network cannot learn it; "
        f"{tested:,} of {len(test):,} test images are",
    )


# ------------------------------------------------------------------------------ how one chooses


def chosen_on_reported(what: Sequence[str]) -> Finding | None:
    """Something is chosen on the images whose accuracy is reported.

    Parameters: `what`, the things that are chosen on them.

    No threshold: how much too high the figure becomes cannot be known from the figure.
    """
    if not what:
        return None
    return Finding(
        "chosen-on-reported",
        f"{_listed(what)} {'is' if len(what) == 1 else 'are'} chosen on the images whose accuracy "
        "is reported, which makes it too high; choose on others (--validation train)",
    )


def best_of_several(accuracies: Sequence[float], count: int) -> Finding | None:
    """Who takes the best of several recipes by test accuracy has chosen on the reported images.

    Parameters: `accuracies` on the test images, one of each recipe, its mean where it ran several
    times; `count`, how many images these are.

    Says how much of it can be chance alone: the best of k equally good ones is expected E_k
    standard errors √(p(1 - p)/count) above their mean, where E_k ≈ Φ⁻¹((k - 0.375)/(k + 0.25)).
    The images are the same for all, which makes it less, and so do means of several seeds.
    """
    k = len(accuracies)
    if k < 2:
        return None
    from statistics import NormalDist

    p = float(np.mean(accuracies))
    gain = NormalDist().inv_cdf((k - 0.375) / (k + 0.25)) * math.sqrt(p * (1 - p) / count)
    return Finding(
        "chosen-on-reported",
        f"picking the best of {k} recipes by test accuracy is a choice on the reported images; of "
        f"{k} equally good ones the best looks up to {100 * gain:.1f} points better by chance",
    )


# ----------------------------------------------------------------------------- after every epoch

# no layer of the nine recipes, vanilla-zeros apart, has more than a quarter of its units dead; a
# rate that ruins vanilla, 1.0, kills 54 to 59 of 100
SHARE_DEAD = 0.5


def dead_relus(dead: Mapping[str, Dead], epoch: int | None = None) -> Finding | None:
    """Many ReLU units are above zero for no image: they give nothing and learn nothing.

    Parameters: `dead`, how many of the units of each layer, as observe.dead_relus counts them.

    Any layer with more than SHARE_DEAD of its units dead is named.
    """
    bad = {name: d for name, d in dead.items() if d.dead > SHARE_DEAD * d.units}
    if not bad:
        return None
    counts = [f"{d.dead} of {d.units} behind {name}" for name, d in bad.items()]
    return Finding(
        "dead-relus",
        f"ReLU units that are above zero for no held-out image learn nothing: {_listed(counts)}; "
        "try a lower learning rate",
        epoch,
    )


# vanilla-zeros stays within 0.0005 of chance
AT_CHANCE = 0.01


def loss_at_chance(
    loss: float, labels: Array, epoch: int | None = None, tested: float | None = None
) -> Finding | None:
    """After an epoch the network knows no more than how frequent the classes are.

    Parameters: `loss`, the epoch's mean training loss; `labels` of the training images; `tested`,
    the loss on other images after the epoch, if known: the mean over an epoch of a few steps can be
    that of guessing, although the last of them were better.

    Chance is -Σ p ln p over the classes' shares p: ln(classes) where all are equally frequent.
    Within AT_CHANCE of it counts as at chance.
    """
    counts = np.unique(labels, return_counts=True)[1]
    p = counts / counts.sum()
    chance = float(-(p * np.log(p)).sum())
    seen = [loss] if tested is None else [loss, tested]
    if len(p) < 2 or not all(abs(value - chance) < AT_CHANCE for value in seen):
        return None
    return Finding(
        "loss-at-chance",
        f"the training loss, {loss:.4f}, is that of guessing among {len(p)} classes, {chance:.4f}: "
        "nothing has been learned",
        epoch,
    )


# the largest rise measured in the nine recipes is 0.005, 0.002 · ln(classes); vanilla at six times
# its own rate rises by 0.146, 0.06 · ln(classes)
RISE = 0.05
# the first steps from Xavier or Kaiming weights can be at 1.4 · ln(classes)
WORSE_THAN_CHANCE = 2.0


def loss_rises(losses: Sequence[float], classes: int, epoch: int | None = None) -> Finding | None:
    """The training loss goes up, as it does with too high a learning rate.

    Parameters: `losses`, the mean training loss of every epoch so far; `classes`.

    The last is more than RISE · ln(classes) above the lowest before it, or more than
    WORSE_THAN_CHANCE · ln(classes) at all.
    """
    chance, last = math.log(classes), losses[-1]
    lowest = min(losses[:-1], default=math.inf)
    if last > lowest + RISE * chance:
        what = f"the training loss has risen to {last:.4g} from {lowest:.4g}"
    elif last > WORSE_THAN_CHANCE * chance:
        what = f"the training loss is {last:.4g}, and guessing gives {chance:.4g}"
    else:
        return None
    return Finding("loss-rises", f"{what}; try a third of the learning rate", epoch)


def _listed(names: Sequence[str], joint: str = "and") -> str:
    """a, b and c"""
    *first, last = names
    return f"{', '.join(first)} {joint} {last}" if first else last
