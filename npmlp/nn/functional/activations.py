"""Activations. `inplace=True` writes the result over the input, as PyTorch does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from npmlp import dtypes, functions
from npmlp.autograd import apply
from npmlp.nn.functional.arguments import check_tensor
from npmlp.ops import activation, bent_lines

if TYPE_CHECKING:
    from npmlp.tensor import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, input)"""
    check_tensor("relu", "input", input)
    result = apply(activation.RELU, input)
    return input._become("relu_", result) if inplace else result


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope · input"""
    check_tensor("leaky_relu", "input", input)
    result = apply(activation.LEAKY_RELU, input, negative_slope=float(negative_slope))
    return input._become("leaky_relu_", result) if inplace else result


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha · (e ^ input - 1)"""
    check_tensor("elu", "input", input)
    result = apply(bent_lines.ELU, input, alpha=float(alpha))
    return input._become("elu_", result) if inplace else result


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + e ^ (beta · input)) / beta; input itself where beta · input is above `threshold`"""
    check_tensor("softplus", "input", input)
    return apply(bent_lines.SOFTPLUS, input, beta=float(beta), threshold=float(threshold))


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """input, raised to min_val and lowered to max_val"""
    check_tensor("hardtanh", "input", input)
    bounds = {"min_val": float(min_val), "max_val": float(max_val)}
    result = apply(bent_lines.HARDTANH, input, **bounds)
    return input._become("hardtanh_", result) if inplace else result


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, input), and at most 6"""
    return hardtanh(input, 0.0, 6.0, inplace)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """input · Φ(input), Φ the normal distribution function; "tanh" takes its usual approximation"""
    check_tensor("gelu", "input", input)
    return apply(activation.GELU, input, approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input · σ(input)"""
    check_tensor("silu", "input", input)
    result = apply(activation.SILU, input)
    return input._become("silu_", result) if inplace else result


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e ^ -input)"""
    check_tensor("sigmoid", "input", input)
    return functions.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent"""
    check_tensor("tanh", "input", input)
    return functions.tanh(input)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtypes.dtype | None = None
) -> Tensor:
    """e^x_i / Σ_j e^x_j along `dim`"""
    check_tensor("softmax", "input", input)
    if dim is None:
        dim = _implicit_dim("softmax", input.ndim, _stacklevel)
    return functions.softmax(input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtypes.dtype | None = None
) -> Tensor:
    """x_i - ln Σ_j e^x_j along `dim`"""
    check_tensor("log_softmax", "input", input)
    if dim is None:
        dim = _implicit_dim("log_softmax", input.ndim, _stacklevel)
    return functions.log_softmax(input, dim, dtype)


def _implicit_dim(op: str, ndim: int, stacklevel: int) -> int:
    """The dimension that PyTorch takes where none is given, with its warning."""
    warnings.warn(
        f"Implicit dimension choice for {op} has been deprecated. "
        "Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1
