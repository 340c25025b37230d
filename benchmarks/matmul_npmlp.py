"""npmlp's side of the matrix products: what a plan calls of an operation's kernel.

A training step is a plan: of an operation it keeps the compiled calls, and makes them from a
program (npmlp/kernels/program.py). Here a program has those of one product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matmul_products import Array, Product, serve_products, threads

import npmlp
from npmlp.kernels import threads as npmlp_threads
from npmlp.kernels.calls import keeping
from npmlp.kernels.program import Program, compiled
from npmlp.ops.linear import LINEAR, MATMUL
from npmlp.ops.spec import OpSpec

_DIVIDED_FROM = 1 << 20  # floating-point operations: 10 µs of one thread, 5 of two and 4 to start


def prepare(product: Product, a: Array, b: Array) -> tuple[Callable[[], Any], Array]:
    """A call of the kernel as an operation makes it, and the array that it writes."""
    if product.layer != "linear":
        kernel, out, scratch, _ = _ready(MATMUL, (a, b), (True, True))
        return _planned(product, lambda: kernel.forward((a, b), (out,), scratch)), out
    if product.b_transposed:  # x weightᵀ
        inputs = (a, b.T, None)
        kernel, out, scratch, _ = _ready(LINEAR, inputs, (False, True, False))
        return _planned(product, lambda: kernel.forward(inputs, (out,), scratch)), out
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
    return _planned(product, lambda: kernel.backward(dout, inputs, (), tuple(grads), backward)), out


def _planned(product: Product, face: Callable[[], Any]) -> Callable[[], Any]:
    """The calls that a face makes, as a plan makes them.

    A plan starts its threads once a step; here that is once a product, and the smallest are
    computed before a second thread has begun.
    """
    return planned(face, npmlp.get_num_threads() if product.flops >= _DIVIDED_FROM else 1)


def planned(face: Callable[[], Any], count: int) -> Callable[[], Any]:
    """The calls that a face makes, as a plan for a number of threads makes them."""
    with keeping(count > 1) as calls:
        face()
    if all(compiled(call) for call in calls):
        return Program(calls, count)
    return lambda: [call.make() for call in calls]


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
    npmlp_threads.take()  # for all programs, as a plan has them while it replays
    serve_products(prepare)
