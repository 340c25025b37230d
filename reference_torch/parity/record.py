"""What is kept of a training step, of npmlp's and of PyTorch's alike: NumPy arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from npmlp.checkpoint import Array

ToArray = Callable[[Any], Array]
UNKNOWN = -1


@dataclass
class Record:
    """One training step. Layers come in the order of the forward pass, parameters in the model's.

    A layer that is called twice is listed as `relu` and `relu#2`.
    """

    loss: float = float("nan")
    activations: dict[str, Array] = field(default_factory=dict)
    """what each layer put out"""
    masks: dict[str, Array] = field(default_factory=dict)
    """which entries each dropout kept: 1, dropped: 0, or UNKNOWN where the input was 0 already"""
    decisions: dict[str, Array] = field(default_factory=dict)
    """which way each ReLU and each max-pooling went: a rounding error can turn such a one around"""
    margins: dict[str, Array] = field(default_factory=dict)
    """how near each decision was to the other one"""
    statistics: dict[str, Array] = field(default_factory=dict)
    """running means and variances, which the forward pass moves"""
    gradients: dict[str, Array] = field(default_factory=dict)
    """of each parameter, before clipping"""
    moments: dict[str, Array] = field(default_factory=dict)
    """what the optimizer keeps of each parameter, after the step: "fc1.weight exp_avg" """
    weights: dict[str, Array] = field(default_factory=dict)
    """each parameter, after the step"""


class Watch:
    """Listens to a network's layers and fills a record's `activations` and what follows from them.

    `model` is npmlp's or PyTorch's; `to_array` makes an array of one of its tensors.
    """

    def __init__(self, model: Any, to_array: ToArray) -> None:
        self.model, self.to_array = model, to_array
        self.record = Record()
        for name, module in leaves(model):
            module.register_forward_hook(self._hook(name))

    def begin(self) -> Record:
        """A new record, for the step to come."""
        self.record = Record()
        return self.record

    def _hook(self, layer: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            if not module.training:
                return
            name = name_of_call(layer, self.record)
            x, y = self.to_array(args[0]), self.to_array(output)
            self.record.activations[name] = y
            kind = type(module).__name__
            if kind == "Dropout" and module.p > 0:
                self.record.masks[name] = np.where(x == 0, UNKNOWN, y != 0).astype(np.int8)
            elif kind == "ReLU":
                self.record.decisions[name], self.record.margins[name] = x > 0, np.abs(x)
            elif kind == "MaxPool2d":
                chosen, margin = pooled(x, module)
                self.record.decisions[name], self.record.margins[name] = chosen, margin

        return hook

    def after_backward(self, loss: float) -> None:
        """Keep the loss, the gradients and the running statistics."""
        self.record.loss = loss
        for name, buffer in self.model.named_buffers():
            self.record.statistics[name] = self.to_array(buffer).copy()
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                self.record.gradients[name] = self.to_array(parameter.grad).copy()

    def after_update(self, optimizer: Any) -> None:
        """Keep the weights and what the optimizer keeps."""
        record = self.record
        for name, parameter in self.model.named_parameters():
            record.weights[name] = self.to_array(parameter).copy()
            for kept, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    record.moments[f"{name} {kept}"] = self.to_array(value).copy()


def name_of_call(layer: str, record: Record) -> str:
    """What the record calls the call of a layer that comes next: `relu`, then `relu#2`."""
    calls = sum(name.partition("#")[0] == layer for name in record.activations)
    return f"{layer}#{calls + 1}" if calls else layer


def leaves(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers that have no layers in them, by name."""
    for name, module in model.named_modules():
        if not list(module.children()):
            yield name, module


def pooled(x: Array, module: Any) -> tuple[Array, Array]:
    """Which pixel each window of a max-pooling chose, and how much less the next largest was."""
    images = torch.from_numpy(np.ascontiguousarray(x))
    args = (module.kernel_size, module.stride, module.padding, module.dilation)
    largest, chosen = torch.nn.functional.max_pool2d(images, *args, return_indices=True)
    rest = images.flatten(2).scatter(2, chosen.flatten(2), -torch.inf).view_as(images)
    # out of all windows: they overlap in no recipe; where they do, a margin comes out too large
    margin = largest - torch.nn.functional.max_pool2d(rest, *args)
    return chosen.numpy(), margin.numpy()


def of_npmlp(tensor: Any) -> Array:
    """npmlp's tensor as an array."""
    array: Array = tensor.detach().numpy()
    return array


def of_torch(tensor: Any) -> Array:
    """PyTorch's tensor as an array, from wherever it is."""
    array: Array = tensor.detach().cpu().numpy()
    return array


def plain(value: Any) -> Any:
    """npmlp's nested state with arrays of its own in place of tensors."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    if isinstance(value, np.ndarray):
        return value.copy()
    return of_npmlp(value).copy() if hasattr(value, "detach") else value
