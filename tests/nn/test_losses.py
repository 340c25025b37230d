"""Every loss with every option beside PyTorch's: values and gradients of input and target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import both

import npmlp
from npmlp import nn

# Relative to the largest entry; sums of at most 60 terms, √60 · 6e-8 and √60 · 1e-16, behind
# exp and log, which PyTorch rounds to within a few units in the last place.
RTOL = {"float32": 2e-6, "float64": 1e-12}
REDUCTIONS = ["mean", "sum", "none"]
WEIGHT = np.array([0.5, 2.0, 0.0, 1.5, 1.0])  # five classes


def compare(lines: Any, dtype: str) -> None:
    for i, (a, b) in enumerate(zip(*both(lines), strict=True)):
        a, b = a.detach().numpy(), b.detach().numpy()
        assert a.dtype == b.dtype
        largest = np.abs(b).max(initial=0.0)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=RTOL[dtype] * largest, err_msg=f"{i}", strict=True
        )


def backward(m: Any, out: Any, dtype: str) -> None:
    cotangent = np.random.default_rng(9).standard_normal(tuple(out.shape))
    out.backward(m.from_numpy(np.array(cotangent, dtype)))


def logits(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


SHAPES = [(6, 5), (5,), (4, 5, 3), (2, 5, 3, 2), (0, 5)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ["NLLLoss", "CrossEntropyLoss", "CrossEntropyLoss smoothed"])
def test_losses_of_classes_are_pytorchs(
    loss: str, shape: Any, ignore_index: int, weighted: bool, reduction: str, dtype: str,
    kernels: str,
) -> None:  # fmt: skip
    name, _, smoothed = loss.partition(" ")
    rng = np.random.default_rng(3)
    x = logits(shape, dtype)
    target = rng.integers(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if target.size > 1:
        target.flat[0] = 1 if ignore_index == 1 else -100

    def lines(m: Any) -> list[Any]:
        options: dict[str, Any] = {"label_smoothing": 0.1} if smoothed else {}
        if weighted:
            options["weight"] = m.from_numpy(WEIGHT.astype(dtype))
        loss = getattr(m.nn, name)(reduction=reduction, ignore_index=ignore_index, **options)
        leaf = m.from_numpy(x.copy()).requires_grad_()
        out = loss(leaf, m.from_numpy(target) if target.ndim else m.tensor(int(target)))
        backward(m, out, dtype)
        return [out, leaf.grad]

    if shape == (0, 5) and reduction == "mean":
        with np.errstate(all="ignore"):  # the mean of nothing is nan on both sides
            compare(lines, dtype)
    else:
        compare(lines, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_cross_entropy_of_probabilities_is_pytorchs(
    shape: Any, label_smoothing: float, weighted: bool, reduction: str, dtype: str
) -> None:
    x = logits(shape, dtype)
    axis = 1 if len(shape) > 1 else 0
    p = np.exp(logits(shape, dtype)[::-1] / 3)
    p = (p / p.sum(axis=axis, keepdims=True)).astype(dtype)

    def lines(m: Any) -> list[Any]:
        loss = m.nn.CrossEntropyLoss(
            weight=m.from_numpy(WEIGHT.astype(dtype)) if weighted else None,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        leaf, target = (m.from_numpy(a.copy()).requires_grad_() for a in (x, p))
        out = loss(leaf, target)
        backward(m, out, dtype)
        return [out, leaf.grad, target.grad]

    compare(lines, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6, 5), (), (4, 1, 3), (0, 2)])
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss"])
def test_distances_are_pytorchs(name: str, shape: Any, reduction: str, dtype: str) -> None:
    x, y = logits(shape, dtype), logits((*shape, 1), dtype)[..., 0] + np.array(0.3, dtype)

    def lines(m: Any) -> list[Any]:
        a, b = (m.from_numpy(np.array(v)).requires_grad_() for v in (x, y))
        out = getattr(m.nn, name)(reduction=reduction)(a, b)
        backward(m, out, dtype)
        return [out, a.grad, b.grad]

    compare(lines, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (6, 5), (5,), (6, 1)])
@pytest.mark.parametrize("pos_weight", [None, (5,), (1,)])
def test_binary_cross_entropy_is_pytorchs(
    weight: Any, pos_weight: Any, reduction: str, dtype: str
) -> None:
    rng = np.random.default_rng(4)
    x, y = logits((6, 5), dtype) * 10, rng.random((6, 5)).astype(dtype)
    factors = [None if s is None else (rng.random(s) + 0.5).astype(dtype)
               for s in (weight, pos_weight)]  # fmt: skip

    def lines(m: Any) -> list[Any]:
        w, p = (None if f is None else m.from_numpy(f) for f in factors)
        loss = m.nn.BCEWithLogitsLoss(weight=w, reduction=reduction, pos_weight=p)
        a, b = (m.from_numpy(v.copy()).requires_grad_() for v in (x, y))
        out = loss(a, b)
        backward(m, out, dtype)
        return [out, a.grad, b.grad]

    compare(lines, dtype)


LOSSES = ["CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss", "MSELoss", "L1Loss"]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_the_older_spelling_of_reduction_is_pytorchs(
    name: str, size_average: Any, reduce: Any
) -> None:
    reductions = []
    for m in (npmlp, torch):
        if size_average is None and reduce is None:
            loss = getattr(m.nn, name)()
        else:
            with pytest.warns(UserWarning, match="please use reduction="):
                loss = getattr(m.nn, name)(size_average=size_average, reduce=reduce)
        reductions.append(loss.reduction)
    assert reductions[0] == reductions[1]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_prints_and_keeps_its_weights_as_pytorchs(name: str) -> None:
    def lines(m: Any) -> Any:
        options = {} if name in ("MSELoss", "L1Loss") else {"weight": m.ones(5)}
        if name == "BCEWithLogitsLoss":
            options["pos_weight"] = m.ones(5)
        loss = getattr(m.nn, name)(**options)
        return repr(loss), list(loss.state_dict()), [n for n, _ in loss.double().named_buffers()]

    ours, theirs = both(lines)
    assert ours == theirs


@pytest.mark.parametrize("name", LOSSES)
def test_a_reduction_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(npmlp.errors.NpmlpError, match="reduction is 'average'"):
        getattr(nn, name)(reduction="average")


def test_a_column_of_predictions_against_a_row_of_targets_is_refused() -> None:
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()):
        with pytest.raises(npmlp.errors.ShapeError):
            loss(npmlp.zeros(4, 1), npmlp.zeros(4))
