"""Making tensors: from data, filled with a value, counted, or drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npmlp import dtypes, random
from npmlp.errors import DTypeError, ShapeError
from npmlp.methods import sizes as _sizes
from npmlp.recording import check_readable
from npmlp.tensor import Tensor
from npmlp.types import device as Device


def _finish(array: np.ndarray[Any, Any], requires_grad: bool, device: Any) -> Tensor:
    if device is not None:
        Device(device)
    t = Tensor._constant(array)
    return t.requires_grad_() if requires_grad else t


def _float_dtype(op: str, dtype: Any) -> np.dtype[Any]:
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, op)
    if not d.is_floating_point:
        raise DTypeError(f"{op}: dtype {d} is not floating point; use npmlp.float32 or float64")
    return d.numpy


def _checked(op: str, size: Sequence[int] | int) -> tuple[int, ...]:
    shape = (size,) if isinstance(size, int) else tuple(size)
    if any(n < 0 for n in shape):
        raise ShapeError(f"{op}: got size {shape} with a negative dimension, expected 0 or more")
    return shape


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested lists, an array or a tensor.

    Parameters: `dtype`, else the default dtype for Python floats, int64 for ints, bool for bools,
    and an array's own. Raises: ShapeError for ragged lists, DTypeError for other data.

    >>> import npmlp
    >>> npmlp.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if isinstance(data, Tensor):
        check_readable("tensor", data._data)
        array = data._data.copy()
    else:
        plain = _without_tensors(data)
        try:
            array = np.array(plain)
        except ValueError:
            raise ShapeError("tensor: the lists have different lengths at the same depth") from None
    if dtype is not None:
        array = array.astype(dtypes.as_dtype(dtype).numpy)
    elif not isinstance(data, (Tensor, np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(dtypes.get_default_dtype().numpy)
    else:
        dtypes.from_numpy_dtype(array.dtype, "tensor")
    return _finish(array, requires_grad, device)


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Tensor):
        check_readable("tensor", data._data)
        return data._data
    if isinstance(data, (list, tuple)):
        return [_without_tensors(d) for d in data]
    return data


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of `data`, sharing memory with a tensor or an array where the dtype allows it."""
    if isinstance(data, np.ndarray):
        data = from_numpy(data)
    if not isinstance(data, Tensor):
        return tensor(data, dtype=dtype, device=device)
    return data if dtype is None else data.to(dtypes.as_dtype(dtype))


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the array's memory. Raises DTypeError for a dtype npmlp has not."""
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: got a {type(array).__name__}, expected a numpy.ndarray")
    dtypes.from_numpy_dtype(array.dtype, "from_numpy")
    return Tensor._wrap(array)


def full(
    size: Sequence[int],
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape `size` with every entry `fill_value`, whose type decides the dtype."""
    d = dtypes.as_dtype(type(fill_value) if dtype is None else dtype, "full")
    return _finish(np.full(_checked("full", size), fill_value, d.numpy), requires_grad, device)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, in the default dtype unless another is given."""
    shape = _checked("zeros", _sizes(size))
    return full(shape, 0.0, dtype=dtype or float, device=device, requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, in the default dtype unless another is given."""
    shape = _checked("ones", _sizes(size))
    return full(shape, 1.0, dtype=dtype or float, device=device, requires_grad=requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose entries are not set."""
    d = dtypes.as_dtype(dtype or float, "empty")
    return _finish(np.empty(_checked("empty", _sizes(size)), d.numpy), requires_grad, device)


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros in the shape and dtype of another tensor."""
    return zeros(
        input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones in the shape and dtype of another tensor."""
    return ones(input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value in the shape and dtype of another tensor."""
    return full(
        input.shape,
        fill_value,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Unset entries in the shape and dtype of another tensor."""
    return empty(
        input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … up to but without `end`; int64 if all three are whole numbers."""
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: step {step} does not lead from {start} to {end}")
    whole = all(isinstance(n, int) for n in (start, end, step))
    d = dtypes.as_dtype(dtype or (int if whole else float), "arange")
    count = math.ceil((end - start) / step)
    return _finish((start + step * np.arange(count)).astype(d.numpy), requires_grad, device)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included.

    The second half is counted from the end, as in PyTorch, so that it is met exactly.
    """
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    if steps < 0:
        raise ShapeError(f"linspace: steps is {steps}, expected 0 or more")
    d = dtypes.as_dtype(dtype or float, "linspace")
    inner = d.numpy.type if d.is_floating_point else np.float64
    first, last, i = inner(start), inner(end), np.arange(steps)
    step = (last - first) / inner(max(steps - 1, 1))
    i = i.astype(inner)
    numbers = np.where(i < steps // 2, first + step * i, last - step * (inner(steps - 1) - i))
    if steps == 1:
        numbers = np.array([first])
    return _finish(numbers.astype(d.numpy), requires_grad, device)


def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an n × m matrix (n × n), else zeros."""
    shape = _checked("eye", (n, n if m is None else m))
    d = dtypes.as_dtype(dtype or float, "eye")
    return _finish(np.eye(*shape, dtype=d.numpy), requires_grad, device)


# ------------------------------------------------------------------------------------- at random


def _drawn_from(generator: random.Generator | None) -> random.Generator:
    return random.default_generator if generator is None else generator


def rand(
    *size: Any,
    generator: random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform draws from [0, 1), the same as PyTorch's from the same seed."""
    drawn = _drawn_from(generator).uniform(_sizes(size), dtype=_float_dtype("rand", dtype))
    return _finish(drawn, requires_grad, device)


def randn(
    *size: Any,
    generator: random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Draws from the standard normal distribution, the same as PyTorch's from the same seed."""
    drawn = _drawn_from(generator).normal(_sizes(size), dtype=_float_dtype("randn", dtype))
    return _finish(drawn, requires_grad, device)


def rand_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform draws in the shape and dtype of another tensor."""
    return rand(
        *input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def randn_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal draws in the shape and dtype of another tensor."""
    return randn(
        *input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def randint(
    low: int = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """randint([low,] high, size): whole numbers from low (0) up to but without high."""
    if size is None:  # randint(high, size)
        low, high, size = 0, low, high
    if high is None or size is None:
        raise ShapeError("randint: expected randint(high, size) or randint(low, high, size)")
    drawn = _drawn_from(generator).randint(low, high, tuple(size))
    d = dtypes.as_dtype(dtype or dtypes.int64, "randint")
    return _finish(drawn.astype(d.numpy), False, device)


def randperm(
    n: int, *, generator: random.Generator | None = None, dtype: Any = None, device: Any = None
) -> Tensor:
    """The numbers 0 … n-1 in random order."""
    drawn = _drawn_from(generator).randperm(n)
    return _finish(drawn.astype(dtypes.as_dtype(dtype or dtypes.int64).numpy), False, device)
