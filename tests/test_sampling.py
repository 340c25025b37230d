"""Draws whose distribution is given by tensors, linspace and eye, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import LIBRARIES, assert_same, assert_same_outcome

import npmlp
from npmlp.errors import DTypeError, NpmlpError, ShapeError

CALLS: dict[str, Any] = {
    "bernoulli of float32": lambda lib: lib.bernoulli(lib.linspace(0, 1, 40)),
    "bernoulli of float64": lambda lib: lib.bernoulli(lib.linspace(0, 1, 40).double()),
    "bernoulli of a matrix transposed": lambda lib: lib.bernoulli(lib.full((3, 5), 0.4).T),
    "bernoulli with p": lambda lib: lib.bernoulli(lib.zeros(30), 0.25),
    "bernoulli_": lambda lib: lib.zeros(3, 4).bernoulli_(0.7),
    "bernoulli_ of whole numbers": lambda lib: lib.zeros(20, dtype=lib.int64).bernoulli_(),
    "bernoulli_ of a tensor": lambda lib: lib.zeros(2, 3).bernoulli_(lib.full((2, 3), 0.5)),
    "normal of a size": lambda lib: lib.normal(1.0, 2.0, (20,)),
    "normal by keywords": lambda lib: lib.normal(mean=0, std=0.5, size=(2, 3), dtype=lib.float64),
    "normal of means": lambda lib: lib.normal(lib.arange(5.0)),
    "normal of means and a number": lambda lib: lib.normal(lib.arange(20.0), 3.0),
    "normal of deviations": lambda lib: lib.normal(2.0, lib.linspace(1, 3, 18)),
    "normal of both": lambda lib: lib.normal(lib.zeros(4, 5), lib.linspace(1, 3, 5)),
    "randint_like": lambda lib: lib.randint_like(lib.zeros(3, 4), 10),
    "randint_like from low": lambda lib: lib.randint_like(lib.zeros(7).long(), -5, 5),
    "randint_like of a dtype": lambda lib: lib.randint_like(lib.zeros(7), 9, dtype=lib.int64),
}


@pytest.mark.parametrize("name", CALLS)
def test_draws_are_pytorchs(name: str) -> None:
    npmlp.manual_seed(3)
    torch.manual_seed(3)
    for _ in range(2):
        # normal multiplies and adds: a rounding of each, where PyTorch may round both at once
        assert_same(CALLS[name](npmlp), CALLS[name](torch), tol=2e-7 if "normal of" in name else 0)
    assert_same(npmlp.rand(3), torch.rand(3))  # and leave the generator where PyTorch's is


def test_generators_are_drawn_from() -> None:
    for lib in LIBRARIES:
        p = lib.full((50,), 0.5)
        g = lib.Generator().manual_seed(5)
        first = lib.bernoulli(p, generator=g)
        assert not lib.equal(first, lib.bernoulli(p, generator=g))
        assert lib.equal(first, lib.bernoulli(p, generator=lib.Generator().manual_seed(5)))
        first = lib.normal(0.0, 1.0, (3,), generator=g.manual_seed(6))
        assert lib.equal(first, lib.normal(0.0, 1.0, (3,), generator=g.manual_seed(6)))


def test_what_is_no_distribution_is_refused() -> None:
    for wrong in (
        lambda lib: lib.bernoulli(lib.tensor([1.5])),
        lambda lib: lib.bernoulli(lib.tensor([-0.5])),
        lambda lib: lib.bernoulli(lib.tensor([1])),
        lambda lib: lib.normal(lib.zeros(2), lib.tensor([-1.0, 1.0])),
        lambda lib: lib.normal(lib.zeros(2), -1.0),
        lambda lib: lib.normal(0.0, -1.0, (2,)),
    ):
        with pytest.raises((NpmlpError, ValueError)):
            wrong(npmlp)
        with pytest.raises(RuntimeError):
            wrong(torch)
    with pytest.raises(ShapeError, match="expected a size too"):
        npmlp.normal(0.0, 1.0)
    with pytest.raises(DTypeError, match="must be floats"):
        npmlp.normal(npmlp.arange(3))


def test_numbers_at_equal_distances() -> None:
    for args in [(0, 1, 5), (-np.pi, np.pi, 2000), (3, -3, 7), (2.5, 2.5, 4), (1, 9, 1), (0, 1, 0),
                 (0, 10, 2), (-1e5, 1e-3, 33)]:  # fmt: skip
        for dtype in ("float32", "float64"):
            # PyTorch steps on from the first of 4, 8 or 16 numbers, as many as its processor takes
            # at once: a rounding of the largest number more
            eps = float(np.finfo(dtype).eps)
            ours = npmlp.linspace(*args, dtype=getattr(npmlp, dtype))
            theirs = torch.linspace(*args, dtype=getattr(torch, dtype))
            assert_same(ours, theirs, tol=2 * eps)
            if args[2] > 1:
                assert ours[-1].item() == theirs[-1].item()
    assert_same(
        npmlp.linspace(0, 10, 5, dtype=npmlp.int64), torch.linspace(0, 10, 5, dtype=torch.int64)
    )
    assert_same(npmlp.linspace(start=0, end=1, steps=3), torch.linspace(start=0, end=1, steps=3))
    assert npmlp.linspace(0, 1, 3, requires_grad=True).requires_grad
    assert not assert_same_outcome(lambda lib: lib.linspace(0, 1, -1))
    ends = lambda lib: lib.linspace(lib.tensor(0.0), lib.tensor(2.0), 3)  # noqa: E731
    assert assert_same_outcome(ends)


def test_the_identity_matrix() -> None:
    for call in (
        lambda lib: lib.eye(3),
        lambda lib: lib.eye(2, 4),
        lambda lib: lib.eye(4, 2, dtype=lib.int64),
        lambda lib: lib.eye(2, dtype=lib.bool),
        lambda lib: lib.eye(0),
    ):
        assert assert_same_outcome(call)
    assert not assert_same_outcome(lambda lib: lib.eye(-1))
    assert npmlp.eye(2, requires_grad=True).requires_grad
