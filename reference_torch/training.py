"""A recipe's network, optimizer and scheduler in plain PyTorch, and one step of training.

engine.py adds the data; parity holds these steps beside npmlp's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler

from npmlp.engine_protocol import NotFiniteError, Score
from npmlp.errors import CheckpointError
from npmlp.recipes import Recipe
from reference_torch import models


class TorchTraining:
    """Trains a recipe's network, whose weights are drawn from PyTorch's default generator.

    Parameters: `recipe`; `shape`, of an image: (channels, height, width); `classes`, how many there
    are; `device`, where it computes. The default dtype must be the recipe's.
    """

    def __init__(
        self, recipe: Recipe, shape: tuple[int, int, int], classes: int, device: torch.device
    ) -> None:
        self.recipe, self.device = recipe, device
        # weights are drawn on the CPU whatever the device, from the same stream
        self.model = models.build(recipe, shape, classes).to(device)
        self.optimizer = _optimizer(recipe, self.model)
        self.scheduler = _scheduler(recipe, self.optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Any) -> Score:
        score = self.gradients(batch)
        self.update()
        return score

    def gradients(self, batch: Any) -> Score:
        """The first half of a step: the gradients of a batch's loss, in the parameters' `grad`."""
        x, y = batch
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = self.loss(logits, y)
        value = loss.item()
        if not math.isfinite(value):
            raise self._first_not_finite(x, value)
        loss.backward()
        return Score(value, int((logits.argmax(1) == y).sum().item()), len(y))

    def update(self) -> None:
        """The second half: clip the gradients and move the weights."""
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()

    def end_epoch(self, train_loss: float) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(train_loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    # ----------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        scheduler = {} if self.scheduler is None else self.scheduler.state_dict()
        state = {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
        }
        plain: dict[str, Any] = to_arrays(state)
        return plain

    def load_state(self, state: dict[str, Any]) -> None:
        found = to_tensors(state)
        try:
            self.model.load_state_dict(found["model"])
            self.optimizer.load_state_dict(found["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(found["scheduler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the network {self.recipe.arch}: {error}"
            ) from None

    def not_finite(self) -> str | None:
        for name, tensor in self.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                return name
        return None

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


def to_arrays(value: Any) -> Any:
    """Nested dicts and lists with arrays in place of tensors, as the checkpoint file takes them."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, dict):
        return {k: to_arrays(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_arrays(v) for v in value)
    return value


def to_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {k: to_tensors(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_tensors(v) for v in value)
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
