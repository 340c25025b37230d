"""PyTorch's engine for npmlp's driver: a recipe's data and evaluation around its training.

Of npmlp it takes the recipe, the arrays of the data set and the driver that writes the run's
folder; nothing of what computes. So the two can disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.utils.data import Subset, random_split

from npmlp import observe
from npmlp.checkpoint import Array
from npmlp.engine_protocol import Score
from npmlp.errors import RunError
from npmlp.recipes import Recipe
from npmlp.vision.images import load_image_data
from reference_torch import batches
from reference_torch.batches import Augmentation, Images
from reference_torch.training import TorchTraining

EVALUATION_BATCH = 1000


class TorchEngine(TorchTraining):
    """Trains a recipe with PyTorch; see npmlp.engine_protocol.Engine."""

    def __init__(self, recipe: Recipe, data: str | None = None, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise RunError("--device cuda: PyTorch finds no GPU here; use --device cpu")
        torch.set_default_dtype(getattr(torch, recipe.dtype))
        torch.manual_seed(recipe.seed)
        self.data = load_image_data(data)
        super().__init__(recipe, self.data.shape, len(self.data.classes), torch.device(device))
        self._split_data()
        self.loader: Any = batches.loader(self.train_set, recipe.batch_size)
        self.batches_per_epoch = len(self.loader)
        size = sum(p.numel() for p in self.model.parameters())
        self.description = (
            f"{recipe.name} in PyTorch on {device}: {size:,} parameters, "
            f"{len(self.train_set):,} training images from {self.data.origin}"
        )

    def _split_data(self) -> None:
        recipe, data = self.recipe, self.data
        normal = (data.mean, data.deviation) if recipe.normalize == "standardize" else None
        augmentation = (
            None
            if recipe.augment == "none"
            else Augmentation(recipe.augment == "flip_affine", recipe.translate, recipe.scale)
        )
        train = self._on_device(data.train_images, data.train_labels)
        test = Images(*self._on_device(data.test_images, data.test_labels), normal)
        self.train_set: Any = Images(*train, normal, augmentation)
        self.held_out: dict[str, Any] = {"test": test}
        self.has_validation = recipe.validation != "none"
        if recipe.validation == "reported":
            self.held_out["validation"] = test
        elif self.has_validation:
            self._split_off(Images(*train, normal))
        if recipe.limit is not None:
            first = range(min(recipe.limit, len(self.train_set)))
            self.train_set = Subset(self.train_set, first)
        # held-out images are always the same, so they are made ready once
        self.prepared = {
            name: part.__getitems__(range(len(part))) for name, part in self.held_out.items()
        }

    def _on_device(self, images: Array, labels: Array) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.device
        return torch.tensor(images, device=device), torch.tensor(labels, device=device)

    def _split_off(self, plain_train: Images) -> None:
        """Hold images out for validation, a random choice by the recipe's seed."""
        recipe = self.recipe
        whole = self.train_set if recipe.validation == "train" else self.held_out["test"]
        left = len(whole) - recipe.validation_size
        if left <= 0:
            raise RunError(
                f"--validation-size {recipe.validation_size}: the {recipe.validation} set has "
                f"{len(whole)} images, and some must be left"
            )
        rest, chosen = random_split(whole, [left, recipe.validation_size])
        if recipe.validation == "train":
            self.train_set = rest
            self.held_out["validation"] = Subset(plain_train, chosen.indices)
        else:
            self.held_out |= {"test": rest, "validation": chosen}

    # ---------------------------------------------------------------------------------- train

    def batches(self, skip: int) -> Iterator[Any]:
        self.model.train()
        epoch: Iterator[Any] = iter(self.loader)
        for _ in range(skip):
            next(epoch)
        return epoch

    def steps(self, skip: int) -> Iterator[list[Score]]:
        return ([self.step(batch)] for batch in self.batches(skip))

    @torch.no_grad()
    def evaluate(self, split: Literal["validation", "test"]) -> Score:
        images, labels = self.prepared[split]
        loss_sum, correct = 0.0, 0
        self.model.eval()
        for start in range(0, len(images), EVALUATION_BATCH):
            stop = start + EVALUATION_BATCH
            x, y = images[start:stop], labels[start:stop]
            logits = self.model(x)
            loss_sum += self.loss(logits, y).item() * len(y)
            correct += int((logits.argmax(1) == y).sum().item())
        self.model.train()
        return Score(loss_sum / len(images), correct, len(images))

    def sample(
        self, split: Literal["train", "test"], count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if split == "test":
            images, labels = self.prepared["test"]
            chosen = list(observe.spread(len(images), count))
            return images[chosen], labels[chosen]
        before = self.generator_state()
        images, labels = observe.first(self.batches(0), count)
        self.set_generator_state(before)
        return images, labels

    # ------------------------------------------------------------------------------- generator

    def generator_state(self) -> Array:
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":  # which dropout draws from there
            states.append(torch.cuda.get_rng_state(self.device))
        return torch.cat(states).numpy().copy()

    def set_generator_state(self, state: Array) -> None:
        size = len(torch.get_rng_state())
        of_cpu, of_gpu = torch.from_numpy(state.copy()).split([size, len(state) - size])
        torch.set_rng_state(of_cpu)
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(of_gpu, self.device)
