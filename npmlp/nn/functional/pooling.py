"""Pooling: an image made smaller by taking the largest or the mean of each window.

Every function takes a batch (N, C, H, W) or one image (C, H, W). Sizes are a number, or a pair
(vertical, horizontal).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npmlp.autograd import apply
from npmlp.nn.functional.arguments import Pair, as_batch, as_given, pair
from npmlp.ops import pool

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def _stride(op: str, stride: Any, kernel: Pair) -> Pair:
    """The stride; where none is given, windows stand side by side."""
    absent = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    return kernel if absent else pair(op, "stride", stride)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest entry of each window; a NaN is larger than any number.

    Parameters: `stride`, kernel_size if None; `padding`, at most half a window, of -inf;
    `ceil_mode`, also windows that stick out at the right and bottom.
    Returns: (N, C, OH, OW); with `return_indices` also where in its plane (h · W + w) each stood.
    """
    x, one = as_batch("max_pool2d", input)
    kernel = pair("max_pool2d", "kernel_size", kernel_size)
    out, indices = apply(
        pool.MAX_POOL2D,
        x,
        kernel_size=kernel,
        stride=_stride("max_pool2d", stride, kernel),
        padding=pair("max_pool2d", "padding", padding),
        dilation=pair("max_pool2d", "dilation", dilation),
        ceil_mode=bool(ceil_mode),
    )
    if return_indices:
        return as_given(out, one), as_given(indices, one)
    return as_given(out, one)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window.

    Parameters: `stride`, kernel_size if None; `count_include_pad`, whether padding counts as
    entries (of 0); `divisor_override`, what sums are divided by in place of the count.
    """
    x, one = as_batch("avg_pool2d", input)
    kernel = pair("avg_pool2d", "kernel_size", kernel_size)
    out = apply(
        pool.AVG_POOL2D,
        x,
        kernel_size=kernel,
        stride=_stride("avg_pool2d", stride, kernel),
        padding=pair("avg_pool2d", "padding", padding),
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        divisor_override=divisor_override,
    )
    return as_given(out, one)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The means of windows that divide the image into `output_size`, overlapping where they must.

    Window i of `o` covers ⌊i H / o⌋ to ⌈(i + 1) H / o⌉. In a pair, None keeps a size.
    """
    x, one = as_batch("adaptive_avg_pool2d", input)
    if isinstance(output_size, (tuple, list)):
        given = zip(output_size, x.shape[2:], strict=False)
        output_size = tuple(old if new is None else new for new, old in given)
    elif output_size is None:
        output_size = tuple(x.shape[2:])
    sizes = pair("adaptive_avg_pool2d", "output_size", output_size)
    return as_given(apply(pool.ADAPTIVE_AVG_POOL2D, x, output_size=sizes), one)
