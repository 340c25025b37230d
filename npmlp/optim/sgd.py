"""Stochastic gradient descent, with momentum and its variants."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from npmlp import config
from npmlp.ops.spec import Array
from npmlp.optim.optimizer import (
    Group,
    Optimizer,
    Params,
    check_arrays,
    check_implementation,
    check_option,
)
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


class SGD(Optimizer):
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

    def _check_options(self, options: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            check_option(self._name, name, options[name])
        check_implementation(self._name, options)

    def _update_group(self, group: Group) -> None:
        # float(), because a NumPy scalar or a Tensor would make float32 arithmetic float64
        lr, momentum = float(group["lr"]), float(group["momentum"])
        dampening, weight_decay = float(group["dampening"]), float(group["weight_decay"])
        nesterov, maximize = bool(group["nesterov"]), bool(group["maximize"])
        step = _compiled_step() if config.get_kernels() == "numba" else sgd_update
        for p in group["params"]:
            if p._grad is None:
                continue
            param, grad = p._data, p._grad._data
            arrays: tuple[Array, ...] = (param, grad)
            buf, first = None, False
            if momentum != 0:
                buf, first = self._momentum_buffer(p)
                arrays = (param, grad, buf)
            check_arrays(self._name, *arrays)
            step(
                param, grad, buf, first,
                lr, momentum, dampening, weight_decay, nesterov, maximize,
            )  # fmt: skip
            p._storage.version += 1

    def _momentum_buffer(self, p: Tensor) -> tuple[Array, bool]:
        """(the array, whether it was made just now and holds nothing yet)."""
        state = self.state[p]
        held = state.get("momentum_buffer")
        if held is not None:
            return held._data, False
        buf = np.empty_like(p._data)
        state["momentum_buffer"] = Tensor._wrap(buf)
        return buf, True


@functools.cache
def _compiled_step() -> Any:
    from npmlp.kernels.optim import sgd_step

    return sgd_step
