"""nn.functional: the functions that layers are made of, with PyTorch's names and signatures.

Each brings its arguments into the one form that an operation takes, and applies it; what is
computed stands in npmlp/ops. Functions without state: whatever a layer remembers is an argument.
"""

from __future__ import annotations

from typing import NoReturn

from npmlp.nn.functional.activations import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from npmlp.nn.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
    one_hot,
)
from npmlp.nn.functional.normalization import batch_norm, dropout, dropout2d, layer_norm
from npmlp.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from npmlp.nn.functional.products import conv2d, linear, pad
from npmlp.outside import outside


def __getattr__(name: str) -> NoReturn:
    raise outside(f"nn.functional.{name}")
