"""npmlp.linalg: norms. Everything else of linear algebra is numpy.linalg's."""

from __future__ import annotations

from typing import Any, NoReturn

from npmlp import functions
from npmlp.errors import OutsideSubsetError
from npmlp.functions.arguments import Dim
from npmlp.outside import outside
from npmlp.tensor import Tensor


def vector_norm(
    x: Tensor, ord: float = 2, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over `dim`, or over all entries; the largest |x| where ord is inf."""
    return functions.norm(x, float(ord), dim, keepdim, dtype=dtype)


def norm(
    A: Tensor, ord: Any = None, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of all entries, or of the vectors along one dimension.

    Of matrices, which `ord` makes of two dimensions, npmlp has the Frobenius norm, "fro".
    """
    matrix = ord is not None and (
        A.ndim == 2 if dim is None else not isinstance(dim, int) and len(tuple(dim)) == 2
    )
    if matrix and ord != "fro":
        raise OutsideSubsetError(
            f"linalg.norm: ord={ord!r} of a matrix is outside npmlp; it has 'fro', and "
            "numpy.linalg.norm(x.numpy(), ord) the others"
        )
    return functions.norm(A, 2.0 if ord in (None, "fro") else float(ord), dim, keepdim, dtype=dtype)


def __getattr__(name: str) -> NoReturn:
    raise outside(f"npmlp.linalg.{name}", f"numpy.linalg.{name}(x.numpy(), ...) without gradients")
