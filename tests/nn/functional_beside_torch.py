"""One call of nn.functional with npmlp and with PyTorch: outputs, gradients, warnings, refusals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as torch_functional

import npmlp
from npmlp.errors import NpmlpError
from npmlp.nn import functional

# Relative to the largest entry. A sum of k terms, in any order, is off by about √k roundings
# (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2); with k up to 1000 in
# these tests that is 30 · 6e-8 in float32 and 30 · 1e-16 in float64.
TOL = {"float32": 2e-6, "float64": 1e-12}
FLOATS = ("float32", "float64")

Call = Callable[..., Any]


class Constant:
    """An array for which no gradient is asked."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(shape))


def _tensors(library: Any, given: Any, dtype: str) -> list[Any]:
    """Each array as a tensor of its own memory; floats in `dtype`, with a gradient."""
    tensors = []
    for item in given:
        if item is None:
            tensors.append(None)
            continue
        array = item.array if isinstance(item, Constant) else item
        floating = array.dtype.kind == "f"
        array = array.astype(dtype if floating else array.dtype)
        tensor = library.from_numpy(array.copy())
        tensors.append(tensor.requires_grad_(floating and not isinstance(item, Constant)))
    return tensors


def compare(call: Call, *given: Any, dtype: str = "float64", tol: float | None = None) -> Any:
    """`call(F, *tensors)` with both libraries: equal outputs, and equal gradients of every input
    from one random cotangent. Returns npmlp's result.
    """
    tol = TOL[dtype] if tol is None else tol
    ours_in = _tensors(npmlp, given, dtype)
    theirs_in = _tensors(torch, given, dtype)
    ours, theirs = call(functional, *ours_in), call(torch_functional, *theirs_in)
    if not isinstance(theirs, tuple):
        ours, theirs = (ours,), (theirs,)
    assert len(ours) == len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(a, b, tol, f"output {i}")
    if theirs[0].requires_grad:
        assert ours[0].requires_grad
        cotangent = normal(*theirs[0].shape, seed=99).astype(dtype)
        ours[0].backward(npmlp.from_numpy(cotangent))
        theirs[0].backward(torch.from_numpy(cotangent))
        for i, (a, b) in enumerate(zip(ours_in, theirs_in, strict=True)):
            if b is not None and b.grad is not None:
                assert a.grad is not None, f"input {i} has no gradient"
                assert_close(a.grad, b.grad, tol, f"gradient of input {i}", np.abs(cotangent))
            else:
                assert a is None or a.grad is None, f"input {i} has a gradient"
    return ours if len(ours) > 1 else ours[0]


def assert_close(ours: Any, theirs: Any, tol: float, what: str, terms: Any = 0.0) -> None:
    """Equal dtype and shape; entries to `tol` times the largest. Where the largest is what was
    left when much larger `terms` cancelled, these are the measure.
    """
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    finite = np.abs(b[np.isfinite(b)])
    largest = float(finite.max(initial=0.0))
    if largest < 1e-6 * np.max(terms, initial=0.0):
        largest = float(np.max(terms))
    assert str(ours.dtype) == str(theirs.dtype), what
    np.testing.assert_allclose(a, b, rtol=0, atol=tol * largest, err_msg=what, strict=True)


def outcome(call: Call, *given: Any, dtype: str = "float64") -> tuple[bool, list[str]]:
    """Whether both libraries compute (or both refuse), and the warnings of npmlp's.

    Raises AssertionError where one refuses what the other computes.
    """
    results, said = [], []
    for library, module in ((npmlp, functional), (torch, torch_functional)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                call(module, *_tensors(library, given, dtype))
                results.append(None)
            except (NpmlpError, RuntimeError, ValueError, TypeError, IndexError) as error:
                results.append(error)
        said.append([str(w.message) for w in caught])
    ours, theirs = results
    assert (ours is None) == (theirs is None), f"npmlp: {ours!r}, PyTorch: {theirs!r}"
    assert bool(said[0]) == bool(said[1]), f"warnings {said}"
    if ours is not None:
        assert isinstance(ours, NpmlpError), f"{ours!r} is none of npmlp's errors"
    return ours is None, said[0]
