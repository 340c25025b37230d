"""Small parameters to optimize."""

from __future__ import annotations

import npmlp

KINDS = ["SGD", "Adam", "AdamW", "RMSprop"]


def parameter(*values):
    return npmlp.tensor(values or [1.0, 2.0], requires_grad=True)


def with_gradient(*values):
    p = parameter(*values)
    p.grad = npmlp.ones_like(p)
    return p
