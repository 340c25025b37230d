"""The matrix products in the recipes' networks, found by running them; and how a side times one.

A product is out (N, M) = a (N, K) b (K, M). A linear layer x (N, K) with weight (M, K) has

    forward   x weightᵀ          (N, K, M), b transposed
    dx        dout weight        (N, M, K), unless x is the network's input
    dweight   doutᵀ x            (M, N, K), a transposed

and a convolution the same three of weight and columns, an image at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from side import serve, setting

Array = np.ndarray[Any, np.dtype[Any]]
TRAINING_IMAGES = 60_000
NETWORKS = ("vanilla", "lenet", "mixer", "residual")


@dataclass(frozen=True)
class Product:
    """A product and how its factors are stored; `layer` is the kind it comes from, or ""."""

    n: int
    k: int
    m: int
    a_transposed: bool = False
    b_transposed: bool = False
    layer: str = ""

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.n * self.k * self.m

    def factors(self, dtype: str = "float32") -> tuple[Array, Array]:
        """a and b, as views where they are stored transposed. The same in every side."""
        rng = np.random.default_rng(0)
        a = rng.standard_normal((self.k, self.n) if self.a_transposed else (self.n, self.k))
        b = rng.standard_normal((self.m, self.k) if self.b_transposed else (self.k, self.m))
        a, b = a.astype(dtype), b.astype(dtype)
        return a.T if self.a_transposed else a, b.T if self.b_transposed else b


def products_of_recipes() -> dict[Product, list[str]]:
    """Every product of a training step in the recipes, and where it occurs.

    For the recipes' batches, and for the last, smaller one of an epoch.
    """
    import npmlp
    from npmlp import models, nn
    from npmlp.recipes import RECIPES

    found: dict[Product, list[str]] = {}

    def note(where: str, product: Product) -> None:
        found.setdefault(product, []).append(where)

    def hook(where: str) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, output: npmlp.Tensor) -> None:
            x, needs_dx = args[0].shape, args[0].requires_grad
            if isinstance(module, nn.Linear):
                m, k = module.weight.shape
                n = math.prod(x[:-1])
                note(f"{where} forward", Product(n, k, m, False, True, "linear"))
                if needs_dx:
                    note(f"{where} dx", Product(n, m, k, False, False, "linear"))
                note(f"{where} dweight", Product(m, n, k, True, False, "linear"))
            else:
                c, *window = module.weight.shape
                r, p = math.prod(window), math.prod(output.shape[2:])
                note(f"{where} forward", Product(c, r, p, False, False, "conv"))
                if needs_dx:
                    note(f"{where} dx", Product(r, c, p, True, False, "conv"))
                note(f"{where} dweight", Product(c, p, r, False, True, "conv"))

        return look

    for name in NETWORKS:
        recipe = RECIPES[name]
        last = TRAINING_IMAGES % recipe.batch_size
        for size in (recipe.batch_size, *([last] if last else [])):
            model = models.build(recipe)
            for layer, module in model.named_modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    module.register_forward_hook(hook(f"{name}-{size} {layer}"))
            model(npmlp.zeros(size, 1, 28, 28))
    return found


# ------------------------------------------------------------------------------------- the sides


def serve_products(
    prepare: Callable[[Product, Array, Array], tuple[Callable[[], Any], Any]],
) -> None:
    """Answer requests to time products.

    `prepare(product, a, b)` gives what computes it once, and the array that this writes.
    """
    calls: list[Callable[[], Any]] = []

    def build(product: dict[str, Any]) -> float:
        found = Product(**product)
        a, b = found.factors()
        call, out = prepare(found, a, b)
        calls[:] = [call]
        call()
        return _error(a, b, np.asarray(out))

    def seconds(steps: int) -> float:
        call = calls[0]
        for _ in range(steps // 4):  # a side that was stopped begins with cold caches
            call()
        began = time.perf_counter()
        for _ in range(steps):
            call()
        return time.perf_counter() - began

    serve({"build": build, "seconds": seconds})


def _error(a: Array, b: Array, out: Array) -> float:
    """The largest error of some rows, in units of what no order of additions may exceed.

    Σ|a||b| · K · 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5).
    """
    rows = np.linspace(0, len(a) - 1, min(len(a), 64), dtype=int)
    x, y = a[rows].astype(np.float64), b.astype(np.float64)
    bound = (np.abs(x) @ np.abs(y)) * (a.shape[1] * 2.0**-24)
    return float((np.abs(x @ y - out[rows]) / bound).max())


def threads() -> int:
    """How many threads this side was started with."""
    return int(setting()["threads"])


def as_json(product: Product) -> dict[str, Any]:
    """What a side makes the product of."""
    return asdict(product)
