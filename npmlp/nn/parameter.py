"""Parameter: a Tensor that a Module counts among what is trained."""

from __future__ import annotations

from typing import Any

from npmlp import dtypes
from npmlp.creation import empty
from npmlp.errors import DTypeError
from npmlp.node import Storage
from npmlp.tensor import Tensor


class Parameter(Tensor):
    """A leaf Tensor that a Module registers when it is assigned to one of its attributes.

    Parameters
    ----------
    data : Tensor whose memory the parameter shares; None for an empty one
    requires_grad : whether it is trained; not touched by no_grad

    Raises
    ------
    DTypeError : `data` is not a Tensor, or has no floats and requires_grad is True

    Example
    -------
    >>> import npmlp
    >>> Parameter(npmlp.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        data = empty(0) if data is None else data
        if not isinstance(data, Tensor):
            raise DTypeError(
                f"Parameter: data is a {type(data).__name__}, expected a Tensor; make one with "
                "npmlp.tensor(...) or npmlp.from_numpy(array)"
            )
        if requires_grad and not data.is_floating_point():
            raise DTypeError(
                f"Parameter: data has dtype {data.dtype}, and only floats have gradients; use "
                f"{dtypes.get_default_dtype()}, or requires_grad=False"
            )
        self._set(data._data, data._storage, requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """The values in memory of their own; the gradient stays behind, as in PyTorch."""
        if id(self) in memo:
            known: Parameter = memo[id(self)]
            return known
        copy = object.__new__(type(self))
        copy._set(self._data.copy(), Storage(), self._requires_grad)
        memo[id(self)] = copy
        return copy

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
