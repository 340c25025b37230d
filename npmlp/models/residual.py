"""residual: a deeper multilayer perceptron with one step around a layer.

image (N, 1, 28, 28) → flatten 784
→ hidden 144 → hidden 128 → x + hidden 128 → hidden 128 → [dropout] → linear 10 → logits (N, 10)

where hidden is linear → BatchNorm → GELU, and x + hidden adds the layer's input to its output.

Source: He, Zhang, Ren, Sun 2016, Deep residual learning for image recognition, equation 1, for the
step around a layer.
"""

from __future__ import annotations

from npmlp import nn
from npmlp.tensor import Tensor


class Hidden(nn.Module):
    """linear → BatchNorm → GELU. Input: (N, inputs). Returns: (N, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.norm(self.linear(x)))


class Residual(nn.Module):
    """Four hidden layers, the third with its input added back.

    Parameters: `inputs`, the pixels of an image; `classes`; `dropout`, the share of the last hidden
    units zeroed while training.
    Input: float Tensor of shape (N, …) with `inputs` values an image. Returns: logits (N, classes).
    """

    def __init__(self, inputs: int = 784, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden1 = Hidden(inputs, 144)
        self.hidden2 = Hidden(144, 128)
        self.hidden3 = Hidden(128, 128)
        self.hidden4 = Hidden(128, 128)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(x)  # (N, 784)
        x = self.hidden1(x)  # (N, 144)
        x = self.hidden2(x)  # (N, 128)
        x = x + self.hidden3(x)
        x = self.hidden4(x)
        return self.output(self.dropout(x))  # (N, 10)
