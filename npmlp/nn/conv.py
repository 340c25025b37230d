"""Conv2d: a bank of filters slid over an image.

N batch, C channels in, M channels out, H and W the image, K the kernel.
"""

from __future__ import annotations

from typing import Any, Literal

from npmlp.nn import functional as F
from npmlp.nn import init
from npmlp.nn.arguments import ArgumentError, Pair, checked_size, new_parameter, pair
from npmlp.nn.module import Module
from npmlp.nn.parameter import Parameter
from npmlp.tensor import Tensor

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
_MODES = ("zeros", "reflect", "replicate", "circular")


class Conv2d(Module):
    """Cross-correlation: out[n, m] = bias[m] + Σ_c weight[m, c] ⋆ x[n, c].

    Parameters
    ----------
    in_channels, out_channels : C and M
    kernel_size : K, one number or (height, width)
    stride : the step of the kernel
    padding : what is put around the image, one number, (height, width), "same" (the output has the
        image's size, stride 1) or "valid" (nothing)
    dilation : the distance between the kernel's points
    groups : channels in and out are split into so many groups that do not see each other
    bias : whether there is a bias
    padding_mode : "zeros", "reflect", "replicate" or "circular"
    device, dtype : "cpu"; float32 or float64, None for the default dtype

    Attributes
    ----------
    weight : shape (M, C / groups, *K), drawn from U(-b, b) with b = 1/√(C / groups · ΠK)
    bias : shape (M,), drawn after the weight from the same distribution; or None

    Input (N, C, H, W) or (C, H, W).
    Output height: ⌊(H + 2·padding - dilation·(K - 1) - 1) / stride⌋ + 1.
    Raises ArgumentError for arguments that make no sense, ShapeError where the input does not fit.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: str | Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels = checked_size("Conv2d", "in_channels", in_channels)
        self.out_channels = checked_size("Conv2d", "out_channels", out_channels)
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size)
        self.stride = pair("Conv2d", "stride", stride)
        self.padding: Any = padding
        if not isinstance(padding, str):
            self.padding = pair("Conv2d", "padding", padding, least=0)
        self.dilation = pair("Conv2d", "dilation", dilation)
        self.groups = groups
        self.padding_mode = padding_mode
        self._check_options()
        shape = (self.out_channels, self.in_channels // groups, *self.kernel_size)
        self.weight = new_parameter(shape, dtype, device)
        self.register_parameter(
            "bias", new_parameter((self.out_channels,), dtype, device) if bias else None
        )
        self.reset_parameters()

    def _check_options(self) -> None:
        if not isinstance(self.groups, int) or self.groups < 1:
            raise ArgumentError(f"Conv2d: groups must be a positive integer, got {self.groups!r}")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ArgumentError(
                    f"Conv2d: {name} must be divisible by groups, got {getattr(self, name)} and "
                    f"{self.groups}"
                )
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ArgumentError(
                f"Conv2d: Invalid padding string {self.padding!r}, should be 'same' or 'valid'"
            )
        if self.padding == "same" and self.stride != (1, 1):
            raise ArgumentError("Conv2d: padding='same' is not supported for strided convolutions")
        if self.padding_mode not in _MODES:
            raise ArgumentError(
                f"Conv2d: padding_mode must be zeros, reflect, replicate or circular, got "
                f"{self.padding_mode!r}"
            )

    def reset_parameters(self) -> None:
        """Draw the weight and the bias anew."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), mode=self.padding_mode), 0
        return F.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _sides(self) -> tuple[int, int, int, int]:
        """How much is put left, right, above and below."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding != "same":
            height, width = self.padding
            return width, width, height, height
        h, w = (d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))
        return w // 2, w - w // 2, h // 2, h - h // 2

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text
