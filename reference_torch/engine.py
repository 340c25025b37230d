"""PyTorch's engine for npmlp's driver: the same recipe, computed by PyTorch alone.

Of npmlp it takes the recipe, the arrays of the data set and the driver that writes the run's
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
from torch.utils.data import Subset, random_split

from npmlp import observe
from npmlp.checkpoint import Array
from npmlp.engine_protocol import NotFiniteError, Score
from npmlp.errors import CheckpointError, RunError
from npmlp.recipes import Recipe
from npmlp.vision.images import load_image_data
from reference_torch import batches, models
from reference_torch.batches import Augmentation, Images

EVALUATION_BATCH = 1000


class TorchEngine:
    """Trains a recipe with PyTorch; see npmlp.engine_protocol.Engine."""

    def __init__(self, recipe: Recipe, data: str | None = None, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise RunError("--device cuda: PyTorch finds no GPU here; use --device cpu")
        self.recipe = recipe
        self.device = torch.device(device)
        torch.set_default_dtype(getattr(torch, recipe.dtype))
        torch.manual_seed(recipe.seed)
        self.data = load_image_data(data)
        # weights are drawn on the CPU whatever the device, from the same stream
        model = models.build(recipe, self.data.shape, len(self.data.classes))
        self.model = model.to(self.device)
        self.optimizer = _optimizer(recipe, self.model)
        self.scheduler = _scheduler(recipe, self.optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
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

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self, skip: int) -> Iterator[Any]:
        self.model.train()
        epoch: Iterator[Any] = iter(self.loader)
        for _ in range(skip):
            next(epoch)
        return epoch

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

    def not_finite(self) -> str | None:
        for name, tensor in self.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                return name
        return None


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
