"""One step of a recipe's training in PyTorch, from any state, with a record of what it made."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from npmlp.checkpoint import Array
from npmlp.recipes import Recipe
from reference_torch.parity.record import Record, Watch, name_of_call, of_torch
from reference_torch.parity.rounding import RoundingNoise
from reference_torch.training import TorchTraining, to_tensors


class DrawnOnCPU(nn.Module):
    """Dropout whose mask comes from the CPU's generator, whatever the device of its input.

    noise = bernoulli(1 - p) / (1 - p), out = x · noise, as torch.nn.functional.dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        noise = torch.empty(x.shape, dtype=x.dtype).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * noise.to(x.device)


DrawnOnCPU.__name__ = "Dropout"  # which is what it is to whoever looks at the layers


def draw_masks_on_cpu(model: nn.Module) -> None:
    """Put DrawnOnCPU in the place of every Dropout."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, DrawnOnCPU(child.p).train(child.training))


class TorchStep:
    """The recipe's network and optimizer in PyTorch, put into any state for the next step.

    The generator is PyTorch's default one; whoever calls puts it where it should be.
    """

    def __init__(
        self, recipe: Recipe, shape: tuple[int, int, int], classes: int, device: torch.device
    ) -> None:
        with torch.random.fork_rng(devices=[]):  # its own first weights are never used
            self.training = TorchTraining(recipe, shape, classes, device)
        self.model = self.training.model.train()
        if device.type != "cpu":
            draw_masks_on_cpu(self.model)
        self.imposed: dict[str, Array] = {}
        self._impose_decisions()
        self.noise = RoundingNoise(self.model)
        self.watch = Watch(self.model, of_torch)  # last, to see what the others make of outputs
        self.training.loss.register_forward_pre_hook(
            lambda module, args: self.noise.in_the_loss(args[0])
        )

    def load(self, state: dict[str, Any]) -> None:
        """Begin from nested arrays as `state()` of an engine gives them."""
        found = to_tensors(state)
        self.model.load_state_dict(found["model"])
        self.training.optimizer.load_state_dict(found["optimizer"])

    def gradients(
        self, batch: Any, *, noise: bool = False, decisions: dict[str, Array] | None = None
    ) -> Record:
        """The first half of a step, up to the gradients.

        Parameters: `noise`, whether rounding noise is added; `decisions`, which way each ReLU and
        max-pooling is to go instead of choosing for itself.
        """
        record = self.watch.begin()
        self.noise.on, self.imposed = noise, decisions or {}
        try:
            self.watch.after_backward(self.training.gradients(batch).loss)
        finally:
            self.noise.on, self.imposed = False, {}
        return record

    def update(self, gradients: dict[str, Array] | None = None) -> Record:
        """The second half, from gradients of its own or from these; it goes on with the record."""
        if gradients is not None:
            for name, parameter in self.model.named_parameters():
                if parameter.grad is not None:
                    parameter.grad.copy_(torch.from_numpy(gradients[name]))
        self.training.update()
        self.watch.after_update(self.training.optimizer)
        return self.watch.record

    def _impose_decisions(self) -> None:
        for name, module in self.model.named_modules():
            if isinstance(module, (nn.ReLU, nn.MaxPool2d)):
                module.register_forward_hook(self._imposing(name))

    def _imposing(self, layer: str) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
            if not self.imposed:
                return None
            chosen = self.imposed[name_of_call(layer, self.watch.record)]
            (x,) = args
            decision = torch.from_numpy(np.ascontiguousarray(chosen)).to(x.device)
            if isinstance(module, nn.ReLU):
                return x * decision
            return x.flatten(2).gather(2, decision.flatten(2)).view_as(output)

        return hook
