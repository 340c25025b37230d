"""Pooling: one number for each window of an image.

Inputs have shape (N, C, H, W) or (C, H, W); every channel is pooled by itself.
"""

from __future__ import annotations

from typing import Any

from npmlp.nn import functional as F
from npmlp.nn.module import Module
from npmlp.tensor import Tensor

Pair = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest value of each window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : one number or (height, width); `stride` None is
        kernel_size; padding counts as -∞
    return_indices : return also where in the image, counted row by row, each value stood
    ceil_mode : windows that begin inside of the image count although they end outside
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding : one number or (height, width); `stride` None is kernel_size
    ceil_mode : windows that begin inside of the image count although they end outside
    count_include_pad : whether the zeros of the padding are among what is averaged
    divisor_override : what the window's sum is divided by instead of its size
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over windows chosen so that the output has a given size.

    Output row i averages the input's rows from ⌊i·H/out⌋ up to ⌈(i + 1)·H/out⌉.

    Parameters: `output_size`, one number or (height, width); None keeps the input's size.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
