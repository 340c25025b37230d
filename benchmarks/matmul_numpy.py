"""NumPy's side of the matrix products: matmul into an array, with its BLAS at so many threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matmul_products import Array, Product, serve_products, threads
from threadpoolctl import threadpool_limits


def prepare(product: Product, a: Array, b: Array) -> tuple[Callable[[], Any], Array]:
    """A call of matmul, and the array that it writes."""
    out = np.empty((product.n, product.m), a.dtype)
    return lambda: np.matmul(a, b, out=out), out


if __name__ == "__main__":
    with threadpool_limits(threads(), user_api="blas"):
        serve_products(prepare)
