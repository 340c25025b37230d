"""The recipes' networks in plain PyTorch, with the names and the order of draws of npmlp.models."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from npmlp.errors import RecipeError
from npmlp.recipes import Recipe


class Vanilla(nn.Module):
    """784 → 100 → ReLU → [dropout] → 10."""

    def __init__(self, inputs: int = 784, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(inputs, 100)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(100, classes)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        return self.fc2(self.dropout(x))


class LeNet(nn.Module):
    """Two convolutions with ReLU and max-pooling, then 120 → 60 → classes."""

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

    def forward(self, x: torch.Tensor) -> Any:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        return self.fc3(x)


class Patchify(nn.Module):
    """(N, C, H, W) → (N, patches, C · patch · patch)."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = x.shape
        p = self.patch
        x = x.reshape(n, channels, height // p, p, width // p, p)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * p * p)


class MLP(nn.Module):
    """linear → ReLU → dropout → linear over the last dimension."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, width)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(width, size)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class Block(nn.Module):
    """An MLP over the patches, then one over the features."""

    def __init__(self, patches: int, features: int, dropout: float) -> None:
        super().__init__()
        self.over_patches = MLP(patches, 64, dropout)
        self.over_features = MLP(features, 128, dropout)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.over_patches(x.transpose(1, 2))
        return self.over_features(x.transpose(1, 2))


class Mixer(nn.Module):
    """Patches → linear 128 → BatchNorm → two blocks → mean → classes."""

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        patch: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if height % patch or width % patch:
            raise RecipeError(
                f"--patch {patch}: does not divide an image of {height}×{width} pixels"
            )
        patches = (height // patch) * (width // patch)
        self.patchify = Patchify(patch)
        self.stem = nn.Linear(channels * patch * patch, 128)
        self.norm = nn.BatchNorm1d(128)
        self.block1 = Block(patches, 128, dropout)
        self.block2 = Block(patches, 128, dropout)
        self.output = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(self.patchify(x))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x = self.block2(self.block1(x))
        return self.output(x.mean(1))


class Hidden(nn.Module):
    """linear → BatchNorm → GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)
        self.gelu = nn.GELU()

    def forward(self, x: torch.Tensor) -> Any:
        return self.gelu(self.norm(self.linear(x)))


class Residual(nn.Module):
    """784 → 144 → 128 → 128 (added to its input) → 128 → [dropout] → classes."""

    def __init__(self, inputs: int = 784, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden1 = Hidden(inputs, 144)
        self.hidden2 = Hidden(144, 128)
        self.hidden3 = Hidden(128, 128)
        self.hidden4 = Hidden(128, 128)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.hidden2(self.hidden1(self.flatten(x)))
        x = x + self.hidden3(x)
        x = self.hidden4(x)
        return self.output(self.dropout(x))


def build(
    recipe: Recipe, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10
) -> nn.Module:
    """The recipe's network with its starting weights."""
    model: nn.Module
    match recipe.arch:
        case "vanilla":
            model = Vanilla(math.prod(shape), classes, recipe.dropout)
        case "lenet":
            model = LeNet(shape, classes)
        case "mixer":
            model = Mixer(shape, classes, recipe.patch, recipe.dropout)
        case "residual":
            model = Residual(math.prod(shape), classes, recipe.dropout)
    if recipe.init != "default":
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                _fill(module.weight, recipe.init)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    if recipe.output == "softmax":
        model = nn.Sequential(model, nn.Softmax(dim=1))
    return model


def _fill(weight: torch.Tensor, init: str) -> None:
    if init == "zeros":
        nn.init.zeros_(weight)
    elif init == "xavier_normal":
        nn.init.xavier_normal_(weight)
    elif init == "xavier_uniform":
        nn.init.xavier_uniform_(weight)
    elif init == "kaiming_normal":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        nn.init.kaiming_uniform_(weight, nonlinearity="relu")
