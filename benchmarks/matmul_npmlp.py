"""npmlp's side of the matrix products: the kernels that its operations call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matmul_products import Array, Product, serve_products, threads

import npmlp
from npmlp.ops.linear import LINEAR, MATMUL
from npmlp.ops.spec import OpSpec


def prepare(product: Product, a: Array, b: Array) -> tuple[Callable[[], Any], Array]:
    """A call of the kernel as an operation makes it, and the array that it writes."""
    if product.layer != "linear":
        kernel, out, scratch, _ = _ready(MATMUL, (a, b), (True, True))
        return lambda: kernel.forward((a, b), (out,), scratch), out
    if product.b_transposed:  # x weightᵀ
        inputs = (a, b.T, None)
        kernel, out, scratch, _ = _ready(LINEAR, inputs, (False, True, False))
        return lambda: kernel.forward(inputs, (out,), scratch), out
    # a backward reads dout and one of the inputs; of the other it takes the shape, which is out's
    out = np.empty((product.n, product.m), a.dtype)
    if product.a_transposed:  # doutᵀ x
        dout, x, weight = a.T, b, out
        needs, grads = (False, True, False), [None, out, None]
    else:  # dout weight
        dout, x, weight = a, out, b
        needs, grads = (True, False, False), [out, None, None]
    inputs = (x, weight, None)
    kernel, _, _, backward = _ready(LINEAR, inputs, needs)
    return lambda: kernel.backward(dout, inputs, (), tuple(grads), backward), out


def _ready(spec: OpSpec, inputs: tuple[Any, ...], needs: tuple[bool, ...]) -> Any:
    """The compiled kernel, an output, and the working memory of forward and backward."""
    shapes = tuple(None if x is None else x.shape for x in inputs)
    dtypes = tuple(None if x is None else x.dtype for x in inputs)
    layout = spec.layout(shapes, dtypes, {}, needs)
    out = np.empty(*layout.outs[0])
    scratch, backward = (
        tuple(np.empty(*array) for array in arrays)
        for arrays in (layout.scratch, layout.backward_scratch)
    )
    return spec.kernels["numba"], out, scratch, backward


if __name__ == "__main__":
    npmlp.set_num_threads(threads())
    serve_products(prepare)
