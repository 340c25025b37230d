"""Changes in place: x.add_(y), x.zero_(), x[0] = y, and what of them autograd must know.

Each computes the tensor that x should become, and `become` takes over its values and its node.
Tensor has these functions as its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import autograd, functions
from npmlp.errors import DTypeError, GraphError, ShapeError
from npmlp.node import Storage
from npmlp.ops.spec import Array
from npmlp.recording import do

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def become(input: Tensor, op: str, result: Tensor) -> Tensor:
    """Let a tensor take over the values, and the node, of `result`, which was computed from it."""
    if input._requires_grad and not result._requires_grad and autograd.is_grad_enabled():
        result = functions.setitem(input, Ellipsis, result)  # nothing flows back from here on
    if result._requires_grad and autograd.is_grad_enabled():
        if input._node is None and input._requires_grad:
            raise GraphError(
                f"{op}: a leaf that requires a gradient cannot be changed in place; do it "
                "under npmlp.no_grad(), or use the operation that makes a new tensor"
            )
        if input._view:
            raise GraphError(
                f"{op}: a recorded in-place change of a view is outside npmlp; use the "
                "operation that makes a new tensor"
            )
    if result._data.shape != input._data.shape:
        raise ShapeError(
            f"{op}: the result has shape {result._data.shape} and does not fit in place into "
            f"{input._data.shape}"
        )
    if not np.can_cast(result._data.dtype, input._data.dtype, "same_kind"):
        raise DTypeError(
            f"{op}: a result of {result.dtype} does not fit in place into {input.dtype}"
        )
    if result._node is not None:
        autograd.keep_copy(result._node, input._data)
    write(input, result._data)
    if result._node is not None:
        input._storage.history += 1
        input._history = input._storage.history
        if input._node is not None and any(t is input for t in input._node.retained):
            input._node.retained = [t for t in input._node.retained if t is not input]
            result._node.retained.append(input)
        input._attach(result._node)
    return input


def write(input: Tensor, values: Any) -> Tensor:
    """Change the entries, and let autograd know that they changed."""
    if not input._data.flags.writeable:
        raise GraphError(
            "an expanded or read-only tensor cannot be changed in place; clone() it first"
        )
    do("write", _copy, input._data, values, input._storage, writes=(input._data,))
    return input


def _copy(to: Array, values: Any, storage: Storage) -> None:
    np.copyto(to, values, casting="same_kind")
    storage.version += 1


def add_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    return become(input, "add_", functions.add(input, other, alpha=alpha))


def sub_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    return become(input, "sub_", functions.sub(input, other, alpha=alpha))


def mul_(input: Tensor, other: Any) -> Tensor:
    return become(input, "mul_", functions.mul(input, other))


def div_(input: Tensor, other: Any) -> Tensor:
    return become(input, "div_", functions.div(input, other))


def pow_(input: Tensor, exponent: Any) -> Tensor:
    return become(input, "pow_", functions.pow(input, exponent))


def clamp_(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    return become(input, "clamp_", functions.clamp(input, min, max))


def relu_(input: Tensor) -> Tensor:
    return become(input, "relu_", functions.relu(input))


def neg_(input: Tensor) -> Tensor:
    return become(input, "neg_", functions.neg(input))


def abs_(input: Tensor) -> Tensor:
    return become(input, "abs_", functions.abs(input))


def sign_(input: Tensor) -> Tensor:
    return become(input, "sign_", functions.sign(input))


def square_(input: Tensor) -> Tensor:
    return become(input, "square_", functions.square(input))


def exp_(input: Tensor) -> Tensor:
    return become(input, "exp_", functions.exp(input))


def log_(input: Tensor) -> Tensor:
    return become(input, "log_", functions.log(input))


def sqrt_(input: Tensor) -> Tensor:
    return become(input, "sqrt_", functions.sqrt(input))


def sin_(input: Tensor) -> Tensor:
    return become(input, "sin_", functions.sin(input))


def cos_(input: Tensor) -> Tensor:
    return become(input, "cos_", functions.cos(input))


def tan_(input: Tensor) -> Tensor:
    return become(input, "tan_", functions.tan(input))


def sigmoid_(input: Tensor) -> Tensor:
    return become(input, "sigmoid_", functions.sigmoid(input))


def tanh_(input: Tensor) -> Tensor:
    return become(input, "tanh_", functions.tanh(input))


def floor_(input: Tensor) -> Tensor:
    return become(input, "floor_", functions.floor(input))


def ceil_(input: Tensor) -> Tensor:
    return become(input, "ceil_", functions.ceil(input))


def round_(input: Tensor, *, decimals: int = 0) -> Tensor:
    return become(input, "round_", functions.round(input, decimals=decimals))


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Put one number where the mask holds."""
    return become(input, "masked_fill_", functions.masked_fill(input, mask, value))


def scatter_(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: Any = None,
) -> Tensor:
    """input[i, index[i, j]] = src[i, j] for dim 1, and so on; `value` for one number."""
    result = functions.scatter(input, dim, index, src, value=value, reduce=reduce)
    return become(input, "scatter_", result)


def copy_(input: Tensor, src: Tensor) -> Tensor:
    """Take the values of `src`, which is broadcast to this tensor's shape."""
    return become(input, "copy_", functions.setitem(input, Ellipsis, src))


def fill_(input: Tensor, value: Any) -> Tensor:
    return become(input, "fill_", functions.setitem(input, Ellipsis, value))


def zero_(input: Tensor) -> Tensor:
    return fill_(input, 0)


def detach_(input: Tensor) -> Tensor:
    """Forget its history, in place."""
    input._node, input._requires_grad = None, False
    return input


def uniform_(input: Tensor, from_: Any = 0.0, to: Any = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with draws from the uniform distribution on [from_, to)."""
    shape, order = _memory_order(input._data)
    drawn = _generator(generator).uniform(shape, from_, to, input._data.dtype)
    return become(input, "uniform_", input._wrap(drawn.transpose(order)))


def normal_(input: Tensor, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with draws from the normal distribution."""
    shape, order = _memory_order(input._data)
    drawn = _generator(generator).normal(
        shape, mean, std, input._data.dtype, contiguous=input.is_contiguous()
    )
    return become(input, "normal_", input._wrap(drawn.transpose(order)))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with ones, each with probability `p`, and zeros."""
    from npmlp.sampling import bernoulli_draws

    shape, order = _memory_order(input._data)
    if hasattr(p, "_data"):
        p = np.broadcast_to(p._data, input._data.shape).transpose(np.argsort(order))
    drawn = bernoulli_draws(_generator(generator), shape, p).astype(input._data.dtype)
    return become(input, "bernoulli_", input._wrap(drawn.transpose(order)))


def _memory_order(array: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """PyTorch draws into a tensor in the order of its memory: the shape of the draws, and the
    permutation that takes them to the array's dimensions.
    """
    if array.flags.c_contiguous:
        return array.shape, tuple(range(array.ndim))
    order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
    return tuple(array.shape[d] for d in order), tuple(order.index(d) for d in range(array.ndim))


def _generator(generator: Any) -> Any:
    from npmlp import random

    return random.default_generator if generator is None else generator
