"""Faults to plant in npmlp's side at one step: `--inject layer=fc3,kind=gradient,scale=1.001`.

They show that the comparison finds what is wrong, and says where.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp import creation, nn
from npmlp.engine import NpmlpEngine
from npmlp.errors import RunError
from npmlp.recipes import Recipe
from reference_torch.parity.record import leaves

KINDS = {
    "order": "two halves of a batch change places",
    "label": "the first image of a batch gets the class after its own",
    "augmentation": "the first image of a batch is moved by a pixel",
    "mask": "dropout zeroes one entry more",
    "statistics": "a running mean is multiplied with scale",
    "gradient": "a gradient is multiplied with scale",
    "moment": "what the optimizer remembers of a gradient is multiplied with scale",
    "weight": "weights are multiplied with scale",
    "epsilon": "the optimizer's eps is multiplied with scale for a step",
    "bias_correction": "Adam's bias correction is left out for a step",
}
FIELDS = ("kind", "layer", "scale", "step")
OF_LAYER = {"mask": "Dropout", "statistics": "BatchNorm1d", "gradient": "", "moment": "",
            "weight": ""}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where and when."""

    kind: str
    layer: str | None = None
    """a layer's name; by default the last that fits"""
    scale: float = 1.001
    step: int = 1
    """counted from 1"""

    def __str__(self) -> str:
        where = f" in {self.layer}" if self.layer else ""
        scaled = "scale" in KINDS[self.kind]
        return f"{self.kind}{where}{f', times {self.scale:g}' if scaled else ''}, step {self.step}"


def parse(text: str, step: int) -> Fault:
    """The fault that `layer=fc3,kind=gradient,scale=1.001` writes; `step` is where none is given.

    Raises RunError for what cannot be understood.
    """
    fields: dict[str, str] = {}
    for part in text.split(","):
        field, equals, value = part.strip().partition("=")
        if not equals or field not in FIELDS or field in fields:
            raise RunError(
                f"--inject {text}: {part.strip()!r} is not understood; expected fields of "
                f"{', '.join(FIELDS)} as in kind=gradient,layer=fc2,scale=1.001,step=5"
            )
        fields[field] = value
    kind = fields.get("kind", "gradient")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1) or list(KINDS)
        raise RunError(f"--inject {text}: there is no kind {kind!r}; try {', '.join(near)}")
    try:
        return Fault(
            kind, fields.get("layer"), float(fields.get("scale", 1.001)),
            int(fields.get("step", step)),
        )  # fmt: skip
    except ValueError:
        raise RunError(
            f"--inject {text}: scale is a number and step a whole number from 1"
        ) from None


class Planted:
    """A fault in an engine of npmlp's. Made before anyone watches the layers."""

    def __init__(self, fault: Fault | None, engine: NpmlpEngine) -> None:
        self.engine, self.fault, self.step = engine, fault, 0
        if fault is not None:
            self.fault = _checked(fault, engine.recipe, engine.model)
            if fault.kind == "mask":
                self._module().register_forward_hook(self._drop_one_more)

    def _is_now(self, *kinds: str) -> bool:
        return self.fault is not None and self.fault.step == self.step and self.fault.kind in kinds

    def _module(self) -> Any:
        assert self.fault is not None and self.fault.layer is not None
        return dict(leaves(self.engine.model))[self.fault.layer]

    def batch(self, batch: Any) -> Any:
        """The batch of the next step, spoiled or not."""
        self.step += 1
        if not self._is_now("order", "label", "augmentation"):
            return batch
        assert self.fault is not None
        x, y = (tensor.numpy().copy() for tensor in batch)
        if self.fault.kind == "order":
            x, y = (np.roll(array, len(array) // 2, axis=0) for array in (x, y))
        elif self.fault.kind == "label":
            y[0] = (y[0] + 1) % len(self.engine.data.classes)
        else:
            x[0] = np.roll(x[0], 1, axis=-1)
        return creation.from_numpy(x), creation.from_numpy(y)

    def _drop_one_more(self, module: Any, args: Any, output: Any) -> Any:
        if not self._is_now("mask") or not module.training:
            return None
        keep = np.ones_like(output.detach().numpy())
        keep.flat[np.flatnonzero(output.detach().numpy())[0]] = 0
        return output * creation.from_numpy(keep)

    def after_gradients(self) -> None:
        """Spoil a gradient, or a running mean."""
        if self.fault is None:
            return
        if self._is_now("statistics"):
            self._module().running_mean.numpy()[...] *= self.fault.scale
        elif self._is_now("gradient"):
            for parameter in self._module().parameters():
                parameter.grad.numpy()[...] *= self.fault.scale

    def update(self) -> None:
        """Update the engine's weights, with what is wrong about it."""
        optimizer = self.engine.optimizer
        if self._is_now("epsilon"):
            assert self.fault is not None
            before = [group["eps"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["eps"] *= self.fault.scale
            self.engine.update()
            for group, eps in zip(optimizer.param_groups, before, strict=True):
                group["eps"] = eps
        elif self._is_now("bias_correction"):
            far = 1_000_000  # steps, after which the correction is 1
            self._count_on(far)
            self.engine.update()
            self._count_on(-far)
        else:
            self.engine.update()
            self._after_update()

    def _count_on(self, steps: int) -> None:
        optimizer = self.engine.optimizer
        for parameter in self.engine.model.parameters():
            if not optimizer.state[parameter]:  # before the first step there is no count yet
                optimizer._begin(parameter)
            optimizer.state[parameter]["step"].numpy()[...] += steps

    def _after_update(self) -> None:
        if not self._is_now("weight", "moment"):
            return
        assert self.fault is not None
        scale = self.fault.scale
        for parameter in self._module().parameters():
            if self.fault.kind == "weight":
                parameter.detach().numpy()[...] *= scale
            elif self.fault.kind == "moment":
                state = self.engine.optimizer.state[parameter]
                kept = "exp_avg" if "exp_avg" in state else "momentum_buffer"
                state[kept].numpy()[...] *= scale


def _checked(fault: Fault, recipe: Recipe, model: nn.Module) -> Fault:
    """The fault with its layer filled in. Raises RunError where the recipe has nothing such."""
    if fault.kind in ("bias_correction", "epsilon") and recipe.optimizer == "sgd":
        raise RunError(f"--inject kind={fault.kind}: {recipe.name} trains with SGD, without one")
    if fault.kind == "moment" and recipe.optimizer == "sgd" and not recipe.momentum:
        raise RunError(f"--inject kind=moment: {recipe.name}'s SGD keeps nothing without momentum")
    if fault.kind not in OF_LAYER:
        if fault.layer is not None:
            raise RunError(f"--inject kind={fault.kind}: is of no layer; leave out layer=")
        return fault
    layers = {
        name: module
        for name, module in leaves(model)
        if (type(module).__name__ == OF_LAYER[fault.kind])
        or (not OF_LAYER[fault.kind] and list(module.parameters()))
    }
    if not layers:
        raise RunError(
            f"--inject kind={fault.kind}: {recipe.name} has no {OF_LAYER[fault.kind]} layer"
        )
    layer = fault.layer or list(layers)[-1]
    if layer not in layers:
        raise RunError(
            f"--inject layer={layer}: {recipe.name} has for kind={fault.kind} the layers "
            f"{', '.join(layers)}"
        )
    return Fault(fault.kind, layer, fault.scale, fault.step)
