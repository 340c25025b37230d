"""Gradient checking: what backward says, beside what central differences say.

    d/dx ⟨c, f(x)⟩ ≈ ⟨c, f(x + ε) - f(x - ε)⟩ / 2ε

for one entry of x at a time. The cotangent c is random, never ones: a softmax's outputs sum to 1
and a BatchNorm's to 0 whatever their inputs are, so that ones see a gradient of zero there, right
or wrong. For a function of few outputs every c is a unit vector and the whole Jacobian is compared.
`npmlp.autograd.gradcheck` is the public face; `python -m npmlp.gradcheck` checks a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmlp.errors import DTypeError, GraphError, NpmlpError
from npmlp.ops.spec import Array

JACOBIAN_OUTPUTS = 64  # up to so many output entries the whole Jacobian is compared
MOST_ENTRIES = 4096  # of a larger input so many entries, drawn at random, are checked


class GradcheckError(NpmlpError, RuntimeError):
    """A gradient that differs from the finite difference, or a function that cannot be checked."""


@dataclass(frozen=True)
class Check:
    """One input, checked. The entry is the one that is furthest off, relative to what is allowed.

    For a Jacobian `output` names the entry of the outputs, (which output, *index); it is None where
    `analytic` and `numeric` are derivatives of the outputs' product with a random cotangent.
    """

    name: str
    shape: tuple[int, ...]
    checked: int  # how many entries of the input were looked at
    wrong: int  # how many of those are off
    entry: tuple[int, ...]
    output: tuple[int, ...] | None
    analytic: float
    numeric: float
    largest: float  # of all derivatives compared; 0 proves little

    @property
    def ok(self) -> bool:
        return self.wrong == 0

    @property
    def error(self) -> float:
        """How far the worst entry is off."""
        return abs(self.analytic - self.numeric)

    def sentence(self) -> str:
        """What is off where, and what both sides say."""
        of = "the outputs times a random cotangent"
        if self.output is not None:
            of = f"output {self.output[0]}[{', '.join(map(str, self.output[1:]))}]"
        return (
            f"{self.name}: {self.wrong} of {self.checked} entries checked are off, most of all "
            f"entry [{', '.join(map(str, self.entry))}] of shape {self.shape}: the derivative of "
            f"{of} is {self.analytic:.8g} by backward and {self.numeric:.8g} by finite "
            f"differences, {self.error:.3g} apart"
        )


# -------------------------------------------------------------------------- finite differences


def differences(
    evaluate: Callable[[], Array], x: Array, entries: Iterable[int], eps: float
) -> Array:
    """∂ evaluate() / ∂ x at the flat positions `entries`, by central differences.

    Parameters: `evaluate`, which reads x and returns a new 1-d array of M outputs; `x`, changed in
    place entry by entry, and restored. Returns: shape (len(entries), M).

    The error of one derivative f' is ε²/6 · f''' from cutting off the series, and the rounding of
    f, about 1e-16 |f|, over ε; their sum is least near ε = 6e-6 (the cube root of 1e-16).
    """
    rows = []
    for entry in entries:
        index = np.unravel_index(entry, x.shape)
        kept = x[index]
        try:
            x[index] = kept + eps
            above, high = x[index], evaluate()
            x[index] = kept - eps
            below, low = x[index], evaluate()
        finally:
            x[index] = kept
        rows.append((high - low) / (above - below))
    return np.array(rows) if rows else np.empty((0, evaluate().size))


# ------------------------------------------------------------------------------------ gradcheck


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> bool:
    """Whether the gradients of `func` are what central differences say.

    |analytic - numeric| ≤ atol + rtol · |numeric| for every entry of every input that requires a
    gradient; of an input with more than 4,096 entries, for so many drawn at random.

    Parameters
    ----------
    func : takes the inputs, returns a Tensor or a tuple of Tensors; called many times
    inputs : a Tensor or a tuple; those to be checked have dtype float64 and requires_grad
    eps : the step of the differences
    raise_exception : raise where a gradient is wrong, instead of returning False
    nondet_tol : how much two calls with the same inputs may differ
    fast_mode : one random cotangent even where the whole Jacobian could be compared

    Returns: True, or False where a gradient is wrong and `raise_exception` is off.
    Raises: GradcheckError, which says which entry of which input is off, by how much, and what
    both sides say; DTypeError for inputs of float32, too coarse for a step of 1e-6.

    Where an entry disagrees it is looked at again with ε/100, so that a kink within ε of the point
    (ReLU at 0) does not count as an error; a point on a kink itself still does.

    Source: PyTorch docs, torch.autograd.gradcheck, of which this is a subset.

    >>> import npmlp
    >>> x = npmlp.randn(3, 4, dtype=npmlp.float64, requires_grad=True)
    >>> npmlp.autograd.gradcheck(lambda x: npmlp.softmax(x, 1), (x,))
    True
    """
    given = (inputs,) if hasattr(inputs, "_data") else tuple(inputs)
    wanted = {
        f"input {i}": t for i, t in enumerate(given) if hasattr(t, "_data") and t.requires_grad
    }
    checks = check_gradients(
        lambda: func(*given), wanted, eps=eps, atol=atol, rtol=rtol, nondet_tol=nondet_tol,
        jacobian=not fast_mode,
    )  # fmt: skip
    wrong = [check.sentence() for check in checks if not check.ok]
    if wrong and raise_exception:
        raise GradcheckError(f"gradcheck: {'; '.join(wrong)}")
    return not wrong


def check_gradients(
    function: Callable[[], Any],
    tensors: dict[str, Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    nondet_tol: float = 0.0,
    jacobian: bool = True,
    seed: int = 0,
) -> list[Check]:
    """The gradients of what `function()` returns, for each of the named `tensors` that it reads."""
    from npmlp.autograd import no_grad

    _refuse_inputs(tensors)
    results = _results(function)
    chosen = [i for i, t in enumerate(results) if hasattr(t, "_data") and t.requires_grad]
    outputs = [results[i] for i in chosen]
    _refuse_outputs(outputs)

    def evaluate() -> Array:
        with no_grad():
            again = _results(function)
        return _flat([again[i] for i in chosen])

    _refuse_nondeterminism(_flat(outputs), evaluate(), nondet_tol)
    sizes = [t._data.size for t in outputs]
    rng = np.random.default_rng(seed)
    whole = jacobian and sum(sizes) <= JACOBIAN_OUTPUTS
    # one row per derivative, one column per output entry
    cotangents = np.eye(sum(sizes)) if whole else rng.standard_normal((1, sum(sizes)))
    analytic = _analytic(outputs, list(tensors.values()), cotangents)

    checks = []
    for (name, tensor), gradient in zip(tensors.items(), analytic, strict=True):
        x = tensor._data
        entries = np.arange(x.size)
        if x.size > MOST_ENTRIES:
            entries = np.sort(rng.permutation(x.size)[:MOST_ENTRIES])
        ours = gradient[:, entries]
        theirs = cotangents @ differences(evaluate, x, entries, eps).T
        off = np.flatnonzero((_excess(ours, theirs, atol, rtol) > 1).any(axis=0))
        if off.size:
            closer = cotangents @ differences(evaluate, x, entries[off], eps / 100).T
            better = np.abs(ours[:, off] - closer) < np.abs(ours[:, off] - theirs[:, off])
            theirs[:, off] = np.where(better, closer, theirs[:, off])
        excess = _excess(ours, theirs, atol, rtol)
        where, which = np.unravel_index(excess.argmax(), excess.shape) if excess.size else (0, 0)
        checks.append(
            Check(
                name,
                x.shape,
                checked=len(entries),
                wrong=int((excess > 1).any(axis=0).sum()),
                entry=tuple(map(int, np.unravel_index(entries[which], x.shape))) if x.size else (),
                output=_locate(int(where), outputs) if whole and excess.size else None,
                analytic=float(ours[where, which]) if excess.size else 0.0,
                numeric=float(theirs[where, which]) if excess.size else 0.0,
                largest=float(max(np.abs(ours).max(), np.abs(theirs).max()))
                if excess.size
                else 0.0,
            )
        )
    return checks


def _excess(ours: Array, theirs: Array, atol: float, rtol: float) -> Array:
    """The distance in units of what is allowed; infinite where one side is not a number."""
    with np.errstate(invalid="ignore"):
        excess = np.abs(ours - theirs) / (atol + rtol * np.abs(theirs))
    return np.where(np.isnan(excess), np.inf, excess)


def _analytic(outputs: list[Any], tensors: list[Any], cotangents: Array) -> list[Array]:
    """Per tensor the gradients by backward, one row per cotangent."""
    from npmlp.autograd import grad

    ends = np.cumsum([t._data.size for t in outputs])[:-1]
    rows: list[list[Array]] = [[] for _ in tensors]
    for cotangent in cotangents:
        parts = [
            t._wrap(part.reshape(t._data.shape))
            for t, part in zip(outputs, np.split(cotangent, ends), strict=True)
        ]
        found = grad(outputs, tensors, parts, retain_graph=True, allow_unused=True)
        for row, tensor, g in zip(rows, tensors, found, strict=True):
            row.append(np.zeros(tensor._data.size) if g is None else g._data.reshape(-1))
    return [np.array(row).reshape(len(cotangents), -1) for row in rows]


def _results(function: Callable[[], Any]) -> list[Any]:
    result = function()
    return [result] if hasattr(result, "_data") else list(result)


def _flat(outputs: list[Any]) -> Array:
    return np.concatenate([t._data.reshape(-1) for t in outputs])


def _locate(position: int, outputs: list[Any]) -> tuple[int, ...]:
    """(which output, *index) of a position among the entries of all outputs."""
    for i, t in enumerate(outputs):
        if position < t._data.size:
            return (i, *map(int, np.unravel_index(position, t._data.shape)))
        position -= t._data.size
    raise IndexError(position)


def _refuse_inputs(tensors: dict[str, Any]) -> None:
    if not tensors:
        raise GraphError(
            "gradcheck: no input requires a gradient; pass tensors with requires_grad=True"
        )
    for name, t in tensors.items():
        if t._data.dtype != np.float64:
            raise DTypeError(
                f"gradcheck: {name} has dtype {t.dtype}, expected float64: in float32 a finite "
                "difference is off by about 1e-2; convert it with .double() before "
                "requires_grad_(), and a module with .double()"
            )
        shape, strides = t._data.shape, t._data.strides
        repeats = any(n > 1 and step == 0 for n, step in zip(shape, strides, strict=True))
        if repeats or not t._data.flags.writeable:
            raise GraphError(
                f"gradcheck: {name} is an expanded or read-only tensor, whose entries cannot be "
                "changed one by one; pass x.clone()"
            )


def _refuse_outputs(outputs: list[Any]) -> None:
    if not outputs:
        raise GradcheckError(
            "gradcheck: no output requires a gradient; is the result computed under no_grad(), "
            "from detached tensors, or through .numpy()?"
        )
    for t in outputs:
        if t._data.dtype != np.float64:
            raise DTypeError(
                f"gradcheck: an output has dtype {t.dtype}, expected float64 for float64 inputs; "
                "finite differences drown in the rounding of float32"
            )


def _refuse_nondeterminism(first: Array, second: Array, nondet_tol: float) -> None:
    if first.shape != second.shape or not np.allclose(
        first, second, rtol=0, atol=nondet_tol, equal_nan=True
    ):
        raise GradcheckError(
            "gradcheck: two calls with the same inputs gave different outputs, so that no finite "
            "difference means anything; call .eval() on a module with dropout, or "
            "npmlp.manual_seed within the function"
        )
