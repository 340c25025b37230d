"""What the tape is made of: a Node for each operation that ran, and the Storage of its arrays.

autograd.py writes the nodes and walks them.
"""

from __future__ import annotations

import itertools
from typing import Any

from npmlp.ops.spec import Attrs, Kernel, Layout, Needs, OpSpec

_sequence = itertools.count()


def next_sequence() -> int:
    """The number of a node that is written now."""
    return next(_sequence)


class Storage:
    """What all views of one array share: counters that tell when it was changed.

    `version` counts changes of the values. `history` counts those that were themselves recorded:
    after one, an older view would still carry the graph of the values from before.
    """

    __slots__ = ("history", "version")

    def __init__(self) -> None:
        self.version = 0
        self.history = 0


class Node:
    """One operation that ran: enough to compute its inputs' gradients from its output's."""

    __slots__ = (
        "attrs",
        "edges",
        "entry",
        "freed",
        "guards",
        "inputs",
        "kernel",
        "label",
        "layout",
        "needs",
        "outs",
        "retained",
        "sequence",
        "shapes",
        "spec",
    )

    spec: OpSpec
    attrs: Attrs
    layout: Layout
    kernel: Kernel | None
    needs: Needs
    inputs: tuple[Any, ...]  # the arrays that backward reads, None elsewhere
    outs: tuple[Any, ...]
    shapes: tuple[Any, ...]  # of all inputs
    edges: tuple[Any, ...]  # per input: the Node that made it, the leaf Tensor, or None
    sequence: int  # grows as the tape is written
    freed: bool  # whether backward has dropped the saved arrays
    guards: list[tuple[Storage, int, str]]  # what must not have changed since, and its name
    retained: list[Any]  # tensors that asked for their gradient with retain_grad()
    entry: Any  # on the tape of a plan that is being recorded, else None
    label: str | None  # PyTorch's name of it, where the operation alone does not tell

    def name(self) -> str:
        """As PyTorch names it: AddBackward0, AddmmBackward0, ..."""
        from npmlp.grad_fn_names import grad_fn_name

        return self.label or grad_fn_name(self)

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """The nodes of the inputs, each with the number 0: (None, 0) where none is recorded."""
        from npmlp.grad_fn_names import next_functions

        return next_functions(self)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


def named(tensor: Any, label: str) -> Any:
    """A result whose node bears PyTorch's name of the function that was called."""
    if tensor._node is not None:
        tensor._node.label = label
    return tensor


class AccumulateGrad:
    """Where a walk ends: what stands for a leaf in `next_functions`."""

    __slots__ = ("variable",)

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    def name(self) -> str:
        """As PyTorch names it."""
        return "torch::autograd::AccumulateGrad"

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """Nothing comes after it."""
        return ()

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.variable):#x}>"


class Transposed:
    """The transposed weight of a linear layer, which PyTorch records and npmlp does not need."""

    __slots__ = ("edge",)

    def __init__(self, edge: Any) -> None:
        self.edge = edge

    def name(self) -> str:
        """As PyTorch names it."""
        return "TBackward0"

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """The weight's."""
        return ((as_function(self.edge), 0),)

    def __repr__(self) -> str:
        return f"<TBackward0 object at {id(self.edge):#x}>"


def as_function(edge: Any) -> Any:
    """An edge as it is shown: a Node is itself, a leaf its AccumulateGrad."""
    return edge if edge is None or isinstance(edge, Node) else AccumulateGrad(edge)
