"""Flatten and Unflatten: several dimensions as one, and one as several."""

from __future__ import annotations

from collections.abc import Sequence

from npmlp import functions
from npmlp.nn.arguments import ArgumentError
from npmlp.nn.functional.arguments import check_tensor
from npmlp.nn.module import Module
from npmlp.ops.common import normalize_dim
from npmlp.tensor import Tensor


class Flatten(Module):
    """The dimensions from start_dim to end_dim as one: (N, C, H, W) becomes (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        check_tensor("Flatten", "input", input)
        return functions.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Dimension `dim` as several of the sizes in `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        is_sizes = isinstance(unflattened_size, (tuple, list))
        if not is_sizes or not all(isinstance(n, int) for n in unflattened_size):
            raise ArgumentError(
                f"Unflatten: unflattened_size must be a tuple of ints, got {unflattened_size!r}"
            )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        check_tensor("Unflatten", "input", input)
        shape = tuple(input.shape)
        d = normalize_dim("Unflatten", self.dim, len(shape))
        return functions.reshape(input, (*shape[:d], *self.unflattened_size, *shape[d + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
