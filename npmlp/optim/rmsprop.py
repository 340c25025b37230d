"""RMSprop: each gradient over the root of its own mean square."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from npmlp.kernels.tables import Table
from npmlp.ops.spec import Array
from npmlp.optim.adam import _lerp
from npmlp.optim.optimizer import Group, Params, check_implementation, check_option
from npmlp.optim.step_table import Arrays
from npmlp.optim.table_optimizer import TableOptimizer, count_of
from npmlp.tensor import Tensor


@np.errstate(all="ignore")  # infinity and NaN pass through, as in PyTorch
def rmsprop_update(
    param: Array,
    grad: Array,
    square_avg: Array,
    momentum_buffer: Array | None,
    grad_avg: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """One step for one parameter, in place: the text that the compiled kernel has the bits of.
    `grad_avg` is None unless centered, `momentum_buffer` is None without momentum.

    The operations are PyTorch's, in its order; where it multiplies and adds at once, it rounds once
    and this twice.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    square_avg *= alpha
    square_avg += (1 - alpha) * grad * grad
    variance = square_avg
    if grad_avg is not None:
        grad_avg[...] = _lerp(grad_avg, grad, 1 - alpha)
        variance = square_avg - grad_avg * grad_avg
    avg = np.sqrt(variance) + eps
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += grad / avg
        param -= lr * momentum_buffer
    else:
        param -= lr * (grad / avg)


class RMSprop(TableOptimizer):
    """RMSprop: the gradient over the root of the mean square of the gradients so far.

        g ← ∇f(θ) + weight_decay · θ                (−∇f(θ) with maximize)
        v ← α v + (1 − α) g²
        m ← α m + (1 − α) g, and v − m² instead of v below          (only if centered)
        b ← momentum · b + g / (√v + eps)                           (only if momentum ≠ 0)
        θ ← θ − lr · b, or without momentum θ − lr · g / (√v + eps)

    Parameters
    ----------
    params : parameters, named parameters or groups of them; see Optimizer
    lr : learning rate per step, a number or a Tensor of one entry
    alpha : the average looks back about 1 / (1 − α) steps
    eps : added after the root
    weight_decay, momentum : numbers of at least 0
    centered : divide by the deviation from the mean gradient
    maximize : go up instead of down
    foreach : accepted, and changes nothing

    Raises
    ------
    ValueError, TypeError : an option out of its range, or parameters that cannot be optimized
    OutsideSubsetError : capturable=True or differentiable=True

    Notes
    -----
    In state_dict: `step` (a Tensor, as in PyTorch), `square_avg`, `momentum_buffer`, `grad_avg`.

    Source: Tieleman, Hinton 2012, Neural Networks for Machine Learning, lecture 6.5; centered:
    Graves 2013 (arXiv:1308.0850), equations 38-45; eps outside of the root, as PyTorch has it.

    Example
    -------
    >>> import npmlp
    >>> w = npmlp.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = npmlp.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr / √(1 - alpha) in every direction
    >>> w.detach()
    tensor([0.9000, 1.9000])
    """

    _buffers: ClassVar[tuple[str, ...]] = ("square_avg", "momentum_buffer", "grad_avg")
    _absent: ClassVar[Group] = {
        "momentum": 0,
        "centered": False,
        "capturable": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
    }

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults: Group = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        self._check_options(defaults)
        super().__init__(params, defaults)

    def _check_options(self, options: Group) -> None:
        for name in ("lr", "eps", "momentum", "weight_decay", "alpha"):
            check_option(self._name, name, options[name])
        check_implementation(self._name, options)

    def _state_for(self, param: Tensor, saved: Any, where: str) -> Any:
        state = super()._state_for(param, saved, where)
        for key in ("step", "square_avg"):
            if state and state.get(key) is None:
                raise self._misfit(f"{where} has no {key!r}; was it saved by another optimizer?")
        if state and not isinstance(state["step"], Tensor):  # a plain number, in older versions
            state["step"] = count_of(state["step"])
        return state

    def _keeps(self, group: Group) -> tuple[bool, ...]:
        return True, float(group["momentum"]) > 0, bool(group["centered"])

    def _numbers(self, group: Group) -> tuple[Any, ...]:
        # float(), because a NumPy scalar or a Tensor would make float32 arithmetic float64
        lr, alpha, eps = float(group["lr"]), float(group["alpha"]), float(group["eps"])
        weight_decay, momentum = float(group["weight_decay"]), float(group["momentum"])
        return lr, alpha, eps, weight_decay, momentum, bool(group["maximize"])

    def _rates(self, moment: float, *numbers: Any) -> tuple[float, ...]:
        return tuple(float(number) for number in numbers)

    def _update_table(self, table: Table, rates: Array) -> None:
        _compiled_table()(table, rates)

    def _update_one(self, arrays: Arrays, grad: Array, moment: float, *numbers: Any) -> None:
        param, square_avg, momentum_buffer, grad_avg = arrays
        rmsprop_update(param, grad, square_avg, momentum_buffer, grad_avg, *numbers)


@functools.cache
def _compiled_table() -> Any:
    from npmlp.kernels.rmsprop import rmsprop_table

    return rmsprop_table
