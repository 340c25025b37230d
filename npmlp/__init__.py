"""npmlp: a neural-network engine in NumPy and Numba, with PyTorch's names.

`import npmlp as torch` is the idea: what is here has PyTorch's name, arguments and results.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from npmlp import autograd, errors
from npmlp.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from npmlp.config import (
    get_kernels,
    get_matmul,
    get_num_threads,
    set_kernels,
    set_matmul,
    set_num_threads,
)
from npmlp.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
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
    all,
    allclose,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    bincount,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    bmm,
    cat,
    ceil,
    chunk,
    clamp,
    cos,
    count_nonzero,
    cumsum,
    div,
    dot,
    eq,
    equal,
    exp,
    expand,
    flatten,
    flip,
    floor,
    floor_divide,
    gather,
    ge,
    gt,
    hstack,
    index_select,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    masked_select,
    matmul,
    max,
    maximum,
    mean,
    meshgrid,
    min,
    minimum,
    mm,
    mul,
    mv,
    ne,
    neg,
    nonzero,
    norm,
    outer,
    permute,
    pow,
    prod,
    ravel,
    relu,
    remainder,
    reshape,
    round,
    scatter,
    sigmoid,
    sign,
    sin,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    t,
    tan,
    tanh,
    tile,
    topk,
    transpose,
    tril,
    triu,
    trunc,
    unbind,
    unique,
    unsqueeze,
    var,
    vstack,
    where,
)
from npmlp.outside import outside as _outside
from npmlp.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from npmlp.sampling import bernoulli, normal, randint_like
from npmlp.serialization import load, save
from npmlp.tensor import Tensor
from npmlp.types import (
    Size,
    device,
    get_default_device,
    is_floating_point,
    is_tensor,
    numel,
    set_default_device,
    set_float32_matmul_precision,
    use_deterministic_algorithms,
)

__version__ = "0.1.0"

float = float32
double = float64
long = int64
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
broadcast_to = expand
clip, concat, concatenate = clamp, cat, cat
subtract, multiply, divide, true_divide = sub, mul, div, div
e, pi, inf, nan = math.e, math.pi, math.inf, math.nan

# These import more than a user of tensors alone needs, so they come when they are first asked for.
_LAZY = ("accelerator", "backends", "cuda", "linalg", "nn", "optim", "utils", "vision")


def __getattr__(name: str) -> Any:
    if name == "capture":
        return importlib.import_module("npmlp.plan.replay").capture
    if name in _LAZY:
        return importlib.import_module(f"npmlp.{name}")
    raise _outside(f"npmlp.{name}")
