"""mixer: a network that looks at an image as a table of patches, one row each.

image (N, 1, 28, 28) → patches (N, 49, 16) → linear 128 → BatchNorm over the 128 features
→ 2 blocks → mean over the patches (N, 128) → linear 10 → logits (N, 10)

block: transpose (N, 128, 49) → MLP over the patches, 64 wide → transpose (N, 49, 128)
→ MLP over the features, 128 wide, where MLP is linear → ReLU → dropout → linear.

Source: after Tolstikhin et al. 2021, MLP-Mixer (arXiv:2105.01601), without its skip connections.
"""

from __future__ import annotations

from npmlp import nn
from npmlp.errors import RecipeError
from npmlp.tensor import Tensor

FEATURES, PATCH_WIDTH, FEATURE_WIDTH = 128, 64, 128


class Patchify(nn.Module):
    """Cut images into square patches, row by row, each as one row of its pixels.

    Parameters: `patch`, the side of a patch in pixels.
    Input: (N, C, H, W). Returns: (N, H/patch · W/patch, C · patch · patch).
    Raises: RecipeError where the patch does not divide the image.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def count(self, height: int, width: int) -> int:
        """How many patches an image has."""
        if height % self.patch or width % self.patch:
            fits = [p for p in range(2, min(height, width)) if height % p == width % p == 0]
            raise RecipeError(
                f"--patch {self.patch}: does not divide an image of {height}×{width} pixels; "
                f"try one of {', '.join(map(str, fits)) or '1'}"
            )
        return (height // self.patch) * (width // self.patch)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        p, count = self.patch, self.count(height, width)
        x = x.reshape(n, channels, height // p, p, width // p, p)
        x = x.permute(0, 2, 4, 1, 3, 5)  # (N, rows, columns, C, p, p)
        return x.reshape(n, count, channels * p * p)

    def extra_repr(self) -> str:
        """What the repr shows of it."""
        return f"patch={self.patch}"


class MLP(nn.Module):
    """linear → ReLU → dropout → linear, over the last dimension. Keeps the shape."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, width)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(width, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class Block(nn.Module):
    """Mixes the patches of each feature, then the features of each patch. Keeps (N, P, F)."""

    def __init__(self, patches: int, features: int, dropout: float) -> None:
        super().__init__()
        self.over_patches = MLP(patches, PATCH_WIDTH, dropout)
        self.over_features = MLP(features, FEATURE_WIDTH, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.over_patches(x.transpose(1, 2))  # (N, F, P)
        return self.over_features(x.transpose(1, 2))  # (N, P, F)


class Mixer(nn.Module):
    """Patches, two blocks that mix them, and the mean of what comes out.

    Parameters: `shape`, of an image: (channels, height, width); `classes`; `patch`, the side of a
    patch in pixels; `dropout`, the share of units zeroed inside each MLP while training.
    Input: float Tensor of shape (N, *shape). Returns: logits (N, classes).
    Raises: RecipeError where the patch does not divide the image.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        patch: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.patchify = Patchify(patch)
        patches = self.patchify.count(height, width)
        self.stem = nn.Linear(channels * patch * patch, FEATURES)
        self.norm = nn.BatchNorm1d(FEATURES)
        self.block1 = Block(patches, FEATURES, dropout)
        self.block2 = Block(patches, FEATURES, dropout)
        self.output = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.patchify(x))  # (N, P, F)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)  # BatchNorm1d's features come second
        x = self.block2(self.block1(x))
        return self.output(x.mean(1))  # (N, 10)
