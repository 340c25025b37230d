"""Random tensors whose distribution is itself given by tensors, with PyTorch's draws.

creation.py has rand, randn, randint and randperm; random.py has the streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp import dtypes, random
from npmlp.creation import randint
from npmlp.errors import DTypeError, NpmlpError, ShapeError
from npmlp.ops.spec import Array
from npmlp.tensor import Tensor


def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None) -> Tensor:
    """1 with the probability that each entry of `input` says, else 0, in input's dtype.

    With `p`, a number, that is the probability of all.
    """
    if p is None:
        if input._data.dtype.kind != "f":
            raise DTypeError(
                f"bernoulli: input has dtype {input.dtype}, expected float probabilities"
            )
        p = input
    return input.detach().clone().bernoulli_(p, generator=generator)


def bernoulli_draws(generator: random.Generator, shape: tuple[int, ...], p: Any) -> Array:
    """True with probability p: a number for all, or an array of `shape`.

    A float32 array of probabilities is compared with numbers of 24 bits, a float64 one with 53.
    """
    if not isinstance(p, np.ndarray):
        return generator.bernoulli(shape, float(p))
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise NpmlpError("bernoulli: a probability is not within 0 to 1")
    return generator.uniform(shape, dtype=p.dtype) < p


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal draws: of two numbers and a `size`, or with a mean and std for each entry.

    normal(mean, std, size): `size` numbers. normal(mean, std) with one or two Tensors: a number for
    each entry. Raises: ShapeError, where numbers come without a size.
    """
    drawn_from = random.default_generator if generator is None else generator
    tensors = [t for t in (mean, std) if hasattr(t, "_data")]
    if not tensors:
        if size is None:
            raise ShapeError("normal: mean and std are numbers, expected a size too")
        shape = (size,) if isinstance(size, int) else tuple(size)
        wanted = dtypes.as_dtype(float if dtype is None else dtype, "normal")
        drawn = drawn_from.normal(shape, float(mean), float(std), wanted.numpy)
        return Tensor._wrap(drawn).requires_grad_(requires_grad)
    if any(t._data.dtype.kind != "f" for t in tensors):
        raise DTypeError("normal: mean and std must be floats")
    if (np.asarray(getattr(std, "_data", std)) < 0).any():
        raise NpmlpError("normal: a std is negative")
    shape = np.broadcast_shapes(*(t._data.shape for t in tensors))
    d = tensors[0]._data.dtype if len(tensors) == 1 else np.result_type(*(t._data for t in tensors))
    result = Tensor._wrap(drawn_from.normal(shape, 0.0, 1.0, d))
    if len(tensors) == 1 and not hasattr(std, "_data"):  # drawn with this std, as in PyTorch
        return result.mul_(float(std)).add_(mean.detach())
    constant = [t.detach() if hasattr(t, "_data") else t for t in (std, mean)]
    return result.mul_(constant[0]).add_(constant[1])


def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """randint_like(input, [low,] high): whole numbers in the shape and dtype of another tensor."""
    if high is None:
        low, high = 0, low
    drawn = randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, device=device)
    return drawn.requires_grad_() if requires_grad else drawn
