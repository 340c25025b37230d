"""AdamW: Adam whose weight decay does not pass through the averages."""

from __future__ import annotations

from npmlp.optim.adam import Adam
from npmlp.optim.optimizer import Group, Params
from npmlp.tensor import Tensor


class AdamW(Adam):
    """Adam with decoupled weight decay.

        θ ← θ − lr · weight_decay · θ, then a step of Adam without weight decay

    In Adam the decay is part of the gradient and gets divided by √v̂: weights with large gradients
    are decayed less. Here all are decayed alike, by lr · weight_decay per step.

    Parameters, Raises, state: as in Adam; `weight_decay` is 0.01 unless given.

    Source: Loshchilov, Hutter 2019 (arXiv:1711.05101), algorithm 2, with the decay multiplied by
    lr as PyTorch has it.

    Example
    -------
    >>> import npmlp
    >>> w = npmlp.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = npmlp.optim.AdamW([w], lr=0.5, weight_decay=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.3750, 1.2500])
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def _complete_group(self, group: Group) -> None:
        super()._complete_group(group)
        group["decoupled_weight_decay"] = True  # also for the state of an Adam
