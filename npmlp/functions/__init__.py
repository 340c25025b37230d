"""Functions of tensors: `npmlp.exp(x)`, `npmlp.sum(x, dim=1)`, `npmlp.cat([x, y])`.

Each brings its arguments into the one form that its operation takes (dimensions counted from the
front, one dtype, no Python scalars) and applies it. What can be computed, and how its gradient
follows, stands in npmlp/ops. Methods of Tensor of the same name call these.
"""

from __future__ import annotations

from npmlp.functions.arguments import as_float, together
from npmlp.functions.arithmetic import (
    add,
    allclose,
    div,
    eq,
    equal,
    ge,
    gt,
    le,
    lt,
    matmul,
    maximum,
    minimum,
    mul,
    ne,
    pow,
    sub,
    where,
)
from npmlp.functions.indexing import getitem, setitem
from npmlp.functions.pointwise import (
    abs,
    clamp,
    exp,
    log,
    log_softmax,
    neg,
    relu,
    sigmoid,
    softmax,
    sqrt,
    tanh,
)
from npmlp.functions.reductions import ValuesIndices, amax, amin, argmax, max, mean, min, sum, var
from npmlp.functions.shapes import (
    cat,
    expand,
    flatten,
    permute,
    reshape,
    squeeze,
    stack,
    transpose,
    unsqueeze,
    view,
)
