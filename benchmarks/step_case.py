"""What the sides of a training step are given: a recipe, weights and batches, in a file of arrays.

The weights are those that npmlp draws; every side reads the same arrays from the file.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.recipes import RECIPES, Recipe

BATCHES = 8
"""different batches, taken in turn: with one alone a side could keep more in its caches"""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    """A training: the recipe, where its arrays are, and the layers where it is not its network.

    `layers` are the widths of a multilayer perceptron with ReLU between: [784, 32, 32, 10].
    """

    recipe: Recipe
    file: str
    layers: tuple[int, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes the case of."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        """The case again."""
        layers = fields["layers"]
        recipe = Recipe(**fields["recipe"])
        return cls(recipe, fields["file"], None if layers is None else tuple(layers))

    def without_dropout(self) -> Case:
        """The same, with nothing random in a step: for comparing with other generators."""
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, dropout=0.0))

    def at_rest(self) -> Case:
        """The same computation with a rate so small that the network stays as it is.

        Thousands of steps on eight batches would fit these perfectly; then gradients are below the
        normal numbers of float32, with which processors compute many times slower.
        """
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, lr=1e-7))

    def arrays(self) -> tuple[dict[str, Array], Array, Array]:
        """The weights by their names in state_dict; images (BATCHES, N, 1, 28, 28); labels."""
        with np.load(self.file) as found:
            weights = {
                name.removeprefix("model."): found[name]
                for name in found.files
                if name.startswith("model.")
            }
            return weights, found["images"], found["labels"]


def make_case(
    name: str, batch_size: int, file: str, layers: tuple[int, ...] | None = None, **fields: Any
) -> Case:
    """Draw weights and batches for a recipe, and write them to `file`.

    `fields` replace those of the recipe. Pixels are standard normal, which is what standardised
    images come near to, labels uniform.
    """
    import npmlp
    from npmlp import models

    recipe = dataclasses.replace(RECIPES[name], batch_size=batch_size, **fields)
    npmlp.manual_seed(recipe.seed)
    model = models.build(recipe) if layers is None else perceptron(npmlp.nn, layers)
    arrays: dict[str, Any] = {f"model.{k}": v.numpy() for k, v in model.state_dict().items()}
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCHES, batch_size, 1, 28, 28), np.float32)
    labels = rng.integers(0, 10, (BATCHES, batch_size))
    with open(file, "wb") as out:
        np.savez(out, images=images, labels=labels, **arrays)
    return Case(recipe, file, layers)


def perceptron(nn: Any, layers: tuple[int, ...]) -> Any:
    """Linear layers of these widths with ReLU between, of npmlp's nn or PyTorch's."""
    found = [nn.Flatten()]
    *hidden, last = itertools.pairwise(layers)
    for inputs, outputs in hidden:
        found += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*found, nn.Linear(*last))
