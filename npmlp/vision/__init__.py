"""Images: Fashion-MNIST (found, fetched, verified), readers for IDX and CSV, and transforms."""

from npmlp.vision import datasets, transforms

__all__ = ["datasets", "transforms"]
