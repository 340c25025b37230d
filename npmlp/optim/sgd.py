"""Stochastic gradient descent, with momentum and its variants."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from npmlp import config
from npmlp.kernels.tables import Table
from npmlp.ops.spec import Array
from npmlp.optim.optimizer import Group, Params, check_implementation, check_option
from npmlp.optim.step_table import Arrays, Row
from npmlp.optim.table_optimizer import TableOptimizer
from npmlp.tensor import Tensor


@np.errstate(all="ignore")  # infinity and NaN pass through, as in PyTorch
def sgd_update(
    param: Array,
    grad: Array,
    buf: Array | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step for one parameter, in place: the text that the compiled kernel is checked against.

    `buf` is the momentum, None without; `first` says that it holds nothing yet. The operations are
    PyTorch's, in its order; but PyTorch, and the kernel, round each `+ number * array` only once.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    if buf is not None:
        if first:
            buf[...] = grad  # without dampening
        else:
            buf *= momentum
            buf += (1 - dampening) * grad
        grad = grad + momentum * buf if nesterov else buf
    param -= lr * grad


class SGD(TableOptimizer):
    """Stochastic gradient descent: θ ← θ − lr · g, optionally with momentum.

        g ← ∇f(θ) + weight_decay · θ                (−∇f(θ) with maximize)
        b ← momentum · b + (1 − dampening) · g      (b ← g in the first step)
        g ← b, or g + momentum · b with nesterov    (only if momentum ≠ 0)
        θ ← θ − lr · g

    Parameters
    ----------
    params : parameters, named parameters or groups of them; see Optimizer
    lr : learning rate per step, a number or a Tensor of one entry
    momentum, dampening, weight_decay : numbers of at least 0 (dampening any)
    nesterov : look ahead along the momentum; needs momentum > 0 and dampening = 0
    maximize : go up instead of down
    foreach, fused : accepted, and change nothing

    Raises
    ------
    ValueError, TypeError : an option out of its range, or parameters that cannot be optimized
    OutsideSubsetError : differentiable=True

    Notes
    -----
    As in PyTorch lr is outside of b (Sutskever et al. have it inside), so that a change of lr acts
    at once on all that b has gathered. In state_dict: `momentum_buffer`.

    Source: PyTorch docs, torch.optim.SGD; Sutskever, Martens, Dahl, Hinton 2013, equations 1-4.

    Example
    -------
    >>> import npmlp
    >>> w = npmlp.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = npmlp.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0., 0.])
    """

    _buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    _counted = False
    _absent: ClassVar[Group] = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        self._check_options(defaults)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"{self._name}: nesterov=True with momentum {momentum} and dampening {dampening}; "
                "it needs a momentum above 0 and a dampening of 0"
            )
        super().__init__(params, defaults)
        self._unfilled: set[Tensor] = set()  # momentum buffers whose first step is yet to come

    def _check_options(self, options: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            check_option(self._name, name, options[name])
        check_implementation(self._name, options)

    def _keeps(self, group: Group) -> tuple[bool, ...]:
        return (float(group["momentum"]) != 0,)

    def _new_buffer(self, p: Tensor) -> Tensor:
        buffer = super()._new_buffer(p)
        self._unfilled.add(buffer)
        return buffer

    def _numbers(self, group: Group) -> tuple[Any, ...]:
        # float(), because a NumPy scalar or a Tensor would make float32 arithmetic float64
        lr, momentum = float(group["lr"]), float(group["momentum"])
        dampening, weight_decay = float(group["dampening"]), float(group["weight_decay"])
        nesterov, maximize = bool(group["nesterov"]), bool(group["maximize"])
        return lr, momentum, dampening, weight_decay, nesterov, maximize

    def _moments(self, rows: list[Row]) -> list[Any]:
        """For each whether it is the first with momentum, which sets the buffer to the gradient."""
        if not self._unfilled:
            return [False] * len(rows)
        buffers = [row.state[0][1] if row.state else None for row in rows]
        first = [buffer in self._unfilled for buffer in buffers]
        self._unfilled.difference_update(buffers)
        return first

    def _uncount(self, rows: list[Row], moments: list[bool]) -> None:
        self._unfilled.update(
            row.state[0][1] for row, first in zip(rows, moments, strict=True) if first
        )

    def _rates(self, moment: bool, *numbers: Any) -> tuple[float, ...]:
        rates: tuple[float, ...] = _compiled().sgd_rates(moment, *numbers)
        return rates

    def _update_table(self, table: Table, rates: Array) -> None:
        _compiled().sgd_table(table, rates)

    def _update_one(self, arrays: Arrays, grad: Array, moment: bool, *numbers: Any) -> None:
        step = _compiled().sgd_step if config.get_kernels() == "numba" else sgd_update
        param, buf = arrays
        step(param, grad, buf, moment, *numbers)


@functools.cache
def _compiled() -> Any:
    from npmlp.kernels import optim

    return optim
