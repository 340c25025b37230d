"""ELU, Softplus, Hardtanh, Dropout2d and BCELoss beside PyTorch's, as functions and as layers."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from functional_beside_torch import compare, normal

import npmlp
from npmlp import nn
from npmlp.errors import DataError, NpmlpError, OutsideSubsetError, ShapeError

LAYERS = [
    "ELU()", "ELU(0.5)", "ELU(inplace=True)", "Softplus()", "Softplus(2, 5)", "Hardtanh()",
    "Hardtanh(-0.5, 2.0)", "Hardtanh(inplace=True)", "ReLU6()", "Dropout2d()",
    "Dropout2d(0.2, inplace=True)", "BCELoss()", "BCELoss(reduction='sum')",
]  # fmt: skip


@pytest.mark.parametrize("text", LAYERS)
def test_layers_print_as_in_pytorch(text: str) -> None:
    assert repr(eval(f"n.{text}", {"n": nn})) == repr(eval(f"n.{text}", {"n": torch.nn}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bent_lines_are_pytorchs(dtype: str) -> None:
    x = normal(4, 5, scale=3)
    x[0, :3] = [0.0, 1.0, -1.0]  # at the bends
    for options in ({}, {"alpha": 0.3}):
        compare(lambda F, x: F.elu(x, **options), x, dtype=dtype)
    for options in ({}, {"beta": 2.0, "threshold": 1.0}, {"beta": 0.5}):
        compare(lambda F, x: F.softplus(x, **options), 10 * x, dtype=dtype)
    for options in ({}, {"min_val": 0.0, "max_val": 6.0}):
        compare(lambda F, x: F.hardtanh(x, **options), x, dtype=dtype)
    compare(lambda F, x: F.relu6(3 * x), x, dtype=dtype)
    for name in ("elu", "hardtanh", "relu6"):
        compare(lambda F, x: getattr(F, name)(x * 1, inplace=True), x, dtype=dtype)


def test_hardtanh_refuses_bounds_in_the_wrong_order() -> None:
    with pytest.raises(NpmlpError, match="must be larger than min_val"):
        nn.Hardtanh(1.0, 1.0)
    with pytest.raises(NpmlpError, match="above max_val"):
        nn.functional.hardtanh(npmlp.ones(2), 1.0, 0.0)


def test_dropout2d_drops_pytorchs_channels() -> None:
    x = normal(4, 6, 3, 2)
    for p, inplace in itertools.product((0.0, 0.5, 0.3, 1.0), (False, True)):
        results = []
        for lib in (npmlp, torch):
            lib.manual_seed(5)
            t = lib.from_numpy(x.copy())
            results.append(lib.nn.functional.dropout2d(t, p, inplace=inplace).numpy())
            results.append(lib.rand(3).numpy())  # the generator is where PyTorch's is
        np.testing.assert_allclose(results[0], results[2], rtol=1e-15)
        np.testing.assert_array_equal(results[1], results[3])
    layer = nn.Dropout2d(0.5).eval()
    t = npmlp.from_numpy(x)
    assert layer(t) is t
    with pytest.raises(ShapeError, match=r"expected \(N, C, H, W\)"):
        nn.functional.dropout2d(npmlp.ones(2, 3))
    with pytest.raises(NpmlpError, match="expected a probability"):
        nn.functional.dropout2d(npmlp.ones(2, 3, 1), 1.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_of_probabilities_is_pytorchs(dtype: str) -> None:
    rng = np.random.default_rng(2)
    x, y, w = (0.1 + 0.8 * rng.random((4, 5)) for _ in range(3))
    for reduction in ("mean", "sum", "none"):
        compare(
            lambda F, x, y: F.binary_cross_entropy(x, y, reduction=reduction), x, y, dtype=dtype
        )
    edges = np.array([0.0, 1.0, 0.0, 1.0])
    sure = np.array([0.0, 1.0, 1.0, 0.0])

    def with_weight(F: Any, x: Any, y: Any) -> Any:
        lib = npmlp if F is nn.functional else torch
        return F.binary_cross_entropy(x, y, lib.from_numpy(w[0]).to(x.dtype))

    compare(with_weight, x, y, dtype=dtype)

    def at_the_edges(F: Any, x: Any) -> Any:
        lib = npmlp if F is nn.functional else torch
        return F.binary_cross_entropy(x, lib.from_numpy(sure).to(x.dtype), reduction="none")

    compare(at_the_edges, edges, dtype=dtype)


def test_what_is_no_probability_is_refused_by_both() -> None:
    for x, y in (([1.5], [1.0]), ([-0.1], [1.0]), ([0.5], [2.0]), ([0.5, 0.5], [[1.0], [0.0]])):
        for lib in (npmlp, torch):
            with pytest.raises((RuntimeError, ValueError)):
                lib.nn.BCELoss()(lib.tensor(x), lib.tensor(y))
    with pytest.raises(DataError, match="is it a logit"):
        nn.BCELoss()(npmlp.tensor([3.0]), npmlp.tensor([1.0]))
    with pytest.raises(OutsideSubsetError, match="Linear and Conv2d"):
        _ = nn.Conv3d
