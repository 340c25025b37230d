"""What layers do with their arguments: check sizes, make pairs, make empty parameters."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from npmlp.creation import empty
from npmlp.errors import NpmlpError
from npmlp.nn.parameter import Parameter

Pair = int | tuple[int, int]


class ArgumentError(NpmlpError, ValueError):
    """An argument of a layer or an initialiser that makes no sense."""


def checked_size(layer: str, argument: str, value: Any) -> int:
    """A whole number that is not negative."""
    try:
        size = operator.index(value)
    except TypeError:
        size = -1
    if size < 0:
        raise ArgumentError(f"{layer}: {argument} is {value!r}, expected a whole number from 0 on")
    return size


def pair(layer: str, argument: str, value: Any, least: int = 1) -> tuple[int, int]:
    """One number for height and width alike, or two."""
    both = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(both) != 2 or not all(isinstance(n, int) and n >= least for n in both):
        raise ArgumentError(
            f"{layer}: {argument} is {value!r}, expected a whole number of at least {least}, or "
            "two (height, width)"
        )
    return both[0], both[1]


def new_parameter(shape: Sequence[int], dtype: Any, device: Any) -> Parameter:
    """A parameter whose entries are still to be set."""
    return Parameter(empty(tuple(shape), dtype=dtype, device=device))
