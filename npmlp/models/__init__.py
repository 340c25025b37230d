"""The networks, one file each, and `build`, which makes the one that a recipe names."""

from __future__ import annotations

import math

from npmlp import nn
from npmlp.models.lenet import LeNet
from npmlp.models.mixer import Mixer, Patchify
from npmlp.models.residual import Residual
from npmlp.models.vanilla import Vanilla
from npmlp.recipes import Init, Recipe

Shape = tuple[int, int, int]


def build(recipe: Recipe, shape: Shape = (1, 28, 28), classes: int = 10) -> nn.Module:
    """The recipe's network with its starting weights, drawn from the default generator.

    Parameters: `shape`, of an image: (channels, height, width); `classes`, how many there are.
    Raises: RecipeError where the network cannot take such images.
    """
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
    initialize(model, recipe.init)
    if recipe.output == "softmax":
        model = nn.Sequential(model, nn.Softmax(dim=1))
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
