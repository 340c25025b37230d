"""The networks, one file each, and `build`, which makes the one that a recipe names."""

from __future__ import annotations

from npmlp import nn
from npmlp.models.vanilla import Vanilla
from npmlp.recipes import Init, Recipe


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with its starting weights, drawn from the default generator."""
    model = Vanilla(dropout=recipe.dropout)
    initialize(model, recipe.init)
    return model


def initialize(model: nn.Module, init: Init) -> None:
    """Draw the weights of all linear and convolutional layers anew, with zero biases.

    "default" leaves them as the layers made them. kaiming takes fan_in and ReLU's gain.
    """
    if init == "default":
        return
    fill = {
        "zeros": nn.init.zeros_,
        "xavier_normal": nn.init.xavier_normal_,
        "xavier_uniform": nn.init.xavier_uniform_,
        "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
        "kaiming_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    }[init]
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
