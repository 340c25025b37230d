"""What a network does inside while it trains: outputs of its layers, dead ReLUs, histograms.

It knows networks of npmlp and of PyTorch alike, by the names that both have (`named_modules`,
`register_forward_hook`, `parameters`), and imports neither. It looks, and changes nothing: no
weight, no running mean, no mode, no draw of random numbers.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npmlp.kernels.calls import alone

Array = np.ndarray[Any, np.dtype[Any]]

# images that a look at inputs takes, at most
IMAGES = 1000
# held-out images that dead ReLUs are counted on: a unit above zero for 1 % of images or more is
# found alive by 99.3 % (1 - 0.99^500), and the pass over them costs below 1 % of an epoch of 60,000
IMAGES_COUNTED = 500
# images whose activations a histogram shows: lenet's first layer has 345,600 values for them
IMAGES_SHOWN = 100


def array(tensor: Any) -> Array:
    """The values of a Tensor of npmlp's or PyTorch's, wherever it is."""
    return np.asarray(tensor.detach().cpu().numpy())


def library(tensor: Any) -> Any:
    """The package that a Tensor is of, npmlp or torch, for the functions that both have."""
    bases = type(tensor).__mro__
    package = next(b.__module__ for b in bases if b.__module__.startswith(("npmlp", "torch")))
    return sys.modules[package.partition(".")[0]]


def spread(total: int, count: int = IMAGES) -> range:
    """`count` indices evenly over 0 … total - 1, or all of them where there are fewer."""
    return range(0, total, max(1, total // count))[:count]


def first(batches: Iterable[Any], count: int = IMAGES) -> tuple[Any, Any]:
    """The first `count` inputs and classes of an iterable of batches, or all there are."""
    xs, ys, found = [], [], 0
    for x, y in batches:
        xs.append(x)
        ys.append(y)
        found += len(y)
        if found >= count:
            break
    package = library(xs[0])
    return package.cat(xs)[:count], package.cat(ys)[:count]


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """model.eval() while open; then every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# ------------------------------------------------------------------------------ outputs of layers


@dataclass(frozen=True)
class Call:
    """A layer at work, once: its name in the network, its class, and what was kept of the output.

    A module that is used several times has several calls: relu, relu-2, relu-3.
    """

    name: str
    kind: str
    kept: Any


def calls(model: Any, x: Any, keep: Callable[[str, Any], Any]) -> tuple[list[Call], Any]:
    """Every call of a layer (a module without children) while the network looks at `x`, in order.

    Parameters: `keep`, from a layer's class name and output to what is kept of them, computed at
    once, so that no output has to outlive its layer. Returns: the calls, and the network's output.
    """
    found: list[Call] = []
    times: Counter[str] = Counter()

    def watch(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            times[name] += 1
            own = name if times[name] == 1 else f"{name}-{times[name]}"
            if hasattr(output, "detach"):  # some layers of PyTorch return tuples
                kind = type(module).__name__
                found.append(Call(own, kind, keep(kind, output)))

        return hook

    handles = [
        module.register_forward_hook(watch(name or type(module).__name__))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        # what an eager kernel on several threads is compiled for takes longer than this forward
        with evaluating(model), library(x).no_grad(), alone():
            return found, model(x)
    finally:
        for handle in handles:
            handle.remove()


# ------------------------------------------------------------------------------------ dead ReLUs


class Dead(NamedTuple):
    """How many of some ReLU units were never above zero."""

    dead: int
    units: int


def dead_relus(model: Any, x: Any) -> dict[str, Dead]:
    """The ReLU units that are never above zero for any of the images `x`, layer by layer.

    A unit is an output of the layer in front of the ReLU, which also names the row: behind a
    convolution or BatchNorm a channel (the second dimension), dead if it is at no place above zero,
    else an entry of the last dimension. Functions such as `functional.relu` are not seen, only ReLU
    modules.
    """
    units = -1

    def alive(kind: str, output: Any) -> Array | None:
        nonlocal units
        if kind.startswith(("Conv", "BatchNorm")):
            units = 1
        elif kind in ("Linear", "LayerNorm"):
            units = -1
        if kind != "ReLU":
            return None
        above = array(output) > 0
        others = set(range(above.ndim)) - {units % above.ndim}
        return np.asarray(above.any(axis=tuple(others)))

    if not any(type(module).__name__ == "ReLU" for module in model.modules()):
        return {}
    found, _ = calls(model, x, alive)
    result: dict[str, Dead] = {}
    for before, call in zip([None, *found], found, strict=False):
        if call.kept is not None:
            name = call.name if before is None else before.name
            result[name] = Dead(int((~call.kept).sum()), call.kept.size)
    return result


def share(dead: dict[str, Dead]) -> float:
    """The share of dead units over all ReLU layers together, 0 to 1."""
    return sum(d.dead for d in dead.values()) / sum(d.units for d in dead.values())


# ------------------------------------------------------------------------------------ histograms


def tensors(model: Any, x: Any) -> Iterator[tuple[str, Array]]:
    """What the histograms show, by TensorBoard's tag: weights/…, gradients/… and activations/….

    Gradients are those of the last training step, as the optimizer took them: after clipping.
    Activations are every layer's outputs for the images `x`.
    """
    for name, parameter in model.named_parameters():
        yield f"weights/{name}", array(parameter)
        if parameter.grad is not None:
            yield f"gradients/{name}", array(parameter.grad)
    for call in calls(model, x, lambda kind, output: array(output).copy())[0]:
        yield f"activations/{call.name}", call.kept


# -------------------------------------------------------------------------- layers stuck at zero


def stuck_at_zero(model: Any, loss: Any, x: Any, y: Any) -> list[str]:
    """The linear and convolutional layers whose weights are all zero and get no gradient.

    Parameters: `loss`, of (output, y). Gradients that parameters have are put back afterwards.
    """
    zero = [
        (name or type(module).__name__, module.weight)
        for name, module in model.named_modules()
        if _has_weights(module) and not array(module.weight).any()
    ]
    zero = [(name, weight) for name, weight in zero if weight.requires_grad]
    if not zero:
        return []
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.grad = None
    try:
        with evaluating(model):
            loss(model(x), y).backward()
        return [
            name for name, weight in zero if weight.grad is None or not array(weight.grad).any()
        ]
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient


def _has_weights(module: Any) -> bool:
    kinds = {"Linear", "Conv1d", "Conv2d", "Conv3d"}
    return any(base.__name__ in kinds for base in type(module).__mro__)
