"""Size and device: two small types that scripts print and compare, and what asks about tensors."""

from __future__ import annotations

import math
from typing import Any

from npmlp.errors import OutsideSubsetError


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple that prints as PyTorch's does."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of entries of a tensor of this shape."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        picked = super().__getitem__(index)
        return Size(picked) if isinstance(index, slice) else picked

    def __add__(self, other: Any) -> Size:
        return Size(tuple(self) + tuple(other))


class device:
    """`npmlp.device("cpu")`, the only one there is."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name = str(type)
        if name.split(":")[0] != "cpu":
            raise OutsideSubsetError(f'device {name!r}: npmlp computes on the CPU; use "cpu"')
        self.type = "cpu"
        self.index = index

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __str__(self) -> str:
        return "cpu"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and other.type == self.type

    def __hash__(self) -> int:
        return hash(self.type)


_CPU = device("cpu")


def set_default_device(device: Any) -> None:
    """Accepted for the CPU, where tensors are anyway. Raises OutsideSubsetError for others."""
    type(_CPU)("cpu" if device is None else device)


def get_default_device() -> device:
    """The CPU."""
    return _CPU


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: results repeat bit for bit anyway."""


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products of float32 are always computed in float32, "highest".

    Raises ValueError for what PyTorch does not know either.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(
            f"set_float32_matmul_precision: got {precision!r}, expected 'highest', 'high' or "
            "'medium'"
        )


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    from npmlp.tensor import Tensor

    return isinstance(obj, Tensor)


def is_floating_point(input: Any) -> bool:
    """Whether a tensor has floats."""
    return bool(input.is_floating_point())


def numel(input: Any) -> int:
    """The number of a tensor's entries."""
    return int(input.numel())
