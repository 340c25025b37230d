"""Functions that arrange entries beside PyTorch: shapes, gradients, memory, and what is refused."""

# ruff: noqa: B023 - each lambda is called before the loop goes on

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import DTYPES, ROUNDED, assert_same_gradients, assert_same_outcome, numbers

import npmlp
from npmlp.errors import ShapeError

SHAPERS: dict[str, Callable[[Any, Any], Any]] = {
    "reshape": lambda lib, x: lib.reshape(x, (4, -1)),
    "reshape method": lambda lib, x: x.reshape(6, 4),
    "reshape of a transposed": lambda lib, x: x.transpose(0, 2).reshape(3, 8),
    "view": lambda lib, x: x.view(-1),
    "view of a size": lambda lib, x: x.view(x.size(0), -1),
    "view of a shape": lambda lib, x: x.view(x.shape),
    "flatten": lambda lib, x: x.flatten(),
    "flatten from 1": lambda lib, x: lib.flatten(x, 1),
    "flatten to -2": lambda lib, x: x.flatten(0, -2),
    "permute": lambda lib, x: x.permute(2, 0, 1),
    "permute of a tuple": lambda lib, x: lib.permute(x, (-1, 1, 0)),
    "transpose": lambda lib, x: lib.transpose(x, 0, -1),
    "T": lambda lib, x: x[0].T,
    "t": lambda lib, x: x[0].t(),
    "unsqueeze": lambda lib, x: x.unsqueeze(1),
    "unsqueeze at the end": lambda lib, x: lib.unsqueeze(x, -1),
    "squeeze": lambda lib, x: x[:1, :, :1].squeeze(),
    "squeeze 0": lambda lib, x: x[:1].squeeze(0),
    "squeeze of a larger": lambda lib, x: x.squeeze(1),
    "squeeze of several": lambda lib, x: x[:1, :, :1].squeeze((0, 2)),
    "expand": lambda lib, x: x[:, :1].expand(-1, 5, 4),
    "expand in front": lambda lib, x: x.expand(2, 2, 3, 4),
    "cat": lambda lib, x: lib.cat([x, x[:1], 2 * x], dim=0),
    "cat at the end": lambda lib, x: lib.cat((x, x[..., :2]), -1),
    "stack": lambda lib, x: lib.stack([x, x * x]),
    "stack at the end": lambda lib, x: lib.stack((x, -x), dim=-1),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPERS)
def test_shapes_and_their_gradients(name: str) -> None:
    assert_same_gradients(SHAPERS[name], numbers((2, 3, 4)), tol=ROUNDED["float64"])


def test_shapes_of_scalars_and_empty_tensors() -> None:
    for x in (np.float64(2.0), np.zeros((0, 3)), np.zeros((3, 0, 2))):
        for function in (
            lambda lib, x: x.reshape(-1),
            lambda lib, x: x.flatten(),
            lambda lib, x: x.reshape(x.shape),
            lambda lib, x: x.unsqueeze(0),
            lambda lib, x: x.squeeze(),
            lambda lib, x: x.squeeze(0),
            lambda lib, x: x.transpose(0, -1),
            lambda lib, x: x.expand(2, *x.shape),
            lambda lib, x: lib.stack([x, x]),
            lambda lib, x: lib.cat([x, x]),
            lambda lib, x: x.view(0, 3),
            lambda lib, x: x.view(0, -1),
        ):
            assert_same_outcome(function, x)


def test_views_share_memory_and_copies_do_not() -> None:
    x = npmlp.tensor(numbers((2, 3, 4)))
    for view in (x.view(-1), x.reshape(6, 4), x.permute(2, 0, 1), x[0], x[:, 1:], x[0, 1, 2],
                 x.unsqueeze(0), x.expand(5, 2, 3, 4), x.detach(), x.flatten(1)):  # fmt: skip
        assert np.shares_memory(view.numpy(), x.numpy())
    for copy in (x.clone(), x.permute(2, 0, 1).reshape(-1), x[[0, 1]], x[x > 0], x.float(),
                 npmlp.stack([x])):  # fmt: skip
        assert not np.shares_memory(copy.numpy(), x.numpy())
    x[0, 1, 2].fill_(7)
    assert x[0, 1, 2].item() == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.reshape(5, 5), r"cannot take shape \(5, 5\)"),
        (lambda x: x.view(-1, -1), r"cannot take shape \(-1, -1\)"),
        (lambda x: x.view(7, -1), r"has 24 entries and cannot take shape \(7, -1\)"),
        (lambda x: x.permute(2, 0, 1).view(24), "not contiguous.*use reshape"),
        (lambda x: x.permute(0, 1), r"dims \(0, 1\) must name each dimension"),
        (lambda x: x.permute(0, 0, 1), r"dims \(0, 0, 1\) must name each dimension"),
        (lambda x: x.transpose(0, 3), "dimension 3 does not exist, expected -3 to 2"),
        (lambda x: x.unsqueeze(4), "dimension 4 does not exist, expected -4 to 3"),
        (lambda x: x.squeeze(5), "dimension 5 does not exist"),
        (lambda x: x.expand(3, 3, 4), r"shape \(2, 3, 4\) does not expand to \(3, 3, 4\)"),
        (lambda x: x.expand(-1, 2, 3, 4), "does not expand"),
        (lambda x: x.expand(3, 4), "does not expand"),
        (lambda x: x.flatten(2, 1), "start_dim 2 comes after end_dim 1"),
        (lambda x: x.t(), "has 3 dimensions, expected at most 2"),
        (lambda x: npmlp.cat([x, x[:, :1]]), "differ outside of dimension 0"),
        (lambda x: npmlp.cat([x, x[0]]), "differ outside of dimension 0"),
        (lambda x: npmlp.cat([]), "cat: got no tensors"),
        (lambda x: npmlp.stack([x, x[:1]]), "are not all equal"),
        (lambda x: x.sum(3), "dimension 3 does not exist"),
        (lambda x: x.sum((0, 0)), "names a dimension twice"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(npmlp.ones(2, 3, 4))


def test_cat_and_stack_promote() -> None:
    for op, (a, b) in itertools.product(("cat", "stack"), itertools.product(DTYPES, DTYPES)):
        x, y = numbers((2, 3), a), numbers((2, 3), b, seed=1)
        assert_same_outcome(lambda lib, x, y: getattr(lib, op)([x, y]), x, y)
