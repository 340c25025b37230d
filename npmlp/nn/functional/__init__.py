"""nn.functional: the functions that layers are made of, with PyTorch's names and signatures.

Each brings its arguments into the one form that an operation takes, and applies it; what is
computed stands in npmlp/ops. Functions without state: whatever a layer remembers is an argument.
"""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError
from npmlp.nn.functional.activations import (
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from npmlp.nn.functional.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
    one_hot,
)
from npmlp.nn.functional.normalization import batch_norm, dropout, layer_norm
from npmlp.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from npmlp.nn.functional.products import conv2d, linear, pad


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"nn.functional.{name}: npmlp does not have it; docs/subset.md lists what it has of PyTorch"
    )
