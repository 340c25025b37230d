"""Tensor: an array, its gradient, and the node that made it.

What its methods compute stands in npmlp/ops, how their arguments are read in npmlp/functions, and
how gradients flow in npmlp/autograd.py. Operators and changes in place have files of their own.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npmlp import autograd, dtypes, functions, in_place
from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError
from npmlp.node import Node, Storage
from npmlp.operators import Operators
from npmlp.ops import elementwise
from npmlp.ops.common import normalize_dim
from npmlp.ops.spec import Array
from npmlp.types import Size, device


class Tensor(Operators):
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
        t._set(data, Storage() if storage is None else storage)
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

    @property
    def dtype(self) -> dtypes.dtype:
        """npmlp.float32, float64, int64, uint8 or bool."""
        return dtypes.from_numpy_dtype(self._data.dtype)

    @property
    def device(self) -> device:
        """Always the CPU."""
        return device("cpu")

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
        self._grad = value

    def _accumulate_grad(self, grad: Array) -> None:
        if self._grad is None:
            self._grad = Tensor._wrap(grad)
        else:
            self._grad._data += grad
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
        self._data = value._data

    # -------------------------------------------------------------------------- to other things

    def item(self) -> Any:
        """The one entry, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"item: the tensor has {self._data.size} entries, expected one")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def numpy(self) -> Array:
        """The array itself, memory shared. Raises GraphError if a gradient is required."""
        if self._requires_grad:
            raise GraphError("numpy: the tensor requires a gradient; use x.detach().numpy()")
        return self._data

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    def __bool__(self) -> builtins.bool:
        if self._data.size != 1:
            raise ShapeError(
                f"the truth of a tensor of shape {self._data.shape} is ambiguous; use .any(), "
                ".all() or npmlp.equal"
            )
        return builtins.bool(self._data.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iub":
            raise TypeError("only an integer tensor of one entry can be an index")
        return int(self.item())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise GraphError("deepcopy: only leaves can be copied so; use clone() or detach()")
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy._set(self._data.copy(), Storage(), self._requires_grad)
        if self._grad is not None:
            copy._grad = Tensor._wrap(self._grad._data.copy())
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise OutsideSubsetError(
            "tensors are not pickled; use npmlp.save(module.state_dict(), path)"
        )

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """to(dtype), to(device), to(other), to(device, dtype): itself if nothing changes."""
        dtype = kwargs.pop("dtype", None)
        kwargs.pop("non_blocking", None)
        copy = kwargs.pop("copy", False)
        for arg in (*args, *kwargs.values()):
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, (str, device)):
                device(arg)  # raises for what is not the CPU
            elif arg is not None and not isinstance(arg, builtins.bool):
                dtype = dtypes.as_dtype(arg, "to")
        if dtype is None or dtypes.as_dtype(dtype, "to").numpy == self._data.dtype:
            return self.clone() if copy else self
        dtype = dtypes.as_dtype(dtype)
        source = self if dtype.is_floating_point else self.detach()
        return autograd.apply(elementwise.CAST, source, dtype=dtype.name)

    def type(self, dtype: Any = None) -> Any:
        """The tensor in another dtype; without one, PyTorch's name of its type."""
        if dtype is not None:
            return self.to(dtypes.as_dtype(dtype, "type"))
        names = {"float32": "Float", "float64": "Double", "int64": "Long", "uint8": "Byte"}
        return f"torch.{names.get(self.dtype.name, 'Bool')}Tensor"

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    def float(self) -> Tensor:
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        return self.to(dtypes.float64)

    def long(self) -> Tensor:
        return self.to(dtypes.int64)

    def byte(self) -> Tensor:
        return self.to(dtypes.uint8)

    def bool(self) -> Tensor:
        return self.to(dtypes.bool)

    def cpu(self) -> Tensor:
        return self

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return autograd.apply(elementwise.CLONE, self)

    def contiguous(self) -> Tensor:
        """Itself if contiguous, else a copy that is."""
        return self if self.is_contiguous() else self.clone()

    # ----------------------------------------------------------------------- functions as methods

    add, sub, mul, div, pow = (
        functions.add,
        functions.sub,
        functions.mul,
        functions.div,
        functions.pow,
    )
    matmul, mm, neg, abs = functions.matmul, functions.matmul, functions.neg, functions.abs
    eq, ne, lt, le = functions.eq, functions.ne, functions.lt, functions.le
    gt, ge, equal, allclose = functions.gt, functions.ge, functions.equal, functions.allclose
    maximum, minimum, clamp = functions.maximum, functions.minimum, functions.clamp
    exp, log, sqrt, relu = functions.exp, functions.log, functions.sqrt, functions.relu
    sigmoid, tanh = functions.sigmoid, functions.tanh
    softmax, log_softmax = functions.softmax, functions.log_softmax
    sum, mean, var = functions.sum, functions.mean, functions.var
    max, min, amax, amin = functions.max, functions.min, functions.amax, functions.amin
    argmax = functions.argmax
    flatten, transpose = functions.flatten, functions.transpose
    unsqueeze, squeeze = functions.unsqueeze, functions.squeeze

    def where(self, condition: Tensor, other: Any) -> Tensor:
        return functions.where(condition, self, other)

    def any(self) -> Tensor:
        return Tensor._wrap(np.asarray(self._data.any()))

    def all(self) -> Tensor:
        return Tensor._wrap(np.asarray(self._data.all()))

    def isnan(self) -> Tensor:
        return Tensor._wrap(np.isnan(self._data))

    def isfinite(self) -> Tensor:
        return Tensor._wrap(np.isfinite(self._data))

    # ------------------------------------------------------------------------ shapes and indices

    def reshape(self, *shape: Any) -> Tensor:
        return functions.reshape(self, _sizes(shape))

    def view(self, *shape: Any) -> Tensor:
        return functions.view(self, _sizes(shape))

    def permute(self, *dims: Any) -> Tensor:
        return functions.permute(self, _sizes(dims))

    def expand(self, *sizes: Any) -> Tensor:
        return functions.expand(self, _sizes(sizes))

    def t(self) -> Tensor:
        if self._data.ndim > 2:
            raise ShapeError(f"t: the tensor has {self._data.ndim} dimensions, expected at most 2")
        return self.T

    @property
    def T(self) -> Tensor:
        """A view with the dimensions reversed."""
        return functions.permute(self, range(self._data.ndim)[::-1])

    def __getitem__(self, index: Any) -> Tensor:
        return functions.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._become("setitem", functions.setitem(self, index, value))

    # --------------------------------------------------------------------------------- in place

    _become, _write = in_place.become, in_place.write
    add_, sub_, mul_ = in_place.add_, in_place.sub_, in_place.mul_
    div_, pow_, clamp_ = in_place.div_, in_place.pow_, in_place.clamp_
    relu_, copy_, fill_ = in_place.relu_, in_place.copy_, in_place.fill_
    zero_, detach_, uniform_ = in_place.zero_, in_place.detach_, in_place.uniform_
    normal_ = in_place.normal_

    def __getattr__(self, name: str) -> Any:
        raise OutsideSubsetError(
            f"Tensor.{name}: npmlp does not have it; docs/subset.md lists what it has of PyTorch. "
            "x.numpy() gives the array, with all of NumPy, and from_numpy() comes back"
        )


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or dimensions given one by one, or as one sequence."""
    if len(args) == 1 and isinstance(args[0], Sequence):
        args = tuple(args[0])
    return tuple(int(n) for n in args)
