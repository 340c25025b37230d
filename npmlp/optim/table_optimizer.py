"""TableOptimizer: a step of all parameters at once.

An eager step gathers the parameters that have a gradient into tables, and applies the rule to them.
A recorded one gathers once, and applies at every replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from npmlp import config, dtypes
from npmlp.kernels.tables import RATES, Table
from npmlp.ops.spec import Array
from npmlp.optim.optimizer import Group, Optimizer, check_arrays
from npmlp.optim.step_table import Arrays, Block, Row, StepTable
from npmlp.recording import Repeatable
from npmlp.tensor import Tensor


class TableOptimizer(Optimizer):
    """An optimizer whose rule is a kernel that walks over tables.

    Notes
    -----
    A subclass has `_buffers`, the names of what it keeps for a parameter in the kernel's order,
    `_counted`, whether it also counts the steps, and the methods from `_keeps` on.
    """

    _counted = True
    _table: StepTable | None = None  # of the latest eager step

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, whose arrays have other addresses."""
        return {k: v for k, v in self.__dict__.items() if k != "_table"}

    def _update(self) -> None:
        table = self._table = self._gather(self._table)
        self._run(table)
        for row in table.rows:
            row.grad = None

    def _repeated(self) -> Callable[[], None]:
        return _Repeated(self).repeatable()

    def _gather(self, latest: StepTable | None = None) -> StepTable:
        """Find the parameters that have a gradient; make the state of those that have none yet.

        Parameters: `latest`, a table of this optimizer that may be used again.

        Raises
        ------
        GraphError, ShapeError : a parameter that cannot be written, or that has another shape than
            its gradient or state. Nothing has been updated then.
        """
        if latest is not None and self._goes_on(latest):
            return latest
        return self._lay_out(
            (g, p, p._grad._data)
            for g, group in enumerate(self.param_groups)
            for p in group["params"]
            if p._grad is not None
        )

    def _goes_on(self, table: StepTable) -> bool:
        """Whether a table is good for the gradients of now, whose addresses are then in it."""
        if not self._fits(table):
            return False
        rows = iter(table.rows)
        for g, group in enumerate(self.param_groups):
            for p in group["params"]:
                if p._grad is not None:
                    row = next(rows, None)
                    if (
                        row is None
                        or row.param is not p
                        or row.group != g
                        or not row.goes_on(self.state, p._grad._data)
                    ):
                        return False
        return next(rows, None) is None

    def _fits(self, table: StepTable) -> bool:
        kernels, state, keeps = table.made_for
        return (
            kernels == config.get_kernels()
            and state is self.state
            and keeps == [self._keeps(group) for group in self.param_groups]
        )

    def _lay_out(self, found: Iterable[tuple[int, Tensor, Any]]) -> StepTable:
        keeps = [self._keeps(group) for group in self.param_groups]
        rows = []
        for g, p, grad in found:
            row = Row(g, p, grad, self._state_of(p, keeps[g]))
            arrays = {key: array for key, _, array in row.state}
            row.arrays = (p._data, *map(arrays.get, self._buffers))
            check_arrays(self._name, p._data, grad, *(a for a in row.arrays if a is not None))
            rows.append(row)
        return StepTable(rows, (config.get_kernels(), self.state, keeps))

    def _state_of(self, p: Tensor, keeps: tuple[bool, ...]) -> list[Any]:
        """(key, Tensor, its array) of the state that a step needs, made where it is new."""
        wanted = [name for name, kept in zip(self._buffers, keeps, strict=True) if kept]
        if self._counted:
            wanted.insert(0, "step")
        for key in wanted:
            if self.state[p].get(key) is None:
                self.state[p][key] = count_of(0) if key == "step" else self._new_buffer(p)
        return [(key, self.state[p][key], self.state[p][key]._data) for key in wanted]

    def _new_buffer(self, p: Tensor) -> Tensor:
        return Tensor._wrap(np.zeros_like(p._data))

    def _apply(self, table: StepTable) -> StepTable:
        """Update what is in a table, with the options as they are now, and count the step.

        The table may be of an earlier step, while its parameters and gradients are the same arrays.
        Loaded state, and options that need other buffers, are noticed; other parameters and groups,
        or state that was replaced by hand, are not: gather anew then.

        Returns: the table for the next step, which after loaded state is another.
        """
        table = self._fitting(table)
        self._run(table)
        return table

    def _fitting(self, table: StepTable) -> StepTable:
        return table if self._fits(table) else self._again(table)

    def _again(self, table: StepTable) -> StepTable:
        return self._lay_out([(row.group, row.param, row.grad) for row in table.rows])

    def _run(self, table: StepTable) -> None:
        numbers = [self._numbers(group) for group in self.param_groups]
        for block in table.blocks:
            self._bring_up_to_date(block, numbers)
            self._update_table(block.table, block.rates)
        for row, moment in zip(table.alone, self._moments(table.alone), strict=True):
            self._update_one(row.arrays, row.grad, moment, *numbers[row.group])
        for row in table.rows:
            row.param._storage.version += 1

    def _prepare(self, table: StepTable) -> tuple[StepTable, bool]:
        """All of `_apply` but the kernels, and whether those kept for the table are still right."""
        table = self._fitting(table)
        numbers = [self._numbers(group) for group in self.param_groups]
        same = [self._bring_up_to_date(block, numbers) for block in table.blocks]
        for row in table.rows:
            row.param._storage.version += 1
        return table, all(same)

    def _bring_up_to_date(self, block: Block, numbers: list[Any]) -> bool:
        """Count a step, and set the rates for it. Returns: whether only numbers in them changed."""
        moments = self._moments(block.rows)
        if moments == block.moments and numbers == block.numbers:
            return True
        return self._set_rates(block, numbers, moments)

    def _set_rates(self, block: Block, numbers: list[Any], moments: list[Any]) -> bool:
        """A row of rates for each group and moment; each parameter's number of its row."""
        together = moments.count(moments[0]) == len(moments)  # as nearly always
        if together and block.kinds:
            for place, g in enumerate(block.kinds):
                block.rates[place] = self._rates(moments[0], *numbers[g])
            block.numbers, block.moments = numbers, moments
            return True
        kinds: dict[Any, int] = {}
        kind_of = [
            kinds.setdefault(kind, len(kinds)) for kind in zip(block.groups, moments, strict=True)
        ]
        same = kind_of == block.kind_of
        if not same:
            block.table.rows[:, RATES] = block.kind_of = kind_of
        rates = [self._rates(moment, *numbers[g]) for g, moment in kinds]
        if len(rates) == len(block.rates):
            block.rates[:] = rates  # in place: a plan's calls have this array
        else:
            block.rates, same = np.array(rates), False
        block.numbers, block.moments = numbers, moments
        block.kinds = [g for g, _ in kinds] if together else []
        return same

    # ------------------------------------------------------------------------ for the subclasses

    def _keeps(self, group: Group) -> tuple[bool, ...]:
        """For each of `_buffers`, whether the group's parameters need it, by its options now."""
        raise NotImplementedError

    def _numbers(self, group: Group) -> tuple[Any, ...]:
        """The options, as `_rates` and `_update_one` take them."""
        raise NotImplementedError

    def _moments(self, rows: list[Row]) -> list[Any]:
        """Count a step of each. What the rates depend on beside the options: the steps so far."""
        moments = []
        for row in rows:
            count = row.count
            steps = count.item() + 1
            count.fill(steps)  # for a 0-d array ten times as fast as += 1
            moments.append(steps)
        return moments

    def _uncount(self, rows: list[Row], moments: list[Any]) -> None:
        """Take back what `_moments` has done."""
        for row in rows:
            row.count.fill(row.count.item() - 1)

    def _rates(self, moment: Any, *numbers: Any) -> tuple[float, ...]:
        """A row of rates for the kernel."""
        raise NotImplementedError

    def _update_table(self, table: Table, rates: Array) -> None:
        """Update the parameters of a table."""
        raise NotImplementedError

    def _update_one(self, arrays: Arrays, grad: Array, moment: Any, *numbers: Any) -> None:
        """Update one parameter, with the kernels in use."""
        raise NotImplementedError


class _Repeated:
    """A step of a plan (recording.Repeatable): gathered once, applied at every call."""

    def __init__(self, optimizer: TableOptimizer) -> None:
        self.optimizer = optimizer
        self.table: StepTable | None = None
        self.kept: StepTable | None = None  # whose kernels are among the plan's calls

    def repeatable(self) -> Repeatable:
        """What a plan is given."""
        return Repeatable(
            self.run, self.first, self.keep, self.undo, again=self.again, of=self.optimizer
        )

    def again(self) -> Repeatable:
        """The step that follows in the same replay, with rates of its own."""
        if self.table is None or self.table.alone:  # nothing is kept: each is done in its turn
            return self.repeatable()
        following = _Repeated(self.optimizer)
        following.table = self.optimizer._again(self.table)
        following.table.begin_with(self.table)
        return following.repeatable()

    def run(self) -> None:
        """A whole step."""
        self.table = self.optimizer._apply(self._current())

    def _current(self) -> StepTable:
        """The table; with new state for the same gradients where somebody has replaced it."""
        table = self.table
        if table is None:
            return self.optimizer._gather()
        if table.made_for[1] is not self.optimizer.state or not table.has_its_state():
            return self.optimizer._again(table)
        return table

    def first(self) -> bool:
        """What Python does of a step: read the options, count. The kept calls do the rest."""
        table = self._current()
        self.table, same = self.optimizer._prepare(table)
        return same and self.table is self.kept

    def undo(self) -> None:
        """Take back the count: the step was not taken."""
        if self.table is not None:
            for block in self.table.blocks:
                self.optimizer._uncount(block.rows, block.moments)

    def keep(self) -> bool:
        """Make the kernels' calls, with the rates where `first` will put those of each step."""
        table = self.table
        if table is None or table.alone:
            return False
        self.kept = table
        for block in table.blocks:
            self.optimizer._update_table(block.table, block.rates)
        return True


def count_of(steps: Any) -> Tensor:
    """How PyTorch counts steps: in a 0-d Tensor of the default dtype."""
    return Tensor._wrap(np.asarray(float(steps), dtypes.get_default_dtype().numpy))
