"""vanilla: the smallest network that does the job.

image (N, 1, 28, 28) → flatten 784 → linear 100 → ReLU → [dropout] → linear 10 → logits (N, 10)
"""

from __future__ import annotations

from npmlp import nn
from npmlp.tensor import Tensor


class Vanilla(nn.Module):
    """A multilayer perceptron with one hidden layer.

    Parameters: `inputs`, the pixels of an image; `classes`; `dropout`, the share of hidden units
    zeroed while training.
    Input: float Tensor of shape (N, …) with `inputs` values an image. Returns: logits (N, classes).
    """

    def __init__(self, inputs: int = 784, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(inputs, 100)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(x)  # (N, 784)
        x = self.relu(self.fc1(x))  # (N, 100)
        return self.fc2(self.dropout(x))  # (N, 10)
