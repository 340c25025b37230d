"""PyTorch's engine for npmlp's driver: the same recipe, computed by PyTorch alone.

Of npmlp it takes the recipe, the place of the data files and the driver that writes the run's
folder; nothing of what computes. So the two can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, Subset, random_split

from npmlp.checkpoint import Array
from npmlp.driver import NotFiniteError, Score
from npmlp.errors import CheckpointError, RunError
from npmlp.files import home_as_tilde
from npmlp.recipes import Recipe
from npmlp.vision.datasets import load_fashion_mnist
from reference_torch import models
from reference_torch.torchvision_cpu import import_torchvision

MEAN, DEVIATION = 0.2860, 0.3530
EVALUATION_BATCH = 1000


class Images(Dataset[tuple[torch.Tensor, int]]):
    """uint8 images and their classes, each image as a PIL picture through the transform."""

    def __init__(self, images: Array, labels: Array, transform: Any) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class TorchEngine:
    """Trains a recipe with PyTorch; see npmlp.driver.Engine."""

    def __init__(self, recipe: Recipe, data: str | None = None, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise RunError("--device cuda: PyTorch finds no GPU here; use --device cpu")
        self.recipe = recipe
        self.device = torch.device(device)
        torch.set_default_dtype(getattr(torch, recipe.dtype))
        torch.manual_seed(recipe.seed)
        # weights are drawn on the CPU whatever the device, from the same stream
        self.model = models.build(recipe).to(self.device)
        self.optimizer = _optimizer(recipe, self.model)
        self.scheduler = _scheduler(recipe, self.optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._load_data(data)
        self.loader: Any = DataLoader(self.train_set, batch_size=recipe.batch_size, shuffle=True)
        self.batches_per_epoch = len(self.loader)
        size = sum(p.numel() for p in self.model.parameters())
        self.description = (
            f"{recipe.name} in PyTorch on {device}: {size:,} parameters, "
            f"{len(self.train_set):,} training images from {home_as_tilde(self.source)}"
        )

    def _load_data(self, data: str | None) -> None:
        recipe = self.recipe
        arrays = load_fashion_mnist(data)
        self.source = arrays.source
        plain, augmented = _transforms(recipe)
        train = Images(arrays.train_images, arrays.train_labels, augmented)
        test = Images(arrays.test_images, arrays.test_labels, plain)
        self.train_set: Any = train
        self.held_out: dict[str, Any] = {"test": test}
        self.has_validation = recipe.validation != "none"
        if self.has_validation:
            whole = train if recipe.validation == "train" else test
            parts = [len(whole) - recipe.validation_size, recipe.validation_size]
            if parts[0] <= 0:
                raise RunError(
                    f"--validation-size {recipe.validation_size}: the {recipe.validation} set has "
                    f"{len(whole)} images, and some must be left"
                )
            rest, chosen = random_split(whole, parts)
            if recipe.validation == "train":
                self.train_set = rest
                held_in = Images(arrays.train_images, arrays.train_labels, plain)
                self.held_out["validation"] = Subset(held_in, chosen.indices)
            else:
                self.held_out |= {"test": rest, "validation": chosen}
        if recipe.limit is not None:
            first = range(min(recipe.limit, len(self.train_set)))
            self.train_set = Subset(self.train_set, first)
        # held-out images are always the same, so they go through the transform once
        self.prepared = {name: _prepare(part, self.device) for name, part in self.held_out.items()}

    # ---------------------------------------------------------------------------------- train

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self, skip: int) -> Iterator[Any]:
        self.model.train()
        batches: Iterator[Any] = iter(self.loader)
        for _ in range(skip):
            next(batches)
        return batches

    def step(self, batch: Any) -> Score:
        x, y = (part.to(self.device) for part in batch)
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
        return Score(value, int((logits.argmax(1) == y).sum().item()), len(y))

    def _first_not_finite(self, x: torch.Tensor, loss: float) -> NotFiniteError:
        name = self.not_finite()
        if name is not None:
            return NotFiniteError(
                f"the loss is {loss}, and {name} is not finite since the step before"
            )
        if not torch.isfinite(x).all():
            return NotFiniteError(
                f"the loss is {loss}, and the input has values that are not finite",
                advice="look at the data",
            )
        culprit: list[str] = []

        def watch(layer: str) -> Any:
            def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
                if not torch.isfinite(output).all():
                    culprit.append(layer)

            return hook

        hooks = [
            module.register_forward_hook(watch(f"{name} ({type(module).__name__})"))
            for name, module in self.model.named_modules()
            if not list(module.children())
        ]
        with torch.no_grad():
            self.model(x)
        for hook in hooks:
            hook.remove()
        where = f"first in the output of {culprit[0]}" if culprit else "in the loss itself"
        return NotFiniteError(f"the loss is {loss}, {where}")

    def end_epoch(self, train_loss: float) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(train_loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    @torch.no_grad()
    def evaluate(self, split: Literal["validation", "test"]) -> Score:
        images, labels = self.prepared[split]
        loss_sum, correct = 0.0, 0
        self.model.eval()
        for start in range(0, len(images), EVALUATION_BATCH):
            x, y = (
                images[start : start + EVALUATION_BATCH],
                labels[start : start + EVALUATION_BATCH],
            )
            logits = self.model(x)
            loss_sum += self.loss(logits, y).item() * len(y)
            correct += int((logits.argmax(1) == y).sum().item())
        self.model.train()
        return Score(loss_sum / len(images), correct, len(images))

    # ----------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        scheduler = {} if self.scheduler is None else self.scheduler.state_dict()
        state = {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
        }
        plain: dict[str, Any] = _to_arrays(state)
        return plain

    def load_state(self, state: dict[str, Any]) -> None:
        found = _to_tensors(state)
        try:
            self.model.load_state_dict(found["model"])
            self.optimizer.load_state_dict(found["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(found["scheduler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the network {self.recipe.arch}: {error}"
            ) from None

    def generator_state(self) -> Array:
        return torch.get_rng_state().numpy().copy()

    def set_generator_state(self, state: Array) -> None:
        torch.set_rng_state(torch.from_numpy(state.copy()))

    def not_finite(self) -> str | None:
        for name, tensor in self.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                return name
        return None


def _prepare(part: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = [part[i] for i in range(len(part))]
    images = torch.stack([image for image, _ in pairs])
    return images.to(device), torch.tensor([label for _, label in pairs]).to(device)


def _to_arrays(value: Any) -> Any:
    """Nested dicts and lists with arrays in place of tensors, as the checkpoint file takes them."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, dict):
        return {k: _to_arrays(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_arrays(v) for v in value)
    return value


def _to_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {k: _to_tensors(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_tensors(v) for v in value)
    return value


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    groups: Any = list(model.parameters())
    if recipe.decay == "weights":
        groups = [
            {"params": [p for p in groups if p.ndim > 1]},
            {"params": [p for p in groups if p.ndim <= 1], "weight_decay": 0.0},
        ]
    decay, lr = recipe.weight_decay, recipe.lr
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr, weight_decay=decay)


def _scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer) -> Any:
    if recipe.scheduler == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
        )
    if recipe.scheduler == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs, recipe.min_lr)
    if recipe.scheduler == "step":
        return lr_scheduler.StepLR(optimizer, recipe.step_size, recipe.factor)
    return None


def _transforms(recipe: Recipe) -> tuple[Any, Any]:
    """For held-out images, and for training."""
    transforms = import_torchvision().transforms
    plain = [transforms.ToTensor()]
    if recipe.normalize == "standardize":
        plain.append(transforms.Normalize((MEAN,), (DEVIATION,)))
    augmented = []
    if recipe.augment != "none":
        augmented.append(transforms.RandomHorizontalFlip())
    if recipe.augment == "flip_affine":
        t, s = recipe.translate, recipe.scale
        augmented.append(transforms.RandomAffine(0, translate=(t, t), scale=(1 - s, 1 + s)))
    return transforms.Compose(plain), transforms.Compose(augmented + plain)
