"""OPS: every operation of npmlp by name, in the order in which one would teach them."""

from __future__ import annotations

from types import MappingProxyType

from npmlp.ops import (
    activation,
    binary,
    classification,
    compare,
    conv,
    dropout,
    elementwise,
    extreme,
    index,
    linear,
    loss,
    norm,
    pad2d,
    pool,
    reduce,
    shape,
)
from npmlp.ops.spec import OpSpec

_SPECS: tuple[OpSpec, ...] = (
    # two inputs, entry by entry
    binary.ADD,
    binary.SUB,
    binary.MUL,
    binary.DIV,
    binary.POW,
    binary.MAXIMUM,
    binary.MINIMUM,
    binary.WHERE,
    # one input, entry by entry
    elementwise.NEG,
    elementwise.EXP,
    elementwise.LOG,
    elementwise.SQRT,
    elementwise.ABS,
    elementwise.CLAMP,
    elementwise.CAST,
    elementwise.CLONE,
    # comparisons
    compare.EQ,
    compare.NE,
    compare.LT,
    compare.LE,
    compare.GT,
    compare.GE,
    # reductions
    reduce.SUM,
    reduce.MEAN,
    reduce.VAR,
    extreme.AMAX,
    extreme.AMIN,
    extreme.MAX_DIM,
    extreme.MIN_DIM,
    extreme.ARGMAX,
    # shapes
    shape.RESHAPE,
    shape.PERMUTE,
    shape.EXPAND,
    index.SLICE,
    index.GATHER,
    index.INDEX_PUT,
    shape.CAT,
    shape.STACK,
    # products
    linear.MATMUL,
    linear.LINEAR,
    # activations
    activation.RELU,
    activation.LEAKY_RELU,
    activation.GELU,
    activation.SILU,
    activation.SIGMOID,
    activation.TANH,
    activation.SOFTMAX,
    activation.LOG_SOFTMAX,
    # images
    conv.CONV2D,
    pad2d.PAD2D,
    pool.MAX_POOL2D,
    pool.AVG_POOL2D,
    pool.ADAPTIVE_AVG_POOL2D,
    # normalisation and noise
    norm.BATCH_NORM,
    norm.BATCH_NORM_INFERENCE,
    norm.LAYER_NORM,
    dropout.DROPOUT,
    # losses
    loss.MSE_LOSS,
    loss.L1_LOSS,
    loss.BCE_WITH_LOGITS,
    classification.NLL_LOSS,
    classification.CROSS_ENTROPY,
    classification.CROSS_ENTROPY_SOFT,
)

OPS = MappingProxyType({spec.name: spec for spec in _SPECS})
assert len(OPS) == len(_SPECS), "two operations have the same name"
