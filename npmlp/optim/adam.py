"""Adam: a step as long as the gradient is steady, whatever its scale."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from npmlp import config
from npmlp.errors import OutsideSubsetError
from npmlp.kernels.tables import Table
from npmlp.ops.spec import Array
from npmlp.optim.optimizer import Group, Params, check_implementation, check_option
from npmlp.optim.step_table import Arrays
from npmlp.optim.table_optimizer import TableOptimizer, count_of
from npmlp.tensor import Tensor


@np.errstate(all="ignore")  # infinity and NaN pass through, as in PyTorch
def adam_update(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    step: float,
    lr: Any,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Step number `step` (from 1) for one parameter, in place: the text that the compiled kernel
    is checked against. `max_exp_avg_sq` is None without amsgrad.

    The operations are PyTorch's, in its order. In rounding there are two differences: where PyTorch
    multiplies and adds at once it rounds once, as the kernel does; and PyTorch's square root is off
    by up to an ulp, as neither this nor the kernel is.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled:
            param *= float(1 - lr * weight_decay)
        else:
            grad = grad + weight_decay * param

    exp_avg[...] = _lerp(exp_avg, grad, 1 - beta1)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * grad * grad

    # The averages began at zero; divided by these, they are as if they had always been running.
    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    step_size = float(lr / bias_correction1)

    second_moment = exp_avg_sq
    if max_exp_avg_sq is not None:
        second_moment = np.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
    denom = np.sqrt(second_moment) / bias_correction2**0.5 + eps
    param -= step_size * exp_avg / denom


def _lerp(start: Array, end: Array, weight: float) -> Array:
    """start + weight · (end − start), from the nearer of the two ends: exact at weight 0 and 1."""
    if weight < 0.5:
        return start + weight * (end - start)
    # the weight in the precision of the arrays first, as PyTorch has it
    return end - (end - start) * (1 - start.dtype.type(weight))


class Adam(TableOptimizer):
    """Adam: the mean gradient over the root of its mean square, both running averages.

        g ← ∇f(θ) + weight_decay · θ     (−∇f(θ) with maximize), or with decoupled_weight_decay
                                         θ ← θ − lr · weight_decay · θ before the rest
        m ← β₁ m + (1 − β₁) g            m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²           v̂ = v / (1 − β₂ᵗ), of the largest v so far with amsgrad
        θ ← θ − lr · m̂ / (√v̂ + eps)

    Parameters
    ----------
    params : parameters, named parameters or groups of them; see Optimizer
    lr : learning rate per step, a number or a Tensor of one entry: about how far a step may go
    betas : (β₁, β₂) ∈ [0, 1)²: each average looks back about 1 / (1 − β) steps
    eps : added after the root and after its bias correction
    weight_decay : added to the gradient, and so divided by √v̂ as well, unless decoupled
    amsgrad : keep the largest v for the denominator
    maximize : go up instead of down
    decoupled_weight_decay : as in AdamW
    foreach, fused : accepted, and change nothing

    Raises
    ------
    ValueError, TypeError : an option out of its range, or parameters that cannot be optimized
    OutsideSubsetError : capturable=True, differentiable=True, or betas as Tensors

    Notes
    -----
    In state_dict: `step` (a Tensor, as in PyTorch), `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`.

    Source: Kingma, Ba 2015 (arXiv:1412.6980), algorithm 1; amsgrad: Reddi, Kale, Kumar 2018.

    Example
    -------
    >>> import npmlp
    >>> w = npmlp.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = npmlp.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr in every direction
    >>> w.detach()
    tensor([0.5000, 1.5000])
    """

    _buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _absent: ClassVar[Group] = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults: Group = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        self._check_options(defaults)
        defaults["betas"] = tuple(betas)
        super().__init__(params, defaults)

    def _check_options(self, options: Group) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_option(self._name, name, options[name])
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(
                f"{self._name}: betas is {betas!r}, expected a pair such as (0.9, 0.999)"
            )
        if any(isinstance(beta, Tensor) for beta in betas):
            raise OutsideSubsetError(
                f"{self._name}: betas as Tensors are outside npmlp; pass numbers"
            )
        for i, beta in enumerate(betas):
            check_option(self._name, f"betas[{i}]", beta, below=1)
        check_implementation(self._name, options)

    def _complete_group(self, group: Group) -> None:
        super()._complete_group(group)
        group["betas"] = tuple(group["betas"])

    def _state_for(self, param: Tensor, saved: Any, where: str) -> Any:
        state = super()._state_for(param, saved, where)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if state and state.get(key) is None:
                raise self._misfit(f"{where} has no {key!r}; was it saved by another optimizer?")
        if state and not isinstance(state["step"], Tensor):  # a plain number, in older versions
            state["step"] = count_of(state["step"])
        return state

    def _keeps(self, group: Group) -> tuple[bool, ...]:
        return True, True, bool(group["amsgrad"])

    def _numbers(self, group: Group) -> tuple[Any, ...]:
        lr = group["lr"]
        if isinstance(lr, Tensor):  # then PyTorch computes the step size in the precision of lr
            lr = lr._data.reshape(())[()]
        # float(), because a NumPy scalar would make float32 arithmetic float64
        beta1, beta2 = group["betas"]
        eps, weight_decay = float(group["eps"]), float(group["weight_decay"])
        decoupled, maximize = group["decoupled_weight_decay"], bool(group["maximize"])
        return lr, float(beta1), float(beta2), eps, weight_decay, decoupled, maximize

    def _rates(self, moment: float, *numbers: Any) -> tuple[float, ...]:
        rates: tuple[float, ...] = _compiled().adam_rates(moment, *numbers)
        return rates

    def _update_table(self, table: Table, rates: Array) -> None:
        _compiled().adam_table(table, rates)

    def _update_one(self, arrays: Arrays, grad: Array, moment: float, *numbers: Any) -> None:
        step = _compiled().adam_step if config.get_kernels() == "numba" else adam_update
        param, exp_avg, exp_avg_sq, largest = arrays
        step(param, grad, exp_avg, exp_avg_sq, largest, moment, *numbers)


@functools.cache
def _compiled() -> Any:
    from npmlp.kernels import optim

    return optim
