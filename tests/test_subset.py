"""docs/subset.md is written from the code: `python tests/test_subset.py` writes it anew."""

from __future__ import annotations

import importlib
import textwrap
import types
from pathlib import Path

import pytest

import npmlp
from reference_torch.torchvision_cpu import import_torchvision

import_torchvision()

SUBSET = Path(__file__).parents[1] / "docs" / "subset.md"

# npmlp's module, and PyTorch's
MODULES = {
    "npmlp": "torch",
    "npmlp.Tensor": "torch.Tensor",
    "npmlp.autograd": "torch.autograd",
    "npmlp.linalg": "torch.linalg",
    "npmlp.nn": "torch.nn",
    "npmlp.nn.functional": "torch.nn.functional",
    "npmlp.nn.init": "torch.nn.init",
    "npmlp.nn.utils": "torch.nn.utils",
    "npmlp.optim": "torch.optim",
    "npmlp.optim.lr_scheduler": "torch.optim.lr_scheduler",
    "npmlp.utils.data": "torch.utils.data",
    "npmlp.vision.datasets": "torchvision.datasets",
    "npmlp.vision.transforms": "torchvision.transforms",
    "npmlp.cuda": "torch.cuda",
    "npmlp.accelerator": "torch.accelerator",
    "npmlp.backends.cudnn": "torch.backends.cudnn",
    "npmlp.backends.mps": "torch.backends.mps",
}

INTRODUCTION = """\
# What npmlp has of PyTorch

Every name of PyTorch that npmlp has is listed here, module by module; a test compares the list with
the code. What is not here raises `OutsideSubsetError`, which names it and says what to use instead
(npmlp/outside.py has what is asked for most). Where nothing else helps, `x.numpy()` gives a
tensor's array, memory shared, with all of NumPy, and `npmlp.from_numpy(array)` comes back; what has
to be differentiated can be an `autograd.Function` of one's own, or an operation (npmlp/ops/spec.py
says what it consists of).

Results, warnings and random draws are those of PyTorch 2.13 on the CPU. A script for it that keeps
to what is here runs with only its import lines changed, and prints the same text: in float64 to
every digit, in float32 with the same words and shapes, and numbers that agree as PyTorch's do when
a sum is reordered. tests/dropin has three such scripts, tests/test_dropin.py runs them both ways.

## Accepted, and without effect

- `foreach`, `fused` of optimizers; `foreach` of gradient clipping
- `num_workers`, `pin_memory`, `timeout`, `worker_init_fn`, `multiprocessing_context`,
  `prefetch_factor`, `persistent_workers`, `pin_memory_device`, `in_order` of DataLoader: checked as
  in PyTorch; everything happens in one process, with the draws of `num_workers=0`
- `map_location`, `weights_only` of `load`; `non_blocking` of `to`
- `device`, where it is the CPU, and `set_default_device`
- the seeds of `npmlp.cuda`; the switches of `npmlp.backends.cudnn`

## Different from PyTorch

- Only the CPU, and only float32, float64, int64, uint8 and bool.
- `__version__` is npmlp's own.
- No second derivatives: `create_graph=True` is refused.
- An `autograd.Function` has one output with a gradient, and changes no input in place.
- `out=` must have the result's shape, or no entries; PyTorch warns of others and resizes them.
- A recorded change in place of a view, such as `y[0].mul_(3)` where gradients are needed, is
  refused; so is a view that was made before its base changed in a recorded way.
- An index of dtype uint8 is refused: PyTorch takes it for a mask, NumPy for positions.
- `mse_loss` and `l1_loss` refuse shapes that both would grow, as (N, 1) beside (N,); where only one
  of them grows they warn, as PyTorch does.
- Errors have classes of their own (npmlp/errors.py). ShapeError is a ValueError, DTypeError a
  TypeError, GraphError a RuntimeError, where PyTorch mostly raises RuntimeError, and IndexError for
  an index or dimension out of range.
- `npmlp.Tensor(data)` is not called; use `npmlp.tensor(data)`.
- `save` writes tensors, numbers, strings, and dicts and lists of them, as safetensors without
  pickle, so neither library reads the other's files. A whole Module is not saved; its state_dict
  is. Tensors are not pickled.
- A data set has `__getitem__`; one that can only be iterated over is refused.
- `nn.functional.pad` pads the last two dimensions at most; `dropout2d` takes (N, C, H, W) alone.
"""


def look_up(path: str) -> object:
    """A module, or a class in one."""
    parent, _, name = path.rpartition(".")
    if name == "Tensor":
        return getattr(importlib.import_module(parent), name)
    return importlib.import_module(path)


def names(ours: str, theirs: str) -> list[str]:
    """The public names that both have, without modules and without what a module imports to use."""
    here, there = look_up(ours), look_up(theirs)
    own = getattr(here, "__all__", ())
    package = isinstance(here, type) or hasattr(here, "__path__")
    found = []
    for name in dir(here):
        if name.startswith("_") or not hasattr(there, name):
            continue
        value = getattr(here, name)
        home = getattr(value, "__module__", None)
        foreign = home is not None and not home.startswith("npmlp" if package else ours)
        foreign = foreign and name not in own
        if not isinstance(value, types.ModuleType) and not foreign:
            found.append(name)
    return sorted(found, key=lambda name: (name.lower(), name))


def text() -> str:
    """What docs/subset.md should be."""
    parts = [INTRODUCTION]
    for ours, theirs in MODULES.items():
        listed = ", ".join(f"`{name}`" for name in names(ours, theirs))
        lines = textwrap.fill(listed, 100, break_long_words=False, break_on_hyphens=False)
        parts.append(f"## {ours}\n\n{lines}\n")
        if ours == "npmlp.Tensor":
            parts.append(
                "And Python's operators: `+ - * / // % ** @`, `& | ^ ~`, comparisons, `abs`, "
                "`len`, `in`, indexing.\n"
            )
    return "\n".join(parts)


def test_the_list_of_the_subset_is_the_codes() -> None:
    assert SUBSET.read_text("utf-8") == text(), "python tests/test_subset.py writes it anew"


@pytest.mark.parametrize(
    "path",
    ["npmlp.nosuch", "npmlp.nn.nosuch", "npmlp.nn.functional.nosuch", "npmlp.optim.NoSuch",
     "npmlp.optim.lr_scheduler.NoSuch", "npmlp.utils.data.NoSuch", "npmlp.vision.transforms.NoSuch",
     "npmlp.ones(2).nosuch", "npmlp.nn.ReLU().cuda"],
)  # fmt: skip
def test_what_is_outside_says_where_the_list_is(path: str) -> None:
    for module in ("npmlp.vision.transforms", "npmlp.utils.data"):
        importlib.import_module(module)
    with pytest.raises(npmlp.errors.OutsideSubsetError, match=r"docs/subset\.md"):
        eval(path, {"npmlp": npmlp})


if __name__ == "__main__":
    SUBSET.write_text(text(), "utf-8")
