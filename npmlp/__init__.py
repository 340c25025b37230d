"""npmlp: a neural-network engine in NumPy and Numba, with PyTorch's names.

`import npmlp as torch` is the idea: what is here has PyTorch's name, arguments and results.
"""

from __future__ import annotations

import importlib
from typing import Any

from npmlp import autograd, errors
from npmlp.autograd import enable_grad, is_grad_enabled, no_grad
from npmlp.config import get_kernels, get_num_threads, set_kernels, set_num_threads
from npmlp.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    from_numpy,
    full,
    full_like,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from npmlp.dtypes import (
    bool,
    dtype,
    float32,
    float64,
    get_default_dtype,
    int64,
    set_default_dtype,
    uint8,
)
from npmlp.functions import (
    abs,
    add,
    allclose,
    amax,
    amin,
    argmax,
    cat,
    clamp,
    div,
    eq,
    equal,
    exp,
    flatten,
    ge,
    gt,
    le,
    log,
    log_softmax,
    lt,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mul,
    ne,
    neg,
    permute,
    pow,
    relu,
    reshape,
    sigmoid,
    softmax,
    sqrt,
    squeeze,
    stack,
    sub,
    sum,
    tanh,
    transpose,
    unsqueeze,
    var,
    where,
)
from npmlp.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from npmlp.serialization import load, save
from npmlp.tensor import Tensor
from npmlp.types import Size, device

__version__ = "0.1.0"

float = float32
double = float64
long = int64

# These import more than a user of tensors alone needs, so they come when they are first asked for.
_LAZY = ("accelerator", "backends", "cuda", "nn", "optim", "utils", "vision")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"npmlp.{name}")
    raise errors.OutsideSubsetError(
        f"npmlp.{name}: npmlp does not have it; docs/subset.md lists what it has of PyTorch"
    )
