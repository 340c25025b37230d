"""nn.functional's losses of classes: by hand, and beside PyTorch for every option and bad target.

Targets are classes (int64) or probabilities of classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from functional_beside_torch import FLOATS, Constant, compare, normal, outcome

import npmlp
from npmlp.errors import DataError, DTypeError, GraphError, NpmlpError, ShapeError
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled

REDUCTIONS = ("none", "mean", "sum")
CLASSES = 5
SHAPES = [(6, CLASSES), (4, CLASSES, 3), (2, CLASSES, 3, 4), (CLASSES,), (0, CLASSES), (1, 1)]


def _labels(shape: Any, seed: int = 0) -> np.ndarray:
    classes = shape[0] if len(shape) == 1 else shape[1]
    of_target = () if len(shape) == 1 else (shape[0], *shape[2:])
    return np.asarray(np.random.default_rng(seed).integers(0, classes, of_target))


def _weights(shape: Any) -> np.ndarray:
    return 0.5 + np.random.default_rng(7).random(shape[0] if len(shape) == 1 else shape[1])


# --------------------------------------------------------------------------- classes as the target


def test_cross_entropy_by_hand() -> None:
    # e^x: (1, 3), so p = (1/4, 3/4); and (1, 1), p = (1/2, 1/2)
    logits = npmlp.tensor([[0.0, math.log(3)], [2.0, 2.0]], dtype=npmlp.float64, requires_grad=True)
    weight = npmlp.tensor([1.0, 2.0], dtype=npmlp.float64)
    loss = F.cross_entropy(logits, npmlp.tensor([0, 1]), weight)
    # (1 · log 4 + 2 · log 2) / (1 + 2)
    assert loss.item() == pytest.approx(4 * math.log(2) / 3, rel=1e-15)
    loss.backward(npmlp.tensor(3.0, dtype=npmlp.float64))
    # 3 · w_t / 3 · (p - [c = t])
    assert logits.grad is not None
    expected = np.array([[-3 / 4, 3 / 4], [1.0, -1.0]])
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-15)


def test_label_smoothing_by_hand() -> None:
    logits = npmlp.tensor([[0.0, math.log(3)]], dtype=npmlp.float64)
    loss = F.cross_entropy(logits, npmlp.tensor([1]), label_smoothing=0.2)
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert loss.item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignore_index", [-100, 0, 2])
def test_losses_of_classes_are_pytorchs(
    ignore_index: int, reduction: str, shape: Any, dtype: str
) -> None:
    x, target = 3 * normal(*shape), _labels(shape)
    for weight in (None, Constant(_weights(shape))):
        compare(
            lambda F, x, t, w: F.nll_loss(
                F.log_softmax(x, 0 if x.ndim == 1 else 1),
                t, w, ignore_index=ignore_index, reduction=reduction,
            ),
            x, target, weight, dtype=dtype,
        )  # fmt: skip
        for smoothing in (0.0, 0.1, 1.0):
            compare(
                lambda F, x, t, w, s=smoothing: F.cross_entropy(
                    x, t, w, ignore_index=ignore_index, reduction=reduction, label_smoothing=s
                ),
                x, target, weight, dtype=dtype,
            )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_targets_ignored_is_pytorchs(smoothing: float, reduction: str) -> None:
    target = Constant(np.full((4,), -100))
    for weight in (None, Constant(_weights((4, 3)))):

        def call(F: Any, x: Any, t: Any, w: Any) -> Any:
            return F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=smoothing)

        if reduction == "mean":  # over nothing: nan, and PyTorch's gradient is nan or 0 with it
            assert math.isnan(call(F, *_plain(normal(4, 3), target.array, weight)).item())
        else:
            compare(call, normal(4, 3), target, weight)


def _plain(*given: Any) -> list[Any]:
    arrays = [a.array if isinstance(a, Constant) else a for a in given]
    return [None if a is None else npmlp.from_numpy(a) for a in arrays]


def test_ignored_examples_have_no_gradient_whatever_their_logits() -> None:
    x = npmlp.from_numpy(normal(4, 3)).requires_grad_()
    loss = F.cross_entropy(x, npmlp.tensor([-100] * 4))
    assert math.isnan(loss.item())
    loss.backward()
    assert x.grad is not None
    assert not x.grad.numpy().any()


def test_losses_take_bytes_as_classes_and_one_example_with_a_target_of_one() -> None:
    for function in ("cross_entropy", "nll_loss"):
        compare(lambda F, *t, f=function: getattr(F, f)(*t), normal(3, 4), np.uint8([0, 3, 1]))
        for reduction in REDUCTIONS:
            compare(
                lambda F, *t, f=function, r=reduction: getattr(F, f)(*t, reduction=r),
                Constant(normal(4)),  # whose gradient PyTorch cannot compute
                np.array([2]),
            )


def test_logits_that_are_minus_infinity_or_huge_are_pytorchs() -> None:
    x = 300 * normal(4, 5)
    x[0, 1], x[1, 4] = -np.inf, -np.inf
    for reduction in REDUCTIONS:
        compare(
            lambda F, *t, r=reduction: F.cross_entropy(*t, reduction=r), x, np.array([0, 1, 2, 3])
        )
        ours = F.cross_entropy(*_plain(x, np.array([1, 1, 2, 3])), reduction=reduction)
        assert np.isinf(ours.numpy()).any()


def test_cross_entropy_is_log_softmax_then_nll_loss() -> None:
    x, t, w = _plain(normal(6, 4), _labels((6, 4)), _weights((6, 4)))
    one, other = F.cross_entropy(x, t, w), F.nll_loss(F.log_softmax(x, 1), t, w)
    assert one.item() == pytest.approx(other.item(), rel=1e-14)


def test_cross_entropy_of_a_large_batch_is_pytorchs() -> None:
    compare(
        lambda F, *t: F.cross_entropy(*t), 3 * normal(500, 10), _labels((500, 10)), dtype="float32"
    )


# --------------------------------------------------------------------- probabilities as the target


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_with_probabilities_is_pytorchs(
    smoothing: float, reduction: str, shape: Any, dtype: str
) -> None:
    target = np.random.default_rng(1).random(shape)  # PyTorch asks for no sum of 1 either
    for weight in (None, _weights(shape)):
        compare(
            lambda F, x, t, w: F.cross_entropy(
                x, t, w, reduction=reduction, label_smoothing=smoothing
            ),
            3 * normal(*shape), target, weight, dtype=dtype,
        )  # fmt: skip


def test_probabilities_may_have_another_dtype_as_in_pytorch() -> None:
    x, t = normal(3, 4).astype("float32"), np.random.default_rng(0).random((3, 4))
    loss = F.cross_entropy(npmlp.from_numpy(x), npmlp.from_numpy(t))
    assert loss.dtype is npmlp.float64


# --------------------------------------------------------------------------------- bad targets


@pytest.mark.parametrize("function", ["cross_entropy", "nll_loss"])
def test_classes_that_do_not_exist_are_refused_by_place_and_value(function: str) -> None:
    call = getattr(F, function)
    with pytest.raises(DataError, match=rf"{function}: target\[2\] is 4, expected .* 0 to 3"):
        call(npmlp.ones(3, 4), npmlp.tensor([0, 3, 4]))
    with pytest.raises(DataError, match=rf"{function}: target\[1\] is -1, .* ignore_index -100"):
        call(npmlp.ones(3, 4), npmlp.tensor([0, -1, 3]))
    with pytest.raises(DataError, match=rf"{function}: target\[1, 0\] is 9"):
        call(npmlp.ones(2, 3, 2), npmlp.tensor([[0, 1], [9, 1]]))
    with pytest.raises(DataError, match=rf"{function}: target is 5"):
        call(npmlp.ones(3), npmlp.tensor(5))
    call(npmlp.ones(3, 4), npmlp.tensor([0, -1, 3]), ignore_index=-1)


BAD = {
    "too many targets": ((4, 3), np.zeros(5, int)),
    "too few targets": ((4, 3), np.zeros(3, int)),
    "a target of two dimensions": ((4, 3), np.zeros((4, 1), int)),
    "a target in another order": ((2, 3, 4, 5), np.zeros((2, 5, 4), int)),
    "floats": ((4, 3), Constant(np.zeros(4))),
    "bools": ((4, 3), np.zeros(4, bool)),
    "whole numbers of the input's shape": ((4, 3), np.ones((4, 3), int)),
    "no dimension of classes": ((), np.zeros((), int)),
}


@pytest.mark.parametrize("name", BAD)
def test_targets_that_do_not_fit_are_refused_as_in_pytorch(name: str) -> None:
    shape, target = BAD[name]
    for function in ("cross_entropy", "nll_loss"):
        assert not outcome(lambda F, *t, f=function: getattr(F, f)(*t), normal(*shape), target)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 1.5},
        {"reduction": "average"},
        {"weight": 4},
    ],
)
def test_options_that_do_not_fit_are_refused_as_in_pytorch(options: Any) -> None:
    others = {name: value for name, value in options.items() if name != "weight"}
    weight = Constant(np.ones(options.get("weight", 3)))

    def call(F: Any, x: Any, t: Any, w: Any) -> Any:
        return F.cross_entropy(x, t, w, **others)

    assert not outcome(call, normal(4, 3), _labels((4, 3)), weight)[0]


def test_losses_of_classes_say_what_is_wrong() -> None:
    x, t = npmlp.ones(4, 3), npmlp.tensor([0, 1, 2, 0])
    with pytest.raises(ShapeError, match=r"target has shape \(4, 1\), expected \(4,\) .*squeeze"):
        F.cross_entropy(x, t.view(4, 1))
    with pytest.raises(DTypeError, match=r"target has dtype float32 .* \.long\(\)"):
        F.cross_entropy(x, t.float())
    with pytest.raises(ShapeError, match=r"weight has shape \(4,\), expected \(3,\), one per"):
        F.cross_entropy(x, t, npmlp.ones(4))
    with pytest.raises(GraphError, match=r"weight requires a gradient"):
        F.cross_entropy(x, t, npmlp.ones(3, requires_grad=True))
    with pytest.raises(NpmlpError, match="ignore_index has no meaning"):
        F.cross_entropy(x, npmlp.ones(4, 3), ignore_index=1)
    with pytest.raises(NpmlpError, match=r"label_smoothing is -0.1, expected a number from 0 to 1"):
        F.cross_entropy(x, t, label_smoothing=-0.1)
    with pytest.raises(DTypeError, match="cross_entropy: input has dtype int64"):
        F.cross_entropy(x.long(), t)
