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
    floor_divide,
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
    remainder,
    sub,
    where,
)
from npmlp.functions.indexing import getitem, setitem
from npmlp.functions.logic import (
    all,
    any,
    bincount,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    count_nonzero,
    isclose,
    isfinite,
    isinf,
    isnan,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    nonzero,
    unique,
)
from npmlp.functions.ordering import (
    argsort,
    flip,
    gather,
    index_select,
    masked_fill,
    masked_select,
    scatter,
    sort,
    topk,
    tril,
    triu,
)
from npmlp.functions.pieces import chunk, hstack, meshgrid, repeat, split, tile, unbind, vstack
from npmlp.functions.pointwise import (
    abs,
    ceil,
    clamp,
    cos,
    exp,
    floor,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    neg,
    relu,
    round,
    sigmoid,
    sign,
    sin,
    softmax,
    sqrt,
    square,
    tan,
    tanh,
    trunc,
)
from npmlp.functions.products import bmm, dot, mm, mv, outer
from npmlp.functions.reductions import (
    ValuesIndices,
    amax,
    amin,
    argmax,
    argmin,
    cumsum,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from npmlp.functions.shapes import (
    cat,
    expand,
    flatten,
    permute,
    ravel,
    reshape,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
    view,
)

clip = clamp
