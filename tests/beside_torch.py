"""npmlp and PyTorch side by side: the same array as two tensors, and whether two results agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import npmlp

LIBRARIES = (npmlp, torch)
FLOATS = ("float32", "float64")
DTYPES = ("float32", "float64", "int64", "uint8", "bool")
# a few roundings relative to the largest entry, for what both compute in another order
ROUNDED = {"float32": 1e-6, "float64": 1e-14}


def both(array: Any, requires_grad: bool = False) -> tuple[npmlp.Tensor, torch.Tensor]:
    """The same values as a tensor of each, with memory of its own."""
    array = np.asarray(array)
    ours, theirs = npmlp.from_numpy(array.copy()), torch.from_numpy(array.copy())
    return ours.requires_grad_(requires_grad), theirs.requires_grad_(requires_grad)


def numbers(shape: tuple[int, ...], dtype: str = "float64", seed: int = 0) -> np.ndarray:
    """Random entries: normal floats, whole numbers from 0 to 8, or bools."""
    rng = np.random.default_rng(seed)
    if dtype in FLOATS:
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2 if dtype == "bool" else 9, shape)).astype(dtype)


def leaf(*shape: int, seed: int = 0) -> npmlp.Tensor:
    """A random float64 tensor that requires a gradient."""
    return npmlp.from_numpy(numbers(shape, seed=seed)).requires_grad_()


def assert_same(ours: Any, theirs: Any, tol: float = 0.0) -> None:
    """Equal type of result, dtype, shape and entries; to `tol` times the largest entry."""
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, tol)
        return
    if not isinstance(theirs, torch.Tensor):
        assert type(ours) is type(theirs)
        assert ours == theirs
        return
    assert isinstance(ours, npmlp.Tensor)
    assert repr(ours.dtype) == repr(theirs.dtype)
    assert repr(ours.shape) == repr(theirs.shape)
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    if tol == 0:
        assert np.array_equal(a, b, equal_nan=b.dtype.kind == "f"), f"{a} instead of {b}"
    else:
        scale = np.abs(b[np.isfinite(b)]).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tol * scale)


def assert_same_outcome(function: Callable[[Any, Any], Any], *arrays: Any, tol: float = 0) -> bool:
    """`function(library, *tensors)` gives the same with both, or an error with both."""
    pairs = [both(a) for a in arrays]
    try:
        theirs = function(torch, *(t for _, t in pairs))
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        expected = error
    else:
        assert_same(function(npmlp, *(o for o, _ in pairs)), theirs, tol)
        return True
    try:
        ours = function(npmlp, *(o for o, _ in pairs))
    except (npmlp.errors.NpmlpError, TypeError, ValueError):
        return False
    raise AssertionError(f"npmlp gives {ours}, PyTorch refuses: {expected}")


def assert_same_gradients(
    function: Callable[..., Any], *arrays: np.ndarray, tol: float = 0.0, seed: int = 1
) -> None:
    """`function(library, *tensors)` has the same output, and the same gradients of all tensors,
    from one random cotangent.
    """
    pairs = [both(a, requires_grad=True) for a in arrays]
    ours = function(npmlp, *(o for o, _ in pairs))
    theirs = function(torch, *(t for _, t in pairs))
    assert_same(ours, theirs, tol)
    cotangent = numbers(tuple(theirs.shape), str(theirs.dtype).split(".")[1], seed)
    ours.backward(npmlp.from_numpy(cotangent))
    theirs.backward(torch.from_numpy(cotangent))
    for o, t in pairs:
        assert (o.grad is None) == (t.grad is None)
        if t.grad is not None:
            assert_same(o.grad, t.grad, tol)
