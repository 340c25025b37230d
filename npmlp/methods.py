"""Methods of Tensor that are functions of npmlp/functions by the same name, and nothing more."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npmlp import functions
from npmlp.errors import ShapeError
from npmlp.operators import Operators

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


class Methods(Operators):
    """The part of Tensor, its only subclass, that calls functions: `self` is a Tensor throughout.

    The new_ functions make tensors of its dtype.
    """

    __slots__ = ()

    # ------------------------------------------------------------------------- entry by entry

    add, sub, mul, div, pow = (
        functions.add,
        functions.sub,
        functions.mul,
        functions.div,
        functions.pow,
    )
    true_divide, subtract, multiply, divide = div, sub, mul, div
    floor_divide, remainder = functions.floor_divide, functions.remainder
    neg, abs, square, sign = functions.neg, functions.abs, functions.square, functions.sign
    exp, log, sqrt, relu = functions.exp, functions.log, functions.sqrt, functions.relu
    log2, log10, log1p = functions.log2, functions.log10, functions.log1p
    sin, cos, tan = functions.sin, functions.cos, functions.tan
    floor, ceil, trunc, round = functions.floor, functions.ceil, functions.trunc, functions.round
    sigmoid, tanh = functions.sigmoid, functions.tanh
    softmax, log_softmax = functions.softmax, functions.log_softmax
    maximum, minimum = functions.maximum, functions.minimum
    clamp, clip = functions.clamp, functions.clamp

    # ------------------------------------------------------------------------------ questions

    eq, ne, lt, le = functions.eq, functions.ne, functions.lt, functions.le
    gt, ge, equal, allclose = functions.gt, functions.ge, functions.equal, functions.allclose
    isclose, isnan, isinf = functions.isclose, functions.isnan, functions.isinf
    isfinite, any, all = functions.isfinite, functions.any, functions.all
    logical_and, logical_or = functions.logical_and, functions.logical_or
    logical_xor, logical_not = functions.logical_xor, functions.logical_not
    count_nonzero, nonzero = functions.count_nonzero, functions.nonzero
    bincount, unique = functions.bincount, functions.unique

    # ------------------------------------------------------------------------------- products

    matmul, mm, bmm, mv = functions.matmul, functions.mm, functions.bmm, functions.mv
    dot, outer = functions.dot, functions.outer

    # ----------------------------------------------------------------------------- reductions

    sum, mean, var, std = functions.sum, functions.mean, functions.var, functions.std
    prod, cumsum, norm = functions.prod, functions.cumsum, functions.norm
    max, min, amax, amin = functions.max, functions.min, functions.amax, functions.amin
    argmax, argmin = functions.argmax, functions.argmin
    sort, argsort, topk = functions.sort, functions.argsort, functions.topk

    # --------------------------------------------------------------------- shapes and indices

    flatten, transpose = functions.flatten, functions.transpose
    t, ravel, tril, triu = functions.t, functions.ravel, functions.tril, functions.triu
    unsqueeze, squeeze = functions.unsqueeze, functions.squeeze
    split, chunk, unbind = functions.split, functions.chunk, functions.unbind
    gather, scatter = functions.gather, functions.scatter
    index_select, masked_fill = functions.index_select, functions.masked_fill
    masked_select = functions.masked_select

    def where(self: Any, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, else other"""
        return functions.where(condition, self, other)

    def reshape(self: Any, *shape: Any) -> Tensor:
        """The same entries in another shape: a view where possible, else a copy"""
        return functions.reshape(self, sizes(shape))

    def reshape_as(self: Any, other: Tensor) -> Tensor:
        """The same entries in the shape of another tensor"""
        return functions.reshape(self, other.shape)

    def view(self: Any, *shape: Any) -> Tensor:
        """The same memory in another shape"""
        return functions.view(self, sizes(shape))

    def view_as(self: Any, other: Tensor) -> Tensor:
        """The same memory in the shape of another tensor"""
        return functions.view(self, tuple(other.shape))

    def permute(self: Any, *dims: Any) -> Tensor:
        """A view with the dimensions in the order of `dims`"""
        return functions.permute(self, sizes(dims))

    def expand(self: Any, *sizes_: Any) -> Tensor:
        """A view in which dimensions of size 1 are repeated"""
        return functions.expand(self, sizes(sizes_))

    def expand_as(self: Any, other: Tensor) -> Tensor:
        """A view in the shape of another tensor"""
        return functions.expand(self, other.shape)

    def repeat(self: Any, *repeats: Any) -> Tensor:
        """The whole tensor, so many times along each dimension"""
        return functions.repeat(self, sizes(repeats))

    def tile(self: Any, *dims: Any) -> Tensor:
        """As repeat; where `dims` are fewer than the dimensions, the first are not repeated"""
        return functions.tile(self, sizes(dims))

    def broadcast_to(self: Any, size: Any) -> Tensor:
        """A view in another shape, in which dimensions of size 1 are repeated"""
        return functions.expand(self, tuple(size))

    def flip(self: Any, *dims: Any) -> Tensor:
        """A copy with the entries in reverse along each of `dims`"""
        return functions.flip(self, sizes(dims))

    @property
    def T(self: Any) -> Tensor:
        """A view with the dimensions reversed."""
        return functions.permute(self, range(self._data.ndim)[::-1])

    @property
    def mT(self: Any) -> Tensor:
        """A view with the last two dimensions exchanged."""
        if self._data.ndim < 2:
            raise ShapeError(f"mT: the tensor has {self._data.ndim} dimensions, expected 2 or more")
        return functions.transpose(self, -2, -1)

    # --------------------------------------------------------------- new ones of the same dtype

    def new_zeros(self: Any, *size: Any, **options: Any) -> Tensor:
        """Zeros in this tensor's dtype"""
        return self._wrap_new("zeros", sizes(size), options)

    def new_ones(self: Any, *size: Any, **options: Any) -> Tensor:
        """Ones in this tensor's dtype"""
        return self._wrap_new("ones", sizes(size), options)

    def new_empty(self: Any, *size: Any, **options: Any) -> Tensor:
        """Entries that are not set, in this tensor's dtype"""
        return self._wrap_new("empty", sizes(size), options)

    def new_full(self: Any, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """One value, in this tensor's dtype"""
        return self._wrap_new("full", size, options, fill_value)

    def new_tensor(self: Any, data: Any, **options: Any) -> Tensor:
        """A tensor of `data` in this tensor's dtype"""
        return self._wrap_new("tensor", data, options)

    def _wrap_new(
        self: Any, function: str, first: Any, options: dict[str, Any], *rest: Any
    ) -> Tensor:
        from npmlp import creation

        if options.get("dtype") is None:
            options["dtype"] = self.dtype
        made: Tensor = getattr(creation, function)(first, *rest, **options)
        return made


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or dimensions given one by one, or as one sequence."""
    if len(args) == 1 and isinstance(args[0], Sequence):
        args = tuple(args[0])
    return builtins.tuple(int(n) for n in args)
