"""The same lines run with npmlp and with PyTorch, from the same seed, to compare what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import npmlp
import npmlp.nn


def both(lines: Callable[[Any], Any], seed: int = 7) -> tuple[Any, Any]:
    """`lines(npmlp)` and `lines(torch)`."""
    results = []
    for library in (npmlp, torch):
        library.manual_seed(seed)
        results.append(lines(library))
    return results[0], results[1]


@contextmanager
def default_dtype(name: str) -> Iterator[None]:
    """Both libraries' default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    npmlp.set_default_dtype(getattr(npmlp, name))
    try:
        yield
    finally:  # npmlp's is restored after each test
        torch.set_default_dtype(before)


def arrays(state: Any) -> dict[str, np.ndarray]:
    """A state_dict's tensors, of either library, as arrays."""
    return {name: t.detach().numpy() for name, t in state.items()}


def assert_same_bits(ours: Any, theirs: Any) -> None:
    """Two state_dicts with the same keys in the same order, shapes, dtypes and bits."""
    a, b = arrays(ours), arrays(theirs)
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


def error_of(lines: Callable[[Any], Any], library: Any) -> Exception:
    """What `lines(library)` raises."""
    try:
        lines(library)
    except Exception as error:
        return error
    raise AssertionError(f"{library.__name__} raised nothing")


def net(m: Any) -> Any:
    """A network with nesting, a shared layer, a shared parameter, a None and two buffers."""

    class Block(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = m.nn.Linear(4, 4)
            self.act = m.nn.ReLU()
            self.absent = None
            self.register_parameter("scale", None)
            self.register_module("nothing", None)

        def forward(self, x: Any) -> Any:
            return self.act(self.fc(x))

    class Net(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Block()
            self.blocks = m.nn.ModuleList([Block(), Block(), self.first])
            self.head = m.nn.Linear(4, 3, bias=False)
            self.gain = m.nn.Parameter(m.ones(1))
            self.tied = self.gain
            self.register_buffer("mean", m.zeros(2))
            self.register_buffer("scratch", m.ones(2), persistent=False)
            self.register_buffer("none", None)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x) * self.gain

    return Net()
