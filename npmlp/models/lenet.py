"""lenet: a small convolutional network.

image (N, 1, 28, 28)
→ conv 5×5, 6 channels (24×24) → ReLU → max-pool 2 (12×12)
→ conv 5×5, 12 channels (8×8) → ReLU → max-pool 2 (4×4)
→ flatten 12·4·4 = 192 → linear 120 → ReLU → linear 60 → ReLU → linear 10 → logits (N, 10)

Source: after LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document
recognition, with ReLU and max-pooling.
"""

from __future__ import annotations

from npmlp import nn
from npmlp.errors import RecipeError
from npmlp.tensor import Tensor


class LeNet(nn.Module):
    """Two convolutions with max-pooling, then three linear layers.

    Parameters: `shape`, of an image: (channels, height, width); `classes`.
    Input: float Tensor of shape (N, *shape). Returns: logits (N, classes).
    Raises: RecipeError where the image is too small for the two convolutions.
    """

    def __init__(self, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10) -> None:
        super().__init__()
        channels, *sides = shape
        height, width = (((side - 4) // 2 - 4) // 2 for side in sides)
        if height < 1 or width < 1:
            raise RecipeError(
                f"--arch lenet: its two convolutions and poolings need images of at least 16×16, "
                f"got {sides[0]}×{sides[1]}"
            )
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 12, 5)
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(12 * height * width, 120)
        self.fc2 = nn.Linear(120, 60)
        self.fc3 = nn.Linear(60, classes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))  # (N, 6, 12, 12)
        x = self.pool(self.relu(self.conv2(x)))  # (N, 12, 4, 4)
        x = self.flatten(x)  # (N, 192)
        x = self.relu(self.fc1(x))  # (N, 120)
        x = self.relu(self.fc2(x))  # (N, 60)
        return self.fc3(x)  # (N, 10)
