"""Which fields of a recipe change nothing in it, and why: a patch size where nothing is cut."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from npmlp.errors import RecipeError
from npmlp.recipe_fields import flag

if TYPE_CHECKING:
    from npmlp.recipes import Recipe

# the fields that decide whether others have an effect
DECIDING = ("arch", "optimizer", "weight_decay", "scheduler", "augment", "validation")


def without_effect(recipe: Recipe, field: str) -> str | None:
    """Why a field changes no number of this recipe's training, or None where it can.

    The answer depends on the DECIDING fields of the recipe alone.
    """
    r = recipe
    reasons = {
        "patch": r.arch != "mixer" and f"{r.arch} cuts no patches; mixer does",
        "dropout": r.arch == "lenet" and "lenet has none",
        "momentum": r.optimizer != "sgd" and f"{r.optimizer} has none; sgd has",
        "nesterov": r.optimizer != "sgd" and f"{r.optimizer} has none; sgd has",
        "decay": r.weight_decay == 0 and "there is no --weight-decay that acts on anything",
        "factor": _only(r.scheduler, "plateau", "step"),
        "patience": _only(r.scheduler, "plateau"),
        "step_size": _only(r.scheduler, "step"),
        "min_lr": _only(r.scheduler, "plateau", "cosine"),
        "translate": r.augment != "flip_affine" and f"--augment {r.augment} moves no image",
        "scale": r.augment != "flip_affine" and f"--augment {r.augment} scales no image",
        "validation_size": r.validation not in ("train", "test")
        and f"--validation {r.validation} holds no images out",
    }
    return reasons.get(field) or None


def _only(scheduler: str, *those: str) -> str | None:
    if scheduler in those:
        return None
    return f"--scheduler {scheduler} has none; {' and '.join(those)} ha{'ve' if those[1:] else 's'}"


def check_effects(recipe: Recipe, given: Iterable[str]) -> None:
    """Refuse fields that somebody gave and that change nothing. Raises RecipeError."""
    for field in given:
        why = without_effect(recipe, field)
        if why is not None:
            raise RecipeError(f"{flag(field)}: has no effect, for {why}; leave it out")


def never_with_effect(
    recipe: Recipe, field: str, choices: Mapping[str, Iterable[Any]]
) -> str | None:
    """Why a field changes nothing in any of the recipes that have one of each field's choices."""
    varied = {f: choices[f] for f in DECIDING if f in choices and f != field}
    reason = None
    for values in itertools.product(*varied.values()):
        changed = dict(zip(varied, values, strict=True))
        try:
            reason = without_effect(dataclasses.replace(recipe, **changed), field)
        except RecipeError:  # these do not go together, and are no recipe
            continue
        if reason is None:
            return None
    return reason
