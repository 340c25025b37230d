"""Reading arguments as PyTorch does: pairs of numbers, batches of one image, old spellings."""

from __future__ import annotations

import operator
import warnings
from typing import TYPE_CHECKING, Any

from npmlp import functions
from npmlp.errors import DTypeError, GraphError, NpmlpError, ShapeError

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

Pair = tuple[int, int]


def check_tensor(op: str, name: str, x: Any) -> None:
    """Raises DTypeError where `x` is not a Tensor."""
    if not hasattr(x, "_data"):
        kind = type(x).__name__
        make = "from_numpy" if kind == "ndarray" else "tensor"
        raise DTypeError(
            f"{op}: {name} is a {kind}, expected a Tensor; make it one with npmlp.{make}(...)"
        )


def check_constant(op: str, name: str, x: Tensor | None) -> None:
    """Raises GraphError where `x` asks for a gradient that the operation does not compute."""
    if x is not None:
        check_tensor(op, name, x)
        if x.requires_grad:
            raise GraphError(
                f"{op}: {name} requires a gradient, which PyTorch does not compute here either; "
                f"pass {name}.detach()"
            )


def pair(op: str, name: str, value: Any) -> Pair:
    """One number for both directions, or (vertical, horizontal)."""
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    try:
        whole = tuple(operator.index(n) for n in numbers)
    except TypeError:
        whole = ()
    if len(whole) not in (1, 2):
        raise ShapeError(f"{op}: {name} is {value!r}, expected a whole number or a pair of them")
    return whole[0], whole[-1]


def as_batch(op: str, x: Tensor) -> tuple[Tensor, bool]:
    """An image (C, H, W) as a batch of one, and whether it was one; a batch as it is."""
    check_tensor(op, "input", x)
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"{op}: input has shape {tuple(x.shape)}, expected (N, C, H, W), or (C, H, W) for one "
            "image"
        )
    return (functions.unsqueeze(x, 0), True) if x.ndim == 3 else (x, False)


def as_given(out: Tensor, was_one: bool) -> Tensor:
    """The result of one image without the dimension that `as_batch` added."""
    if not was_one:
        return out
    out = functions.squeeze(out, 0)
    out._view = False  # it may be changed in place: nobody else has the batch that it is a view of
    return out


def choose_reduction(
    size_average: bool | None, reduce: bool | None, reduction: str, stacklevel: int = 3
) -> str:
    """The reduction, also where it is written with PyTorch's older size_average and reduce."""
    if size_average is not None or reduce is not None:
        if reduce is not None and not reduce:
            reduction = "none"
        elif size_average is not None and not size_average:
            reduction = "sum"
        else:
            reduction = "mean"
        warnings.warn(
            "size_average and reduce args will be deprecated, please use "
            f"reduction='{reduction}' instead.",
            stacklevel=stacklevel,
        )
    if reduction not in ("none", "mean", "sum"):
        raise NpmlpError(f"reduction is {reduction!r}, expected 'none', 'mean' or 'sum'")
    return reduction
