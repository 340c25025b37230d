"""What values the fields of a recipe take: of which type, in which range, and as which text."""

from __future__ import annotations

import contextlib
import math
import numbers
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from npmlp.errors import RecipeError

# from the first number to below the second; 0 itself is outside where a field is ABOVE_ZERO
RANGES: dict[str, tuple[float, float]] = {
    "dropout": (0, 1),
    "patch": (1, math.inf),
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "lr": (0, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "label_smoothing": (0, 1),
    "clip_norm": (0, math.inf),
    "factor": (0, 1),
    "patience": (0, math.inf),
    "step_size": (1, math.inf),
    "min_lr": (0, math.inf),
    "translate": (0, 1),
    "scale": (0, 1),
    "validation_size": (1, math.inf),
    "early_stopping": (1, math.inf),
    "limit": (1, math.inf),
    "seed": (-(2**63), 2**64),
}
ABOVE_ZERO = ("lr", "clip_norm", "factor")


def flag(field: str) -> str:
    """A field's name on the command line."""
    return "--" + field.replace("_", "-")


@dataclass(frozen=True)
class Kind:
    """The values that a field takes."""

    field: str
    type: type  # int, float, bool or str
    optional: bool  # None, too
    choices: tuple[str, ...]  # these alone, if there are any

    def checked(self, value: Any, where: str) -> Any:
        """The value as a recipe keeps it, or a RecipeError that begins with `where`."""
        kept, good = value, False
        if value is None and self.optional:
            return None
        if self.choices:
            good = value in self.choices
        elif self.type is bool:
            good = isinstance(value, bool)
        elif self.type is str:
            good = isinstance(value, str) and value != "" and value.isprintable()
            good = good and not set(value) & set("/\\:")
        else:
            wanted = numbers.Real if self.type is float else numbers.Integral
            if isinstance(value, wanted) and not isinstance(value, bool):
                with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
                    kept = self.type(value)  # Python's own: JSON has no words for NumPy's
                    good = self._in_range(kept)
        if good:
            return kept
        raise RecipeError(f"{where}: got {value!r}, expected {self.expected()}")

    def _in_range(self, value: float) -> bool:
        low, high = RANGES[self.field]
        return low <= value < high and (value != 0 or self.field not in ABOVE_ZERO)

    def expected(self) -> str:
        """In words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return "a name without / \\ and :"
        low, high = RANGES[self.field]
        text = "a whole number" if self.type is int else "a number"
        if low < 0:
            text += " from -2^63 to 2^64 - 1"
        else:
            text += " above 0" if self.field in ABOVE_ZERO else f" of at least {low:g}"
            text += "" if high > 1 else f" and below {high:g}"
        return text + (" or none" if self.optional else "")

    def read(self, text: str) -> Any:
        """The value that a text writes; the text itself where it is of another type."""
        text = text.strip()
        if self.optional and text.lower() == "none":
            return None
        if self.type is bool:
            return {"true": True, "false": False}.get(text.lower(), text)
        with contextlib.suppress(ValueError):
            return self.type(text)
        return text


def kind(field: str, hint: Any) -> Kind:
    """The Kind that a field's type hint says."""
    if get_origin(hint) is Literal:
        return Kind(field, str, False, get_args(hint))
    first, *rest = get_args(hint) or (hint,)
    return Kind(field, first, bool(rest), ())
