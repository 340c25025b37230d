"""Hold a layer of npmlp beside its PyTorch twin, in float64.

`python -m reference_torch.gradcheck my_module:MyLayer --twin my_module:TorchLayer --input 8,784`
copies the layer's state to the twin by name and compares outputs, the gradients of inputs and
parameters from one random cotangent, and the buffers afterwards. It imports both sides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import tyro

import npmlp
from npmlp import commands
from npmlp.errors import NpmlpError
from npmlp.gradcheck import construct, guarded, shapes, table

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Compare a layer with its PyTorch twin: outputs, gradients and buffers, in float64."""

    layer: tyro.conf.Positional[str]
    """module:name of npmlp's layer, a Module class, a Module or a function"""
    twin: str
    """module:name of PyTorch's"""
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """the shape of an input, as 8,784; once for each input that the layer takes"""
    arg: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """an argument of both classes, as 784 or bias=False; once for each"""
    args: str = ""
    """all arguments of both classes at once, as "784, 10, bias=False" """
    seed: int = 0
    """seeds the inputs, the initial parameters, and each call, so that dropout drops the same"""
    eval: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """compare in evaluation mode"""
    tol: float = 1e-10
    """what is allowed, relative to the largest entry"""
    debug: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """show the whole stack when something goes wrong"""


@dataclass(frozen=True)
class Difference:
    """Two arrays that should be equal. The entry is the one that is furthest off."""

    name: str
    shape: tuple[int, ...]
    entry: tuple[int, ...]
    ours: float
    theirs: float
    relative: float  # to the largest entry of theirs
    ok: bool


def compare(
    layer: Callable[..., Any],
    twin: Callable[..., Any],
    inputs: Sequence[Array],
    seed: int = 0,
    tol: float = 1e-10,
) -> list[Difference]:
    """Outputs, gradients and buffers of both, from the same state, inputs and cotangent.

    Parameters: `layer` and `twin`, modules in float64 or functions; `inputs`, float64 arrays;
    each side is called after `manual_seed(seed)`. Raises: NpmlpError where the two have other
    parameters or outputs.
    """
    if hasattr(layer, "state_dict") != hasattr(twin, "state_dict"):
        raise NpmlpError("one of the two is a Module and the other a function; both must be either")
    if hasattr(layer, "state_dict"):
        copy_state(layer, twin)
    ours, theirs = _run(npmlp, layer, inputs, seed), _run(torch, twin, inputs, seed)
    for name in sorted(set(ours) ^ set(theirs)):
        side = "npmlp's layer" if name in ours else "the twin"
        raise NpmlpError(f"{side} alone has {name}")
    return [_difference(name, ours[name], theirs[name], tol) for name in ours]


def copy_state(layer: Any, twin: Any) -> None:
    """Give the twin the layer's parameters and buffers, by their names."""
    ours, theirs = layer.state_dict(), twin.state_dict()
    for name in [*ours, *theirs]:
        shape, other = (tuple(s[name].shape) if name in s else None for s in (ours, theirs))
        if shape != other:
            raise NpmlpError(
                f"state_dict: {name} has shape {shape} in npmlp's layer and {other} in the twin; "
                "give both the same names and shapes"
            )
    twin.load_state_dict({k: torch.from_numpy(np.array(v.detach())) for k, v in ours.items()})


def _run(library: Any, layer: Any, inputs: Sequence[Array], seed: int) -> dict[str, Array]:
    """All that is compared, by name."""
    tensors = [library.from_numpy(x.copy()).requires_grad_() for x in inputs]
    library.manual_seed(seed)
    result = layer(*tensors)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    roots = [t for t in outputs if t.requires_grad]
    rng = np.random.default_rng(seed)
    cotangents = [library.from_numpy(np.array(rng.standard_normal(tuple(t.shape)))) for t in roots]
    wanted = {f"d input {i}": t for i, t in enumerate(tensors)}
    if hasattr(layer, "named_parameters"):
        wanted |= {f"d {name}": p for name, p in layer.named_parameters() if p.requires_grad}
    found: Sequence[Any] = [None] * len(wanted)
    if roots:
        found = library.autograd.grad(roots, list(wanted.values()), cotangents, allow_unused=True)
    compared = {f"output {i}": t for i, t in enumerate(outputs)}
    compared |= {n: g for n, g in zip(wanted, found, strict=True) if g is not None}
    if hasattr(layer, "named_buffers"):
        compared |= {f"buffer {name}": b for name, b in layer.named_buffers()}
    return {name: np.array(t.detach().numpy(), np.float64) for name, t in compared.items()}


def _difference(name: str, ours: Array, theirs: Array, tol: float) -> Difference:
    if ours.shape != theirs.shape:
        raise NpmlpError(f"{name} has shape {ours.shape} in npmlp and {theirs.shape} in PyTorch")
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0, np.abs(ours - theirs))
    apart = np.where(np.isnan(apart), np.inf, apart)
    if not apart.size:
        return Difference(name, ours.shape, (), 0.0, 0.0, 0.0, ok=True)
    entry = np.unravel_index(apart.argmax(), apart.shape)
    finite = np.abs(theirs[np.isfinite(theirs)])
    scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    relative = float(apart[entry]) / scale
    where = tuple(int(i) for i in entry)
    return Difference(
        name, ours.shape, where, float(ours[entry]), float(theirs[entry]), relative, relative <= tol
    )


HEAD = ("", "shape", "worst entry", "npmlp", "PyTorch", "relative", "")


def main(argv: Sequence[str]) -> int:
    """`python -m reference_torch.gradcheck`: exit code 0 if all agree, 1 if not."""
    flags = commands.parse(Flags, argv, "python -m reference_torch.gradcheck")
    wanted = shapes(flags.input)
    text = ", ".join([*flags.arg, *([flags.args] if flags.args else [])])
    sides = []
    for library, target in ((npmlp, flags.layer), (torch, flags.twin)):
        library.manual_seed(flags.seed)
        side = guarded(target, partial(construct, target, text), flags.debug)
        side = side.double() if hasattr(side, "double") else side
        sides.append(side.eval() if flags.eval else side)
    rng = np.random.default_rng(flags.seed)
    inputs = [np.array(rng.standard_normal(shape)) for shape in wanted]
    differences = guarded(
        flags.layer,
        lambda: compare(sides[0], sides[1], inputs, flags.seed, flags.tol),
        flags.debug,
    )
    rows = [
        [
            d.name, str(d.shape), str(list(d.entry)), f"{d.ours:.15g}", f"{d.theirs:.15g}",
            f"{d.relative:.1e}", "ok" if d.ok else "FAIL",
        ]
        for d in differences
    ]  # fmt: skip
    print(table(HEAD, rows))
    wrong = [d.name for d in differences if not d.ok]
    verdict = f"{', '.join(wrong)} differ" if wrong else f"all agree to {flags.tol:g}"
    print(f"\n{flags.layer} and {flags.twin}: {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
