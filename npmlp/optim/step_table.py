"""What one step of an optimizer works on: the parameters that have a gradient, in tables that a
compiled kernel walks over in one call each (npmlp.kernels.tables).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from npmlp.kernels.tables import GRAD, LIKE, RATES, Table, place_of
from npmlp.ops.spec import Array
from npmlp.tensor import Tensor

_data = operator.attrgetter("_data")

Arrays = tuple[Any, ...]  # a parameter's and its buffers', None for one that it does not need


class Row:
    """A parameter that has a gradient.

    Attributes
    ----------
    group : the number of its group
    grad : the gradient's array; an eager step forgets it, so that zero_grad frees its memory
    state : (key, Tensor, its array) of what the parameter's state has for the step
    count : the array of the first in it, which for a rule that counts its steps is their number
    arrays : what the step changes
    table, line : the table that it is in and where; None where it is updated by itself
    waits : whether it is by itself for its gradient only
    """

    __slots__ = ("arrays", "count", "grad", "group", "line", "param", "state", "table", "waits")

    def __init__(self, group: int, param: Tensor, grad: Any, state: list[Any]) -> None:
        self.group, self.param, self.grad, self.state = group, param, grad, state
        self.arrays: Arrays = ()
        self.count: Any = state[0][2] if state else None
        self.table: Table | None = None
        self.line = 0
        self.waits = False

    def has_its_state(self, states: dict[Any, Any]) -> bool:
        """Whether nobody has put other tensors or arrays in the place of the state's."""
        if self.state:
            state = states.get(self.param)
            if state is None:
                return False
            for key, tensor, array in self.state:
                if state.get(key) is not tensor or tensor._data is not array:
                    return False
        return True

    def goes_on(self, states: dict[Any, Any], grad: Array) -> bool:
        """Whether the row is good for another gradient, which it takes: the parameter and its state
        are the same arrays as before, and the gradient is of their kind.
        """
        param = self.arrays[0]
        if self.param._data is not param or not param.flags.writeable:
            return False
        if grad.shape != param.shape or not self.has_its_state(states):
            return False
        self.grad = grad
        if self.table is None:
            return not (self.waits and place_of(grad, param.dtype))
        place = place_of(grad, param.dtype)
        self.table.write(self.line, GRAD, place)
        return place != 0


class Block:
    """Rows that one call of the kernel walks over: of one dtype, with the same buffers.

    Attributes
    ----------
    rates : as the kernel takes them, for the `numbers` of the groups and the `moments` of the rows
    kind_of : which row of `rates` each row has
    kinds : the group of each row of `rates`, while all rows have one moment; otherwise nothing
    """

    __slots__ = ("groups", "kind_of", "kinds", "moments", "numbers", "rates", "rows", "table")

    def __init__(self, rows: list[Row], table: Table) -> None:
        self.rows, self.table = rows, table
        self.groups = [row.group for row in rows]
        self.numbers: list[Any] = []
        self.moments: list[Any] = []
        self.kind_of: list[int] = []
        self.kinds: list[int] = []
        self.rates: Array = np.empty(0)
        for i, row in enumerate(rows):
            row.table, row.line = table, i


class StepTable:
    """What a step works on. It holds all the arrays, so that the addresses stay good.

    Attributes
    ----------
    rows : the parameters that have a gradient, in the order of the groups
    blocks : the rows whose arrays lie in order in memory
    alone : the others, which are updated one by one; with "numpy" kernels all of them
    made_for : the kernels, the optimizer's state, and which buffers each group needs
    """

    __slots__ = (
        "all_states", "alone", "arrays", "blocks", "items", "made_for", "rows", "states", "tensors",
    )  # fmt: skip

    def __init__(self, rows: list[Row], made_for: tuple[str, Any, list[Any]]) -> None:
        self.rows, self.made_for = rows, made_for
        self.all_states = list(made_for[1].values())
        self.states = [made_for[1][row.param] for row in rows if row.state]
        self.items = list(self._items())
        self.tensors = [tensor for row in rows for _, tensor, _ in row.state]
        self.arrays = [array for row in rows for _, _, array in row.state]
        self.blocks: list[Block] = []
        self.alone: list[Row] = []
        together: dict[Any, list[tuple[Row, list[int]]]] = {}
        for row in rows:
            line = self._line(row)
            if line:
                key = row.param._data.dtype, tuple(a is not None for a in row.arrays[1:])
                together.setdefault(key, []).append((row, line))
            else:
                self.alone.append(row)
        for (dtype, kept), members in together.items():
            table = Table([line for _, line in members], dtype, kept)
            self.blocks.append(Block([row for row, _ in members], table))

    def begin_with(self, other: StepTable) -> None:
        """Take over the rates of a table of the same rows, in an array of its own."""
        for block, its in zip(self.blocks, other.blocks, strict=True):
            block.rates, block.kinds, block.kind_of = its.rates.copy(), its.kinds, its.kind_of
            block.table.rows[:, RATES] = its.kind_of

    def has_its_state(self) -> bool:
        """`Row.has_its_state` of all rows: at every replay, so with Python's own loops."""
        if not self.all_states:
            return not self.made_for[1]
        return (
            len(self.made_for[1]) == len(self.all_states)
            and all(map(operator.is_, self.made_for[1].values(), self.all_states))
            and sum(map(len, self.states)) == len(self.items)
            and all(map(operator.is_, self._items(), self.items))
            and all(map(operator.is_, map(_data, self.tensors), self.arrays))
        )

    def _items(self) -> Iterator[Any]:
        """What the states hold, one after the other."""
        return itertools.chain.from_iterable(map(dict.values, self.states))

    def _line(self, row: Row) -> list[int]:
        """The row of a table; empty if it belongs in none."""
        param = row.arrays[0]
        if self.made_for[0] != "numba" or param.dtype not in LIKE:
            return []
        places = [0 if a is None else place_of(a, param.dtype) for a in row.arrays]
        if not all(place or a is None for place, a in zip(places, row.arrays, strict=True)):
            return []
        grad = place_of(row.grad, param.dtype)
        row.waits = not grad
        return [param.size, 0, places[0], grad, *places[1:]] if grad else []
