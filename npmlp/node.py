"""What the tape is made of: a Node for each operation that ran, and the Storage of its arrays.

autograd.py writes the nodes and walks them.
"""

from __future__ import annotations

from typing import Any

from npmlp.ops.spec import Attrs, Kernel, Layout, Needs, OpSpec


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
        "freed",
        "guards",
        "inputs",
        "kernel",
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

    def name(self) -> str:
        """As PyTorch names it: AddBackward0, AddmmBackward0, ..."""
        from npmlp.grad_fn_names import grad_fn_name

        return grad_fn_name(self)

    def __repr__(self) -> str:
        return f"<{self.name()}>"
