"""Tensor: an array, its gradient, and the node that made it.

What its methods compute stands in npmlp/ops, how their arguments are read in npmlp/functions, and
how gradients flow in npmlp/autograd.py. Operators, methods that are nothing but functions,
conversions, and changes in place have files of their own.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np

from npmlp import autograd, dtypes, functions, in_place
from npmlp.conversions import Conversions
from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError
from npmlp.node import Node, Storage
from npmlp.ops.common import normalize_dim
from npmlp.ops.spec import Array
from npmlp.outside import outside
from npmlp.recording import cannot, do, now, set_grad
from npmlp.types import Size, device


class Tensor(Conversions):
    """An n-dimensional array that can record how it was computed.

    Make one with `npmlp.tensor(data)`, `npmlp.from_numpy(array)`, `npmlp.zeros(2, 3)` and the like.
    With `requires_grad`, what is computed from it can be walked back with `.backward()`, which adds
    d(result)/d(tensor) to its `.grad`.

    >>> import npmlp
    >>> x = npmlp.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = (
        "__weakref__", "_data", "_grad", "_history", "_node", "_requires_grad", "_storage", "_view",
    )  # fmt: skip

    _data: Array
    _grad: Tensor | None
    _node: Node | None
    _requires_grad: builtins.bool
    _storage: Storage
    _history: int
    _view: builtins.bool  # whether other tensors that autograd knows share the memory

    def __init__(self, data: Any = ()) -> None:
        raise OutsideSubsetError("Tensor(...) is not called directly; use npmlp.tensor(data)")

    def _set(self, data: Array, storage: Storage, requires_grad: builtins.bool = False) -> None:
        self._data = data
        self._grad = None
        self._node = None
        self._requires_grad = requires_grad
        self._storage = storage
        self._history = storage.history
        self._view = False

    @staticmethod
    def _wrap(data: Array, storage: Storage | None = None) -> Tensor:
        """A Tensor around an array, sharing its memory. Everything that makes one comes here."""
        t = object.__new__(Tensor)
        if storage is None:
            if now.tape is not None:
                now.tape.wrapped(data)
            storage = Storage()
        t._set(data, storage)
        return t

    @staticmethod
    def _constant(data: Array) -> Tensor:
        """A Tensor around an array that was made of Python's numbers, not of tensors' entries."""
        t = Tensor._wrap(data)
        if now.tape is not None:
            now.tape.constant(data)
        return t

    def _attach(self, node: Node) -> None:
        self._node = node
        self._requires_grad = True

    # ------------------------------------------------------------------------------- what it is

    @property
    def shape(self) -> Size:
        """The sizes of its dimensions."""
        return Size(self._data.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size of it."""
        return self.shape if dim is None else self._data.shape[self._dim("size", dim)]

    def _dim(self, op: str, dim: int) -> int:
        return normalize_dim(op, dim, self._data.ndim)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def dim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def numel(self) -> int:
        """The number of entries."""
        return self._data.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes per entry."""
        return self._data.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How many entries lie between neighbours, in each dimension or in one."""
        strides = tuple(s // self._data.itemsize for s in self._data.strides)
        return strides if dim is None else strides[self._dim("stride", dim)]

    @property
    def dtype(self) -> dtypes.dtype:
        """npmlp.float32, float64, int64, uint8 or bool."""
        return dtypes.from_numpy_dtype(self._data.dtype)

    @property
    def device(self) -> device:
        """Always the CPU."""
        return device("cpu")

    @property
    def is_cuda(self) -> builtins.bool:
        """False."""
        return False

    def is_floating_point(self) -> builtins.bool:
        return self._data.dtype.kind == "f"

    def is_contiguous(self) -> builtins.bool:
        """Whether its entries lie one after another in memory, the last dimension fastest."""
        return self._data.flags.c_contiguous

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self._data.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        from npmlp.printing import tensor_text

        return tensor_text(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._data.ndim == 0 else object.__format__(self, spec)

    # ------------------------------------------------------------------------------- gradients

    @property
    def requires_grad(self) -> builtins.bool:
        """Whether what is computed from it is recorded."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Set requires_grad, in place."""
        if self._node is not None and not requires_grad:
            raise GraphError(
                "requires_grad_: this tensor was computed from others that require a gradient; "
                "use detach() for one that does not"
            )
        if requires_grad and self._data.dtype.kind != "f":
            raise DTypeError(
                f"requires_grad_: only floating-point tensors have gradients, not {self.dtype}"
            )
        self._requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward() has added up, or None. Reset it with zero_grad()."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and value._data.shape != self._data.shape:
            raise ShapeError(
                f"grad: got shape {value._data.shape}, expected the tensor's {self._data.shape}"
            )
        if value is not None and value._data.dtype != self._data.dtype:
            raise DTypeError(f"grad: got {value.dtype}, expected the tensor's {self.dtype}")
        set_grad(self, value)

    def _accumulate_grad(self, grad: Array) -> None:
        if now.tape is not None:
            now.tape.found_grads((self,))
        if self._grad is None:
            set_grad(self, Tensor._wrap(grad))
        else:
            sum_ = self._grad._data
            do("accumulate gradient", np.add, sum_, grad, sum_, writes=(sum_,))
            self._grad._storage.version += 1

    @property
    def grad_fn(self) -> Node | None:
        """The node that made this tensor, None for a leaf."""
        return self._node

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether it was made by the user and not by a recorded operation."""
        return self._node is None

    def retain_grad(self) -> None:
        """Have backward() fill `.grad` although this is not a leaf."""
        if not self._requires_grad:
            raise GraphError("retain_grad: this tensor does not require a gradient")
        if self._node is not None and not builtins.any(t is self for t in self._node.retained):
            self._node.retained.append(self)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: builtins.bool = False,
        create_graph: builtins.bool = False,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf that it was computed from.

        Parameters: `gradient`, of this tensor's shape, needed unless it has one entry.
        Raises: GraphError, on a non-scalar without `gradient`, the second time without
        `retain_graph`, and where an array that backward needs was changed in place.
        """
        if create_graph:
            raise OutsideSubsetError(
                "backward(create_graph=True): second derivatives are outside npmlp"
            )
        autograd.backward([(self, autograd.first_gradient(self, gradient))], retain_graph)

    def detach(self) -> Tensor:
        """The same memory without its history."""
        t = Tensor._wrap(self._data, self._storage)
        t._view = self._view
        return t

    @property
    def data(self) -> Tensor:
        """The same memory; changes through it are not seen by autograd. Prefer detach()."""
        return Tensor._wrap(self._data)

    @data.setter
    def data(self, value: Tensor) -> None:
        cannot("a tensor's .data was replaced")
        self._data = value._data

    # --------------------------------------------------------------------------------- indices

    def __getitem__(self, index: Any) -> Tensor:
        return functions.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._become("setitem", functions.setitem(self, index, value))

    # --------------------------------------------------------------------------------- in place

    _become, _write = in_place.become, in_place.write
    add_, sub_, mul_ = in_place.add_, in_place.sub_, in_place.mul_
    div_, pow_, clamp_ = in_place.div_, in_place.pow_, in_place.clamp_
    clip_, relu_, copy_, fill_ = clamp_, in_place.relu_, in_place.copy_, in_place.fill_
    neg_, abs_, square_, sign_ = in_place.neg_, in_place.abs_, in_place.square_, in_place.sign_
    exp_, log_, sqrt_ = in_place.exp_, in_place.log_, in_place.sqrt_
    sin_, cos_, tan_ = in_place.sin_, in_place.cos_, in_place.tan_
    sigmoid_, tanh_ = in_place.sigmoid_, in_place.tanh_
    floor_, ceil_, round_ = in_place.floor_, in_place.ceil_, in_place.round_
    masked_fill_, scatter_ = in_place.masked_fill_, in_place.scatter_
    zero_, detach_, uniform_ = in_place.zero_, in_place.detach_, in_place.uniform_
    normal_, bernoulli_ = in_place.normal_, in_place.bernoulli_

    def __getattr__(self, name: str) -> Any:
        raise outside(f"Tensor.{name}")
