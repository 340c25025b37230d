"""Losses as modules: how far an output is from a target, as one number to be made small.

Every loss has `reduction`: "mean", "sum", or "none" for one number per entry. `size_average` and
`reduce` are PyTorch's older spelling of it. What each computes stands in npmlp/ops/loss.py.
"""

from __future__ import annotations

from npmlp.nn import functional as F
from npmlp.nn.functional.arguments import choose_reduction
from npmlp.nn.module import Module
from npmlp.tensor import Tensor


class _Loss(Module):
    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.reduction = choose_reduction(size_average, reduce, reduction, stacklevel=4)


class L1Loss(_Loss):
    """|x - y|"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """(x - y)²"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class BCELoss(_Loss):
    """-w (y · ln x + (1 - y) · ln(1 - x)) of probabilities x; BCEWithLogitsLoss loses fewer digits.

    Parameters: `weight` w, a Tensor that broadcasts to the input, or None for 1.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-w (p · y · ln σ(x) + (1 - y) · ln(1 - σ(x))), computed without overflow.

    Parameters: `weight` w and `pos_weight` p, Tensors that broadcast to the input, or None for 1.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class NLLLoss(_Loss):
    """-weight[y] · x[y], of log-probabilities x, as LogSoftmax gives them, and classes y.

    Input (C), (N, C) or (N, C, d1, …), target (), (N) or (N, d1, …) of int64. The mean divides by
    the sum of the weights.

    Parameters: `weight`, Tensor of shape (C,), or None; `ignore_index`, a target that counts
    nothing.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class CrossEntropyLoss(_Loss):
    """-Σ_c q_c · ln softmax(x)_c: takes logits, so no softmax belongs in front of it.

    Input (C), (N, C) or (N, C, d1, …). Target: classes, int64 of shape (), (N) or (N, d1, …), for
    which q is 1 at the class; or probabilities q, floats of the input's shape.

    Parameters
    ----------
    weight : Tensor of shape (C,), a factor per class, or None
    ignore_index : a class that counts nothing
    label_smoothing : ε from 0 to 1: q becomes (1 - ε)·q + ε / C

    Example
    -------
    >>> import npmlp
    >>> CrossEntropyLoss()(npmlp.zeros(2, 10), npmlp.tensor([3, 7]))
    tensor(2.3026)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
