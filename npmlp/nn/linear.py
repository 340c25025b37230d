"""Linear: y = x Wᵀ + b. Identity: y = x.

N batch (any number of dimensions), K features in, M features out.
"""

from __future__ import annotations

from typing import Any

from npmlp.nn import functional as F
from npmlp.nn import init
from npmlp.nn.arguments import checked_size, new_parameter
from npmlp.nn.module import Module
from npmlp.nn.parameter import Parameter
from npmlp.tensor import Tensor


class Linear(Module):
    """A fully connected layer: y = x Wᵀ + b.

    Parameters
    ----------
    in_features, out_features : K and M, the sizes of the last dimension before and after
    bias : whether there is a b
    device, dtype : "cpu"; float32 or float64, None for the default dtype

    Attributes
    ----------
    weight : W, shape (M, K), drawn from U(-1/√K, 1/√K)
    bias : b, shape (M,), drawn after the weight from the same distribution; or None

    Input (*, K), output (*, M).
    Raises ShapeError where the input's last dimension is not K.

    Example
    -------
    >>> import npmlp
    >>> Linear(3, 2)(npmlp.ones(5, 3)).shape
    torch.Size([5, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = checked_size("Linear", "in_features", in_features)
        self.out_features = checked_size("Linear", "out_features", out_features)
        self.weight = new_parameter((self.out_features, self.in_features), dtype, device)
        self.register_parameter(
            "bias", new_parameter((self.out_features,), dtype, device) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight and the bias anew."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        has_bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={has_bias}"


class Identity(Module):
    """Gives back its input; it takes any arguments, to stand in the place of any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
