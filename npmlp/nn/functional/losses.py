"""Losses: how far a network's answer is from the right one, as one number or one per example.

All take `reduction`: "mean" (weighted where there are weights), "sum" or "none". size_average and
reduce are PyTorch's older spelling of it.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from npmlp import config, functions
from npmlp.autograd import apply
from npmlp.errors import DataError, DTypeError, NpmlpError, ShapeError
from npmlp.nn.functional.arguments import check_constant, check_tensor, choose_reduction
from npmlp.ops import classification, loss, probability
from npmlp.ops.spec import Array, OpSpec
from npmlp.recording import Repeatable, check_readable, computes, do

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


# ------------------------------------------------------------------------------- classification


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-Σ_c q_c w_c log softmax(input)_c, q the target's distribution over the classes

    Parameters
    ----------
    input : logits, float, (N, C), (N, C, d1, ...), or (C) for one example
    target : classes, int64, the shape of `input` without C; or probabilities, of `input`'s shape
    weight : (C,), how much each class counts; a mean over classes is divided by their weights
    ignore_index : the class that costs nothing and has no gradient
    label_smoothing : this share of the target is spread over all classes

    Raises: DataError for a class that does not exist, ShapeError, DTypeError.

    >>> import npmlp
    >>> cross_entropy(npmlp.tensor([[0.0, 0.0]]), npmlp.tensor([1]))
    tensor(0.6931)
    """
    reduction = choose_reduction(size_average, reduce, reduction)
    for name, x in (("input", input), ("target", target)):
        check_tensor("cross_entropy", name, x)
    if not 0 <= label_smoothing <= 1:
        raise NpmlpError(
            f"cross_entropy: label_smoothing is {label_smoothing}, expected a number from 0 to 1"
        )
    smoothing = float(label_smoothing)
    if input.shape == target.shape and input.ndim:
        return _cross_entropy_soft(input, target, weight, ignore_index, reduction, smoothing)
    check_constant("cross_entropy", "weight", weight)
    rows, classes = _rows("cross_entropy", input, target, ignore_index)
    losses = apply(
        classification.CROSS_ENTROPY,
        rows,
        classes,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    return _as_target(losses, input, target) if reduction == "none" else losses


def _cross_entropy_soft(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    if target._data.dtype.kind != "f":
        raise DTypeError(
            f"cross_entropy: target has the input's shape {tuple(target.shape)}, so it holds "
            f"probabilities, and dtype {target.dtype}, expected floats; classes have the shape "
            "without C"
        )
    if ignore_index >= 0:
        raise NpmlpError("cross_entropy: ignore_index has no meaning for a target of probabilities")
    one = input.ndim == 1
    if one:
        input, target = functions.unsqueeze(input, 0), functions.unsqueeze(target, 0)
    losses = apply(
        classification.CROSS_ENTROPY_SOFT,
        *functions.together("cross_entropy", input, target),
        weight,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    return functions.squeeze(losses, 0) if one and reduction == "none" else losses


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w_t input_t, t the target: cross-entropy where `input` has log-probabilities already

    Parameters and Raises: as cross_entropy's, with classes as the target.
    """
    reduction = choose_reduction(size_average, reduce, reduction)
    for name, x in (("input", input), ("target", target)):
        check_tensor("nll_loss", name, x)
    check_constant("nll_loss", "weight", weight)
    rows, classes = _rows("nll_loss", input, target, ignore_index)
    losses = apply(
        classification.NLL_LOSS,
        rows,
        classes,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return _as_target(losses, input, target) if reduction == "none" else losses


def _rows(op: str, input: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """(N, C, d1, ...) and (N, d1, ...) as (M, C) and (M,): an example in each row."""
    shape, of_target = tuple(input.shape), tuple(target.shape)
    if target._data.dtype not in (np.int64, np.uint8):
        raise DTypeError(
            f"{op}: target has dtype {target.dtype.name} and shape {of_target}, expected classes "
            "in int64, without the input's dimension C; convert them with .long()"
        )
    if len(shape) == 1:  # one example: PyTorch takes its target as () and as (1,)
        fits = of_target in ((), (1,))
        expected = "()"
    else:
        fits = len(shape) > 1 and of_target == (shape[0], *shape[2:])
        expected = str((shape[0], *shape[2:])) if shape else "one with a dimension of classes"
    if not fits:
        hint = ""
        if len(shape) == 2 and of_target == (shape[0], 1):
            hint = "; take its last dimension away with .squeeze(1)"
        raise ShapeError(
            f"{op}: target has shape {of_target}, expected {expected} for an input of shape "
            f"{shape}{hint}"
        )
    classes = input.shape[-1] if len(shape) == 1 else shape[1]
    do(
        "check classes",
        _CHECK_LATER if computes(target._data) else _CHECK,
        op,
        target._data,
        classes,
        ignore_index,
    )
    if len(shape) == 1:
        input = functions.unsqueeze(input, 0)
    elif len(shape) > 2:
        last = functions.permute(input, (0, *range(2, len(shape)), 1))
        input = functions.reshape(last, (math.prod(of_target), classes))
    return input, functions.reshape(target, (-1,) if target.numel() else (0,)).long()


def _as_target(losses: Tensor, input: Tensor, target: Tensor) -> Tensor:
    """The losses of all examples in the target's shape; () for a single one."""
    return functions.view(losses, target._data.shape if input.ndim > 1 else ())


def _check_classes(op: str, values: Array, classes: int, ignore_index: int) -> None:
    if config.get_kernels() == "numba" and values.ndim == 1:
        from npmlp.kernels.loss import all_classes

        if all_classes(values, classes, ignore_index):
            return
    elif values.size == 0 or (values.min() >= 0 and values.max() < classes):
        return
    wrong = ((values < 0) | (values >= classes)) & (values != ignore_index)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f"target[{', '.join(map(str, place))}]" if place else "target"
        raise DataError(
            f"{op}: {at} is {values[place]}, expected a class from 0 to {classes - 1} (the input "
            f"has {classes}) or ignore_index {ignore_index}"
        )


def _keep_check(op: str, values: Array, classes: int, ignore_index: int) -> bool:
    if config.get_kernels() != "numba" or values.ndim != 1:
        return False
    from npmlp.kernels.calls import call
    from npmlp.kernels.loss import require_classes

    call(require_classes, values, classes, ignore_index)
    return True


_CHECK = Repeatable(_check_classes, first=_check_classes)
# of classes that the step computes, which are not known before
_CHECK_LATER = Repeatable(_check_classes, first=None, keep=_keep_check)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 zeros of shape (*tensor.shape, num_classes), with a 1 at each class.

    `num_classes` -1 is one more than the largest class.
    """
    check_tensor("one_hot", "tensor", tensor)
    check_readable("one_hot", tensor._data)
    values = tensor._data
    if values.dtype != np.int64:
        raise DTypeError(f"one_hot: tensor has dtype {tensor.dtype}, expected int64; use .long()")
    if num_classes == -1:
        if values.size == 0:
            raise ShapeError("one_hot: an empty tensor does not tell num_classes; give it")
        num_classes = int(values.max()) + 1
    if values.size and (values.min() < 0 or values.max() >= num_classes):
        raise DataError(
            f"one_hot: classes go from {values.min()} to {values.max()}, expected 0 to "
            f"{num_classes - 1}"
        )
    return tensor._wrap((values[..., None] == np.arange(num_classes)).astype(np.int64))


# ----------------------------------------------------------------------------- distances, yes or no


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)²; with `weight`, of the input's shape, a weighted mean or sum

    Raises: ShapeError where (N,) meets (N, 1), which would compare everything with everything.
    """
    reduction = choose_reduction(size_average, reduce, reduction)
    return _distance("mse_loss", loss.MSE_LOSS, input, target, reduction, weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; with `weight`, of the input's shape, a weighted mean or sum

    Raises: ShapeError where (N,) meets (N, 1), which would compare everything with everything.
    """
    reduction = choose_reduction(size_average, reduce, reduction)
    return _distance("l1_loss", loss.L1_LOSS, input, target, reduction, weight)


def _distance(
    op: str, spec: OpSpec, input: Tensor, target: Tensor, reduction: str, weight: Tensor | None
) -> Tensor:
    for name, x in (("input", input), ("target", target)):
        check_tensor(op, name, x)
    if input.shape != target.shape:
        _check_broadcast(op, input, target)
    x, y = functions.together(op, input, target)
    if weight is None:
        return apply(spec, x, y, reduction=reduction)
    check_tensor(op, "weight", weight)
    if weight.shape != input.shape:
        raise ShapeError(
            f"{op}: weight has shape {tuple(weight.shape)}, expected the input's "
            f"{tuple(input.shape)}"
        )
    weighted = functions.mul(apply(spec, x, y, reduction="none"), weight)
    if reduction == "none":
        return weighted
    total = functions.sum(weighted)
    return functions.div(total, functions.sum(weight)) if reduction == "mean" else total


def _check_broadcast(op: str, input: Tensor, target: Tensor) -> None:
    """PyTorch warns of shapes that differ. Where both would grow, nobody means it: an error."""
    shapes = f"input has shape {tuple(input.shape)} and target {tuple(target.shape)}"
    try:
        joined = np.broadcast_shapes(input.shape, target.shape)
    except ValueError:
        raise ShapeError(f"{op}: {shapes}, expected the same shape") from None
    if math.prod(joined) > max(input.numel(), target.numel()):
        raise ShapeError(
            f"{op}: {shapes}; broadcast to {joined} every entry would be compared with every "
            "other; give both the same shape, with squeeze or unsqueeze"
        )
    warnings.warn(
        f"{op}: {shapes}; they are broadcast to {joined}, which is likely not what is meant. "
        "Give both the same shape.",
        stacklevel=4,
    )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w [y log x + (1 - y) log(1 - x)], x the input, a probability, and y the target

    Parameters: both of one shape and dtype, from 0 to 1; `weight` broadcasts to it. A logarithm
    is held at -100 or above. Raises: ShapeError, DTypeError, DataError for other numbers.
    """
    op = "binary_cross_entropy"
    reduction = choose_reduction(size_average, reduce, reduction)
    for name, x in (("input", input), ("target", target)):
        check_tensor(op, name, x)
    check_constant(op, "weight", weight)
    return apply(probability.BCE, input, target, weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-w [p · y log σ(x) + (1 - y) log(1 - σ(x))], x the input, y the target, p `pos_weight`

    Parameters: `target` of the input's shape, from 0 to 1; `weight` and `pos_weight` broadcast to
    it. Raises: ShapeError, DTypeError.
    """
    op = "binary_cross_entropy_with_logits"
    reduction = choose_reduction(size_average, reduce, reduction)
    for name, x in (("input", input), ("target", target)):
        check_tensor(op, name, x)
    check_constant(op, "weight", weight)
    check_constant(op, "pos_weight", pos_weight)
    if input.shape != target.shape:
        raise ShapeError(
            f"{op}: target has shape {tuple(target.shape)}, expected the input's "
            f"{tuple(input.shape)}; use squeeze or unsqueeze"
        )
    x, y = functions.together(op, input, target)
    return apply(loss.BCE_WITH_LOGITS, x, y, weight, pos_weight, reduction=reduction)
