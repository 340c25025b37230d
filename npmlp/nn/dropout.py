"""Dropout: while training, entries are zeroed at random and the others grow in proportion."""

from __future__ import annotations

from npmlp.nn import functional as F
from npmlp.nn.arguments import ArgumentError
from npmlp.nn.module import Module
from npmlp.tensor import Tensor


class Dropout(Module):
    """y = x · m / (1 - p), each entry of m 0 with probability p, else 1; y = x in evaluation.

    Parameters: `p`, the probability of a zero; `inplace`, overwrite the input.
    Raises: ArgumentError, p outside 0 … 1.

    Notes: draws from npmlp's default generator what PyTorch draws from its own, none in evaluation.
    Source: Srivastava and others 2014, Dropout, section 4.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"Dropout: probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """y = x · m / (1 - p) with one m for each channel of each image; y = x in evaluation.

    Parameters, Raises: as in Dropout. For convolutions, whose neighbouring entries say the same.
    Source: Tompson and others 2015, Efficient Object Localization Using Convolutional Networks.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)
