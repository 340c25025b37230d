"""npmlp's engine for the driver: a recipe's network, data, optimizer and scheduler, and one step.

This is what a training script looks like; the driver around it does the files.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from npmlp import creation, dtypes, models, nn, optim, random
from npmlp.autograd import no_grad
from npmlp.checkpoint import Array
from npmlp.driver import NotFiniteError, Score
from npmlp.errors import CheckpointError, NpmlpError, RunError
from npmlp.files import home_as_tilde
from npmlp.optim import lr_scheduler
from npmlp.recipes import Recipe
from npmlp.tensor import Tensor
from npmlp.utils.data import DataLoader, Dataset, Subset, default_collate, random_split
from npmlp.vision import transforms
from npmlp.vision.datasets import FashionMNIST
from npmlp.vision.locate import places_for

# of the training pixels, scaled to [0, 1]
MEAN, DEVIATION = 0.2860, 0.3530
EVALUATION_BATCH = 1000


class NpmlpEngine:
    """Trains a recipe with npmlp. Made under the recipe's seed and dtype; see driver.Engine."""

    def __init__(self, recipe: Recipe, data: str | None = None) -> None:
        self.recipe = recipe
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        random.manual_seed(recipe.seed)
        # PyTorch's order of draws: weights, then the split, then what the epochs draw
        self.model = models.build(recipe)
        self.optimizer = build_optimizer(recipe, self.model)
        self.scheduler = build_scheduler(recipe, self.optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._load_data(data)
        self.loader = DataLoader(self.train_set, batch_size=recipe.batch_size, shuffle=True)
        self.batches_per_epoch = len(self.loader)
        size = sum(p.numel() for p in self.model.parameters())
        self.description = (
            f"{recipe.name}: {size:,} parameters, {len(self.train_set):,} training images "
            f"from {home_as_tilde(self.source)}"
        )

    def _load_data(self, data: str | None) -> None:
        recipe = self.recipe
        plain = test_transform(recipe)
        places, fetch = places_for(data, "--data"), data is None
        train = FashionMNIST(
            train=True, transform=train_transform(recipe), places=places, download=fetch
        )
        test = FashionMNIST(train=False, transform=plain, places=places, download=fetch)
        self.source = train.source
        self.train_set: Any = train
        self.held_out: dict[str, Dataset[Any]] = {"test": test}
        self.has_validation = recipe.validation != "none"
        if self.has_validation:
            self._split_off(train, test)
        if recipe.limit is not None:
            first = range(min(recipe.limit, len(self.train_set)))
            self.train_set = Subset(self.train_set, first)

    def _split_off(self, train: FashionMNIST, test: FashionMNIST) -> None:
        """Hold images out for validation, a random choice by the recipe's seed."""
        recipe = self.recipe
        whole = train if recipe.validation == "train" else test
        if recipe.validation_size >= len(whole):
            raise RunError(
                f"--validation-size {recipe.validation_size}: the {recipe.validation} set has "
                f"{len(whole)} images, and some must be left"
            )
        rest, chosen = random_split(
            whole, [len(whole) - recipe.validation_size, recipe.validation_size]
        )
        if recipe.validation == "train":
            self.train_set = rest
            held_in = copy.copy(train)  # the same images, without augmentation
            held_in.transform = test_transform(recipe)
            self.held_out["validation"] = Subset(held_in, chosen.indices)
        else:
            self.held_out |= {"test": rest, "validation": chosen}

    # ---------------------------------------------------------------------------------- train

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self, skip: int) -> Iterator[Any]:
        batches = iter(self.loader)
        if skip:
            batches.skip(skip)
        self.model.train()
        return batches

    def step(self, batch: Any) -> Score:
        x, y = batch
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = self.loss(logits, y)
        value = loss.item()
        if not math.isfinite(value):
            raise self._first_not_finite(x, value)
        loss.backward()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return Score(value, _count_correct(logits, y), len(y))

    def end_epoch(self, train_loss: float) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(train_loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    def evaluate(self, split: Literal["validation", "test"]) -> Score:
        loss_sum, correct, count = 0.0, 0, 0
        for logits, y in self.predictions(split):
            loss_sum += self.loss(logits, y).item() * len(y)
            correct += _count_correct(logits, y)
            count += len(y)
        return Score(loss_sum / count, correct, count)

    def predictions(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(logits, classes) of held-out images in order, without a draw from the generator."""
        images: Any = self.held_out[split]
        self.model.eval()
        with no_grad():
            for start in range(0, len(images), EVALUATION_BATCH):
                stop = min(start + EVALUATION_BATCH, len(images))
                x, y = default_collate(images.__getitems__(range(start, stop)))
                yield self.model(x), y
        self.model.train()

    # ----------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {} if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state["scheduler"])
        except (KeyError, NpmlpError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the network {self.recipe.arch}: {error}"
            ) from None

    def generator_state(self) -> Array:
        return random.default_generator.state_bytes()

    def set_generator_state(self, state: Array) -> None:
        random.default_generator.load_state_bytes(state)

    def not_finite(self) -> str | None:
        for name, tensor in self.model.state_dict().items():
            if not np.isfinite(tensor.numpy()).all():
                return name
        return None

    def _first_not_finite(self, x: Tensor, loss: float) -> NotFiniteError:
        """Where the numbers first went wrong, for a loss that is not finite."""
        name = self.not_finite()
        if name is not None:
            return NotFiniteError(
                f"the loss is {loss}, and {name} is not finite since the step before"
            )
        if not np.isfinite(x.numpy()).all():
            return NotFiniteError(
                f"the loss is {loss}, and the input has values that are not finite",
                advice="look at the data",
            )
        culprit: list[str] = []
        hooks = [
            module.register_forward_hook(_watch(f"{name} ({type(module).__name__})", culprit))
            for name, module in self.model.named_modules()
            if not list(module.children())
        ]
        with no_grad():
            self.model(x)
        for hook in hooks:
            hook.remove()
        where = f"first in the output of {culprit[0]}" if culprit else "in the loss itself"
        return NotFiniteError(f"the loss is {loss}, {where}")


def _watch(name: str, culprit: list[str]) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        if not np.isfinite(output.numpy()).all():
            culprit.append(name)

    return hook


def _count_correct(logits: Tensor, y: Tensor) -> int:
    return int((logits.detach().numpy().argmax(axis=1) == y.numpy()).sum())


def build_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """The recipe's optimizer, with weight decay on all parameters or on the weights alone."""
    groups: Any = list(model.parameters())
    if recipe.decay == "weights":
        # biases and the scales of normalisation have one dimension
        groups = [
            {"params": [p for p in groups if p.ndim > 1]},
            {"params": [p for p in groups if p.ndim <= 1], "weight_decay": 0.0},
        ]
    decay, lr = recipe.weight_decay, recipe.lr
    if recipe.optimizer == "sgd":
        return optim.SGD(groups, lr, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)
    kind = optim.Adam if recipe.optimizer == "adam" else optim.AdamW
    return kind(groups, lr, weight_decay=decay)


def build_scheduler(recipe: Recipe, optimizer: optim.Optimizer) -> Any:
    """The recipe's scheduler, stepped once per epoch, or None."""
    if recipe.scheduler == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
        )
    if recipe.scheduler == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs, recipe.min_lr)
    if recipe.scheduler == "step":
        return lr_scheduler.StepLR(optimizer, recipe.step_size, recipe.factor)
    return None


def test_transform(recipe: Recipe) -> transforms.Compose:
    """An image as the network sees it when it is tested."""
    steps: list[Any] = [transforms.ToTensor()]
    if recipe.normalize == "standardize":
        steps.append(transforms.Normalize((MEAN,), (DEVIATION,)))
    return transforms.Compose(steps)


def train_transform(recipe: Recipe) -> transforms.Compose:
    """An image as the network sees it in training: augmented first, so that uncovered is black."""
    steps: list[Any] = []
    if recipe.augment != "none":
        steps.append(transforms.RandomHorizontalFlip())
    if recipe.augment == "flip_affine":
        steps.append(
            transforms.RandomAffine(
                0,
                translate=(recipe.translate, recipe.translate),
                scale=(1 - recipe.scale, 1 + recipe.scale),
            )
        )
    return transforms.Compose([*steps, *test_transform(recipe).transforms])


def one_image(pixels: np.ndarray[Any, np.dtype[np.uint8]], recipe: Recipe) -> Tensor:
    """A batch of one image, (1, 1, 28, 28), from pixels of shape (28, 28)."""
    image: Tensor = test_transform(recipe)(pixels)
    return creation.from_numpy(image.numpy().reshape(1, 1, 28, 28))
