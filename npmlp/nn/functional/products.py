"""Linear layers and convolutions, and the padding that goes before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npmlp import functions
from npmlp.autograd import apply
from npmlp.errors import NpmlpError, OutsideSubsetError, ShapeError
from npmlp.nn.functional.arguments import as_batch, as_given, check_tensor, pair
from npmlp.ops import conv, pad2d
from npmlp.ops import linear as linear_ops

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input weightᵀ + bias

    Parameters: `input` (..., in_features), `weight` (out_features, in_features), `bias`
    (out_features,). Returns: (..., out_features). Raises: ShapeError, DTypeError.
    """
    check_tensor("linear", "input", input)
    check_tensor("linear", "weight", weight)
    if weight.ndim == 1:  # one output, and no dimension for it
        out = linear(input, functions.unsqueeze(weight, 0))
        out = functions.squeeze(out, -1)
        return out if bias is None else functions.add(out, bias)
    if input.ndim > 2:  # copied here, a transposed input is copied once, and not for backward again
        input = input.contiguous()
    return apply(linear_ops.LINEAR, input, weight, bias)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """out[n, k] = bias[k] + Σ_c weight[k, c] ⋆ input[n, c], ⋆ the cross-correlation

    Parameters: `input` (N, C, H, W) or one image (C, H, W), `weight` (K, C / groups, kh, kw),
    `bias` (K,). `stride`, `padding` and `dilation` are a number or (vertical, horizontal);
    `padding` may be "valid" (none) or "same" (as much as keeps H and W; where that is odd, one
    more at the right and bottom).
    Returns: (N, K, OH, OW) with OH = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1.
    Raises: ShapeError, DTypeError.
    """
    x, one = as_batch("conv2d", input)
    check_tensor("conv2d", "weight", weight)
    steps, spread = pair("conv2d", "stride", stride), pair("conv2d", "dilation", dilation)
    if padding == "same":
        x, around = _pad_same(x, weight, steps, spread)
    elif padding == "valid":
        around = 0, 0
    elif isinstance(padding, str):
        raise NpmlpError(f"conv2d: padding is {padding!r}, expected numbers, 'same' or 'valid'")
    else:
        around = pair("conv2d", "padding", padding)
    out = apply(
        conv.CONV2D, x, weight, bias, stride=steps, padding=around, dilation=spread, groups=groups
    )
    return as_given(out, one)


def _pad_same(
    x: Tensor, weight: Tensor, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """x, and the padding on all sides under which a convolution of stride 1 keeps H and W."""
    if stride != (1, 1):
        raise ShapeError(
            f"conv2d: padding='same' has stride {stride}, expected 1; give the padding in numbers"
        )
    if weight.ndim != 4:
        return x, (0, 0)  # the operation says what is wrong
    h, w = (d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True))
    if h % 2 or w % 2:
        x = pad(x, (0, w % 2, 0, h % 2))
    return x, (h // 2, w // 2)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """`input` with entries added on the sides of its last dimensions; negative numbers take away.

    Parameters: `pad`, (left, right) or (left, right, top, bottom); `mode`, "constant" (`value`, 0
    if None), "reflect" (mirrored without the edge), "replicate" (the edge) or "circular" (from the
    other side).
    Raises: ShapeError; OutsideSubsetError for more than two dimensions.
    """
    check_tensor("pad", "input", input)
    sides = tuple(int(n) for n in pad)
    if len(sides) % 2 or len(sides) > 2 * input.ndim:
        raise ShapeError(
            f"pad: pad is {sides}, expected two numbers for each of the last dimensions of an "
            f"input of shape {tuple(input.shape)}: (left, right), or (left, right, top, bottom)"
        )
    if len(sides) > 4:
        raise OutsideSubsetError(f"pad: pad is {sides}; npmlp pads the last two dimensions")
    if mode != "constant":
        if value is not None and value != 0:
            raise NpmlpError(f"pad: mode {mode!r} takes no value, got {value}")
        if not sides or input.ndim - len(sides) // 2 not in (1, 2):
            raise ShapeError(
                f"pad: mode {mode!r} pads the last dimension of 2 or 3, or the last two of 3 or 4; "
                f"pad is {sides} for an input of shape {tuple(input.shape)}"
            )
    if not sides:
        return input.clone()
    x = functions.unsqueeze(input, 0) if input.ndim == 1 else input
    around = sides if len(sides) == 4 else (*sides, 0, 0)
    out = apply(pad2d.PAD2D, x, padding=around, mode=mode, value=0.0 if value is None else value)
    return functions.squeeze(out, 0) if input.ndim == 1 else out
