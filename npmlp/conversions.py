"""Methods of Tensor that make other things of it: numbers, lists, arrays, other dtypes, copies."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import autograd, dtypes
from npmlp.errors import GraphError, OutsideSubsetError, ShapeError
from npmlp.methods import Methods
from npmlp.node import Storage
from npmlp.ops import elementwise
from npmlp.ops.spec import Array
from npmlp.recording import check_readable
from npmlp.types import device

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


class Conversions(Methods):
    """The part of Tensor, its only subclass, that converts: `self` is a Tensor throughout."""

    __slots__ = ()

    def item(self: Any) -> Any:
        """The one entry, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"item: the tensor has {self._data.size} entries, expected one")
        check_readable("item", self._data)
        return self._data.item()

    def tolist(self: Any) -> Any:
        """Nested lists of Python numbers."""
        check_readable("tolist", self._data)
        return self._data.tolist()

    def numpy(self: Any) -> Array:
        """The array itself, memory shared. Raises GraphError if a gradient is required."""
        if self._requires_grad:
            raise GraphError("numpy: the tensor requires a gradient; use x.detach().numpy()")
        check_readable("numpy", self._data)
        return self._data

    def __array__(self: Any, dtype: Any = None, copy: builtins.bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    def __bool__(self: Any) -> builtins.bool:
        if self._data.size != 1:
            raise ShapeError(
                f"the truth of a tensor of shape {self._data.shape} is ambiguous; use .any(), "
                ".all() or npmlp.equal"
            )
        check_readable("bool", self._data)
        return builtins.bool(self._data.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __float__(self: Any) -> float:
        return float(self.item())

    def __index__(self: Any) -> int:
        if self._data.dtype.kind not in "iub":
            raise TypeError("only an integer tensor of one entry can be an index")
        return int(self.item())

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise GraphError("deepcopy: only leaves can be copied so; use clone() or detach()")
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy._set(self._data.copy(), Storage(), self._requires_grad)
        if self._grad is not None:
            copy._grad = self._wrap(self._grad._data.copy())
        return copy

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        raise OutsideSubsetError(
            "tensors are not pickled; use npmlp.save(module.state_dict(), path)"
        )

    def to(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        """to(dtype), to(device), to(other), to(device, dtype): itself if nothing changes."""
        dtype = kwargs.pop("dtype", None)
        kwargs.pop("non_blocking", None)
        copy = kwargs.pop("copy", False)
        for arg in (*args, *kwargs.values()):
            if hasattr(arg, "_data"):
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

    def type(self: Any, dtype: Any = None) -> Any:
        """The tensor in another dtype; without one, PyTorch's name of its type."""
        if dtype is not None:
            return self.to(dtypes.as_dtype(dtype, "type"))
        names = {"float32": "Float", "float64": "Double", "int64": "Long", "uint8": "Byte"}
        return f"torch.{names.get(self.dtype.name, 'Bool')}Tensor"

    def type_as(self: Any, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    def float(self: Any) -> Tensor:
        return self.to(dtypes.float32)

    def double(self: Any) -> Tensor:
        return self.to(dtypes.float64)

    def long(self: Any) -> Tensor:
        return self.to(dtypes.int64)

    def byte(self: Any) -> Tensor:
        return self.to(dtypes.uint8)

    def bool(self: Any) -> Tensor:
        return self.to(dtypes.bool)

    def cpu(self: Any) -> Tensor:
        return self

    def clone(self: Any) -> Tensor:
        """A copy, through which gradients flow."""
        return autograd.apply(elementwise.CLONE, self)

    def contiguous(self: Any) -> Tensor:
        """Itself if contiguous, else a copy that is."""
        return self if self.is_contiguous() else self.clone()
