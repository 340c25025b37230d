"""The recipes' networks in plain PyTorch, with the names and the order of draws of npmlp.models."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from npmlp.recipes import Recipe


class Vanilla(nn.Module):
    """784 → 100 → ReLU → [dropout] → 10."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(784, 100)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(100, 10)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        return self.fc2(self.dropout(x))


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with its starting weights."""
    model = Vanilla(dropout=recipe.dropout)
    if recipe.init != "default":
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                _fill(module.weight, recipe.init)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
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
