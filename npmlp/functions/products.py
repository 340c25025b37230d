"""Products that say what shapes they take: mm, bmm, mv, dot, outer. matmul takes all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npmlp.errors import DTypeError, ShapeError
from npmlp.functions.arguments import into
from npmlp.functions.arithmetic import matmul, mul
from npmlp.functions.shapes import view
from npmlp.node import named

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def _check(op: str, input: Tensor, other: Tensor, ndims: tuple[int, int]) -> None:
    if (input.ndim, other.ndim) != ndims:
        raise ShapeError(
            f"{op}: got {input.ndim} and {other.ndim} dimensions, expected {ndims[0]} and "
            f"{ndims[1]}; matmul takes others"
        )
    if input.dtype is not other.dtype:
        raise DTypeError(f"{op}: dtypes {input.dtype} and {other.dtype} differ; convert one")


def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices"""
    _check("mm", input, mat2, (2, 2))
    return into("mm", out, matmul(input, mat2))


def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of two stacks of equally many matrices"""
    _check("bmm", input, mat2, (3, 3))
    if input._data.shape[0] != mat2._data.shape[0]:
        raise ShapeError(
            f"bmm: got {input._data.shape[0]} and {mat2._data.shape[0]} matrices, expected equally "
            "many; matmul broadcasts"
        )
    return into("bmm", out, named(matmul(input, mat2), "BmmBackward0"))


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector"""
    _check("mv", input, vec, (2, 1))
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Σ input · tensor of two vectors"""
    _check("dot", input, tensor, (1, 1))
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """input_i · vec2_j of two vectors"""
    if (input.ndim, vec2.ndim) != (1, 1):
        raise ShapeError(
            f"outer: got {input.ndim} and {vec2.ndim} dimensions, expected two vectors"
        )
    return mul(view(input, (-1, 1)), vec2)
