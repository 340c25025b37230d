"""PyTorch's side of the matrix products: mm into a tensor, which calls its BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matmul_products import Array, Product, serve_products, threads


def prepare(product: Product, a: Array, b: Array) -> tuple[Callable[[], Any], torch.Tensor]:
    """A call of mm, and the tensor that it writes."""
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    out = torch.empty(product.n, product.m)
    return lambda: torch.mm(x, y, out=out), out


if __name__ == "__main__":
    torch.set_num_threads(threads())
    serve_products(prepare)
