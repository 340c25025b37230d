"""nn.functional's pooling beside PyTorch, for every option and in the odd corners of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from functional_beside_torch import FLOATS, compare, normal, outcome

import npmlp
from npmlp.errors import DTypeError, ShapeError
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled


def test_max_pool2d_by_hand() -> None:
    x = npmlp.tensor([[[1.0, 5.0, 2.0], [5.0, 0.0, 3.0], [4.0, 6.0, -1.0]]], requires_grad=True)
    out, indices = F.max_pool2d(x, 2, stride=1, return_indices=True)
    assert out.tolist() == [[[5.0, 5.0], [6.0, 6.0]]]
    assert indices.tolist() == [[[1, 1], [7, 7]]]  # the first of the two fives
    out.backward(npmlp.tensor([[[1.0, 10.0], [100.0, 1000.0]]]))
    assert x.grad is not None
    assert x.grad.tolist() == [[[0.0, 11.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1100.0, 0.0]]]


def _two(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def _images(rng: np.random.Generator) -> np.ndarray:
    shape = (int(rng.integers(0, 3)), int(rng.integers(1, 4)), *_two(rng, 1, 10))
    x = rng.standard_normal(shape)
    return x if rng.random() < 0.7 else np.round(x)  # many equal entries


@pytest.mark.parametrize("dtype", FLOATS)
def test_max_pool2d_is_pytorchs_for_random_shapes_and_options(dtype: str) -> None:
    rng = np.random.default_rng(0)
    computed = 0
    for _ in range(200):
        x, kernel = _images(rng), _two(rng, 1, 5)
        options = {
            "stride": _two(rng, 1, 5) if rng.random() < 0.8 else None,
            "padding": _two(rng, 0, 3),
            "dilation": _two(rng, 1, 4),
            "ceil_mode": bool(rng.integers(2)),
            "return_indices": True,
        }
        if _sees_nothing(x.shape, kernel, options):
            continue  # there PyTorch gives an index outside of the image; npmlp refuses

        def call(F: Any, x: Any, kernel: Any = kernel, options: Any = options) -> Any:
            return F.max_pool2d(x, kernel, **options)

        if outcome(call, x)[0]:
            compare(call, x, dtype=dtype, tol=1e-15 if dtype == "float64" else 1e-7)
            computed += 1
    assert computed > 50


def _sees_nothing(shape: Any, kernel: Any, options: Any) -> bool:
    """Whether the first window jumps over the image, with steps that are too wide."""
    geometry = zip(shape[2:], kernel, options["padding"], options["dilation"], strict=True)
    return any(
        all(not 0 <= i * d - p < n for i in range(k)) and 2 * p <= k for n, k, p, d in geometry
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_avg_pool2d_is_pytorchs_for_random_shapes_and_options(dtype: str) -> None:
    rng = np.random.default_rng(0)
    computed = 0
    for _ in range(150):
        x, kernel = _images(rng), _two(rng, 1, 5)
        options = {
            "stride": _two(rng, 1, 5) if rng.random() < 0.8 else None,
            "padding": _two(rng, 0, 3),
            "ceil_mode": bool(rng.integers(2)),
            "count_include_pad": bool(rng.integers(2)),
            "divisor_override": int(rng.choice([-2, 3])) if rng.random() < 0.3 else None,
        }

        def call(F: Any, x: Any, kernel: Any = kernel, options: Any = options) -> Any:
            return F.avg_pool2d(x, kernel, **options)

        if outcome(call, x)[0]:
            compare(call, x, dtype=dtype)
            computed += 1
    assert computed > 50


@pytest.mark.parametrize("dtype", FLOATS)
def test_adaptive_avg_pool2d_is_pytorchs_for_random_shapes_and_sizes(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        size: Any = _two(rng, 1, 8)
        if rng.random() < 0.3:
            size = (None, size[1]) if rng.random() < 0.5 else (size[0], None)
        elif rng.random() < 0.3:
            size = size[0]
        compare(lambda F, x, s=size: F.adaptive_avg_pool2d(x, s), _images(rng), dtype=dtype)


def test_adaptive_avg_pool2d_gives_nothing_where_nothing_is_asked_for() -> None:
    assert F.adaptive_avg_pool2d(npmlp.ones(2, 3, 4, 4), (0, 2)).shape == (2, 3, 0, 2)


CALLS = {
    "max_pool2d": lambda F, x: F.max_pool2d(x, 2, return_indices=True),
    "avg_pool2d": lambda F, x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda F, x: F.adaptive_avg_pool2d(x, 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_pooling_takes_one_image_and_views(name: str) -> None:
    compare(CALLS[name], normal(3, 6, 7))
    compare(lambda F, x: CALLS[name](F, x.permute(0, 3, 1, 2)), normal(2, 6, 7, 3))


def test_max_pool2d_with_and_without_indices_is_the_same() -> None:
    x = npmlp.from_numpy(normal(2, 3, 7, 7))
    with_indices = F.max_pool2d(x, 3, 2, return_indices=True)
    assert npmlp.equal(F.max_pool2d(x, 3, 2), with_indices[0])
    assert with_indices[1].dtype is npmlp.int64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_and_infinities_go_where_they_go_in_pytorch(value: float) -> None:
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2, 3, 7, 6)) < 0.5, value, rng.standard_normal((2, 3, 7, 6)))
    x[0] = -np.inf  # windows of nothing else, beside padding
    for call in (
        lambda F, x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True, return_indices=True),
        lambda F, x: F.avg_pool2d(x, 3, 2, padding=1),
        lambda F, x: F.adaptive_avg_pool2d(x, 3),
    ):
        ours, theirs = call(F, npmlp.from_numpy(x)), call(torch.nn.functional, torch.from_numpy(x))
        if not isinstance(theirs, tuple):
            ours, theirs = (ours,), (theirs,)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14, strict=True)


def test_the_output_of_pooling_can_be_changed_in_place() -> None:
    def call(F: Any, x: Any, pool: Any) -> Any:
        out = pool(F, x)
        return F.relu(out[0] if isinstance(out, tuple) else out, inplace=True)

    for pool in CALLS.values():
        compare(lambda F, x, pool=pool: call(F, x, pool), normal(2, 3, 6, 7))


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 2},
        {"kernel_size": 9},
        {"kernel_size": 2, "stride": 0},
        {"kernel_size": 0},
        {"kernel_size": (2, 2, 2)},
        {"kernel_size": 2, "padding": -1},
    ],
)
def test_pooling_refuses_what_pytorch_refuses(op: str, options: Any) -> None:
    x = normal(2, 3, 8, 8)
    assert not outcome(lambda F, x: getattr(F, op)(x, **options), x)[0]


def test_pooling_refuses_with_a_reason() -> None:
    x = npmlp.ones(2, 3, 8, 8)
    with pytest.raises(ShapeError, match=r"padding is \(2, 2\), expected at most half of kernel"):
        F.max_pool2d(x, 3, padding=2)
    with pytest.raises(ShapeError, match=r"no window of \(9, 9\) .* fits into images of \(8, 8\)"):
        F.avg_pool2d(x, 9)
    with pytest.raises(ShapeError, match="divisor_override is 0"):
        F.avg_pool2d(x, 2, divisor_override=0)
    with pytest.raises(ShapeError, match="a window sees no entry"):
        F.max_pool2d(npmlp.ones(1, 1, 1, 1), 2, padding=1, dilation=2)
    with pytest.raises(ShapeError, match=r"input has shape \(3, 0, 4\)|\(1, 3, 0, 4\)"):
        F.adaptive_avg_pool2d(npmlp.ones(3, 0, 4), 2)
    with pytest.raises(DTypeError, match="max_pool2d: input has dtype int64"):
        F.max_pool2d(x.long(), 2)
