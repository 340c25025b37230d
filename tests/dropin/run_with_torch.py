"""Run a script with PyTorch: `run_with_torch.py script [--reordered seed] [arguments]`.

torchvision is imported as reference_torch does it, and PyTorch keeps to one thread, since its sums
depend on their number. With --reordered it is PyTorch beside itself: whatever is summed over is
permuted first: the columns of a linear layer's input together with those of its weight, the pixels
of a convolution's patches with those of its kernel, the entries of a whole sum or loss. In exact
arithmetic nothing changes. What changes then in what is printed is how far PyTorch itself
determines it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from reference_torch.torchvision_cpu import import_torchvision


def reorder_sums(seed: int) -> None:
    """Give torch functions that add in another order."""
    functional: Any = torch.nn.functional
    linear, conv2d, mse_loss = functional.linear, functional.conv2d, functional.mse_loss
    tensor: Any = torch.Tensor
    whole_sum = tensor.sum

    def order(n: int) -> torch.Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    def reordered_linear(input: Any, weight: Any, bias: Any = None) -> Any:
        columns = order(weight.shape[1])
        return linear(input[..., columns], weight[:, columns], bias)

    def reordered_conv2d(
        input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        assert groups == 1
        size = conv2d(input[:1], weight, None, stride, padding, dilation).shape[2:]
        patches = functional.unfold(input, weight.shape[2:], dilation, padding, stride)
        rows = weight.flatten(1)
        columns = order(rows.shape[1])
        out = (rows[:, columns] @ patches[:, columns]).unflatten(2, size)
        return out if bias is None else out + bias[:, None, None]

    def reordered_mse_loss(input: Any, target: Any, **options: Any) -> Any:
        rows = order(len(input))
        return mse_loss(input[rows], target[rows], **options)

    def reordered_sum(self: Any, *args: Any, **options: Any) -> Any:
        if args or options or not self.is_floating_point():
            return whole_sum(self, *args, **options)
        return whole_sum(self.reshape(-1)[order(self.numel())])

    functional.linear, functional.conv2d = reordered_linear, reordered_conv2d
    functional.mse_loss, tensor.sum = reordered_mse_loss, reordered_sum


if __name__ == "__main__":
    script, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    if "torchvision" in Path(script).read_text("utf-8"):
        import_torchvision()
    if arguments[:1] == ["--reordered"]:
        reorder_sums(int(arguments[1]))
        arguments = arguments[2:]
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
