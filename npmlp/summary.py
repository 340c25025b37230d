"""A network in a table: its layers as they run, their output shapes, parameters and work.

Counted as torchinfo counts, so that the table of a network equals the one of its PyTorch twin.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from npmlp import creation, nn
from npmlp.autograd import no_grad
from npmlp.observe import evaluating
from npmlp.tensor import Tensor

Shape = tuple[int, ...]


@dataclass
class Row:
    """A layer at work, once."""

    depth: int  # 0 for the network itself
    name: str  # in the module that holds it
    kind: str  # the class
    is_leaf: bool  # holds no other layers
    parameters: int  # of its own, not those of layers that it holds
    repeated: bool  # it stands in a row above, too, with the same parameters
    input_shape: Shape = ()
    output_shape: Shape = ()  # () for a container that is not called itself
    output_bytes: int = 0
    mult_adds: int = 0


@dataclass
class Summary:
    """What a batch costs a network; `str()` of it is a table."""

    input_shape: Shape
    input_bytes: int
    parameters: int
    trainable: int
    parameter_bytes: int
    rows: list[Row] = field(default_factory=list)

    @property
    def mult_adds(self) -> int:
        """Multiplications with an addition of a forward pass over the batch, as torchinfo counts.

        A convolution has parameters × images × output pixels of them, every other layer
        parameters × images; see `mult_adds_of_rows`.
        """
        return sum(row.mult_adds for row in self.rows)

    @property
    def mult_adds_of_rows(self) -> int:
        """The same, with all rows of an image that a linear layer works on: mixer's patches."""
        return sum(
            row.mult_adds * (math.prod(row.output_shape[1:-1]) if row.kind == "Linear" else 1)
            for row in self.rows
        )

    @property
    def activation_bytes(self) -> int:
        """The outputs of the layers with parameters, and as much again for their gradients."""
        return 2 * sum(row.output_bytes for row in self.rows if row.is_leaf and row.parameters)

    @property
    def total_bytes(self) -> int:
        """Input, activations and parameters together; an optimizer needs its own beside them."""
        return self.input_bytes + self.activation_bytes + self.parameter_bytes

    def __str__(self) -> str:
        table = [("layer", "output shape", "parameters", "multiply-adds")]
        for row in self.rows:
            name = f"{row.name} ({row.kind})" if row.name else row.kind
            parameters = f"{row.parameters:,}" if row.parameters else "–"
            table.append(
                (
                    "  " * row.depth + name,
                    str(list(row.output_shape)) if row.output_shape else "–",
                    "as above" if row.repeated and row.parameters else parameters,
                    f"{row.mult_adds:,}" if row.mult_adds else "–",
                )
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            f"{name:{widths[0]}}   {shape:{widths[1]}}   {size:>{widths[2]}}   {work:>{widths[3]}}"
            for name, shape, size, work in table
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _totals(self) -> Iterator[str]:
        trainable = "all" if self.trainable == self.parameters else f"{self.trainable:,} of them"
        yield f"parameters      {self.parameters:,}, {trainable} trainable"
        counted = f"multiply-adds   {self.mult_adds:,} for a batch of {self.input_shape[0]}"
        if self.mult_adds_of_rows == self.mult_adds:
            yield counted
        else:
            yield f"{counted}, as torchinfo counts;"
            every = "with every row of an image that a linear layer works on"
            yield f"{'':14}  {self.mult_adds_of_rows:,} {every}"
        sizes = {
            "input": self.input_bytes,
            "forward and backward": self.activation_bytes,
            "parameters": self.parameter_bytes,
        }
        parts = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in sizes.items())
        yield f"memory          {self.total_bytes / 1e6:.2f} MB: {parts}"


def summarize(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """Run a batch through a network and write down what each layer does.

    Parameters: `model`, left as it was; `input_shape`, of a batch: (N, …).
    Returns: a Summary, its rows in the order in which layers run. No random number is drawn.
    Raises: ShapeError where the network does not take such a batch.
    Source: torchinfo 1.8, whose counts these are (https://github.com/TylerYep/torchinfo).
    """
    parameters = list(model.parameters())
    x = creation.zeros(*input_shape, dtype=parameters[0].dtype if parameters else None)
    summary = Summary(
        input_shape=tuple(input_shape),
        input_bytes=x.numpy().nbytes,
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.detach().numpy().nbytes for p in parameters),
    )
    with no_grad(), evaluating(model), _watched(model, summary.rows):
        model(x)
    return summary


@contextlib.contextmanager
def _watched(model: nn.Module, rows: list[Row]) -> Iterator[None]:
    """While open, every call of a module of the network adds a row."""
    above: list[nn.Module] = []  # the modules of the rows that the next row may stand under
    running: dict[int, list[Row]] = {}  # by module, whose calls may nest

    def add(path: list[tuple[str, nn.Module]]) -> Row:
        *holders, (name, module) = path
        for depth, (_, holder) in enumerate(holders):
            if above[depth : depth + 1] != [holder]:  # not called itself, such as a ModuleList
                add(path[: depth + 1])
        above[len(holders) :] = [module]
        row = Row(
            depth=len(holders),
            name=name,
            kind=type(module).__name__,
            is_leaf=not list(module.children()),
            parameters=sum(p.numel() for p in module.parameters(recurse=False)),
            repeated=id(module) in running,
        )
        running.setdefault(id(module), []).append(row)
        rows.append(row)
        return row

    def before(path: list[tuple[str, nn.Module]]) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            add(path)

        return hook

    def after(module: nn.Module, args: Any, output: Any) -> None:
        row = running[id(module)][-1]
        if args and isinstance(args[0], Tensor):
            row.input_shape = tuple(args[0].shape)
        if not isinstance(output, Tensor):
            return
        row.output_shape, row.output_bytes = tuple(output.shape), output.numpy().nbytes
        if row.is_leaf:
            pixels = math.prod(output.shape[2:]) if "Conv" in row.kind else 1
            row.mult_adds = row.parameters * output.shape[0] * pixels

    handles = []
    for path in _paths(model, []):
        module = path[-1][1]
        handles += [
            module.register_forward_pre_hook(before(path)),
            module.register_forward_hook(after),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _paths(
    module: nn.Module, holders: list[tuple[str, nn.Module]], name: str = ""
) -> Iterator[list[tuple[str, nn.Module]]]:
    """Each module with those that hold it, outermost first."""
    path = [*holders, (name, module)]
    yield path
    for child_name, child in module.named_children():
        yield from _paths(child, path, child_name)
