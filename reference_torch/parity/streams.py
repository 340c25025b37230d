"""All that is random in a training, equal to the bit: `python -m reference_torch.parity.streams`.

For every recipe and seed: the first weights; and for each batch of some epochs its images, moved
and mirrored as they are, its labels, every dropout's mask, and the state of the generator after
them. The batches are held beside torchvision's transforms of one image after another, too.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from npmlp import commands, creation, recipes
from npmlp.engine import NpmlpEngine
from npmlp.files import write_atomically
from npmlp.preserved import preserved_settings
from npmlp.recipes import RECIPES, Recipe
from reference_torch.engine import TorchEngine
from reference_torch.one_by_one import OneByOne
from reference_torch.parity.lockstep import same_weights
from reference_torch.parity.record import leaves, of_npmlp, of_torch

SEEDS = (0, 1, 42, -1, 2**31 + 5)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Compare what npmlp and PyTorch draw, to the bit. Exit code 1 where anything differs."""

    recipe: tuple[str, ...] = tuple(RECIPES)
    """the recipes"""
    seed: tuple[int, ...] = SEEDS
    """the seeds"""
    epochs: int = 5
    """how many epochs of batches"""
    limit: int | None = None
    """train on the first so many images only, all if not given"""
    data: str | None = None
    """a folder with images, as for npmlp.train"""
    out: Path | None = None
    """a JSON file for the result"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


@dataclass
class Equality:
    """What was compared for a recipe and a seed, and how much of it was equal to the bit."""

    recipe: str
    seed: int
    epochs: int
    images: int = 0
    """compared in all epochs together"""
    weights: bool = False
    batches: int = 0
    batches_equal: int = 0
    masks: int = 0
    masks_equal: int = 0
    one_by_one: int = 0
    """batches of the first epoch beside torchvision's"""
    one_by_one_equal: int = 0

    @property
    def all_equal(self) -> bool:
        """Whether there was no difference, and something to compare."""
        return (
            self.weights
            and self.batches_equal == self.batches > 0
            and self.masks_equal == self.masks
            and self.one_by_one_equal == self.one_by_one > 0
        )


def compare_streams(recipe: Recipe, epochs: int, data: str | None = None) -> Equality:
    """Draw a recipe's epochs in both engines. Its seed and `limit` are the recipe's own."""
    found = Equality(recipe.name, recipe.seed, epochs)
    before = torch.get_default_dtype(), torch.get_rng_state()
    try:
        with preserved_settings():
            ours, theirs = NpmlpEngine(recipe, data), TorchEngine(recipe, data)
            found.weights = same_weights(ours, theirs)
            start = torch.get_rng_state()
            _compare_one_by_one(recipe, theirs, found)
            torch.set_rng_state(start)
            dropouts = list(_dropouts(ours, theirs))
            for _ in range(epochs):
                for mine, torchs in zip(ours.batches(0), theirs.batches(0), strict=True):
                    equal = _equal_batches(mine, torchs)
                    masks = [dropout(len(mine[1])) for dropout in dropouts]
                    place = torch.get_rng_state().numpy().tobytes()
                    found.images += len(mine[1])
                    found.batches += 1
                    found.batches_equal += equal and place == ours.generator_state().tobytes()
                    found.masks += len(masks)
                    found.masks_equal += sum(masks)
    finally:
        torch.set_default_dtype(before[0])
        torch.set_rng_state(before[1])
    return found


def _equal_batches(mine: Any, torchs: Any) -> bool:
    pairs = zip(mine, torchs, strict=True)
    return all(of_npmlp(a).tobytes() == of_torch(b).tobytes() for a, b in pairs)


def _compare_one_by_one(recipe: Recipe, theirs: TorchEngine, found: Equality) -> None:
    """An epoch of whole batches beside torchvision's transforms of each image, in PyTorch."""
    facts, count = theirs.data, recipe.limit or len(theirs.data.train_images)
    images, labels = facts.train_images[:count], facts.train_labels[:count]
    slow = OneByOne(images, labels, recipe, facts.mean, facts.deviation)
    state = torch.get_rng_state()
    expected = [of_torch(x) for x, _ in DataLoader(slow, recipe.batch_size, shuffle=True)]
    torch.set_rng_state(state)
    # with no dropout in between, for there is no network between them either
    for x, (y, _) in zip(expected, theirs.batches(0), strict=True):
        found.one_by_one += 1
        found.one_by_one_equal += x.tobytes() == of_torch(y).tobytes()


def _dropouts(ours: NpmlpEngine, theirs: TorchEngine) -> Iterator[Callable[[int], bool]]:
    """For each dropout, in the order of the forward pass: are the masks of n images equal?"""
    shapes: dict[str, tuple[int, ...]] = {}

    def watching(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            shapes[name] = tuple(args[0].shape[1:])

        return hook

    handles = [
        module.register_forward_hook(watching(name))
        for name, module in leaves(theirs.model)
        if type(module).__name__ == "Dropout" and module.p > 0
    ]
    state = torch.get_rng_state()
    with torch.no_grad():  # in evaluation: nothing is drawn, and no running statistics move
        theirs.model.eval()(torch.zeros(1, *theirs.data.shape))
        theirs.model.train()
    torch.set_rng_state(state)
    for handle in handles:
        handle.remove()
    mine, torchs = dict(leaves(ours.model)), dict(leaves(theirs.model))
    for name, shape in shapes.items():

        def equal(n: int, name: str = name, shape: tuple[int, ...] = shape) -> bool:
            dtype = np.dtype(ours.recipe.dtype)
            x = np.ones((n, *shape), dtype)
            a, b = mine[name](creation.from_numpy(x)), torchs[name](torch.from_numpy(x))
            return of_npmlp(a).tobytes() == of_torch(b).tobytes()

        yield equal


def main(argv: Sequence[str]) -> int:
    flags = commands.parse(Flags, argv, "python -m reference_torch.parity.streams")
    results = []
    for name in flags.recipe:
        for seed in flags.seed:
            began = time.perf_counter()
            recipe = dataclasses.replace(recipes.find(name), seed=seed, limit=flags.limit)
            found = compare_streams(recipe, flags.epochs, flags.data)
            results.append(found)
            print(
                f"{name:27} seed {seed:<11} "
                f"weights {'equal' if found.weights else 'DIFFERENT'}, "
                f"{found.batches_equal:,} of {found.batches:,} batches, {found.masks_equal:,} of "
                f"{found.masks:,} masks, {found.one_by_one_equal:,} of {found.one_by_one:,} "
                f"batches beside torchvision; {time.perf_counter() - began:.0f} s",
                flush=True,
            )
    if flags.out is not None:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "torch": torch.__version__,
            "all_equal": all(found.all_equal for found in results),
            "results": [dataclasses.asdict(found) for found in results],
        }
        write_atomically(flags.out, json.dumps(content, indent=1) + "\n")
    different = [f"{found.recipe} (seed {found.seed})" for found in results if not found.all_equal]
    print(f"DIFFERENT: {', '.join(different)}" if different else "all equal to the bit")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
