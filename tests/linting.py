"""What the tests of the linter's rules look at: a small network, a batch, a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import npmlp
from npmlp import lint
from npmlp.engine import NpmlpEngine
from npmlp.recipes import Recipe


@pytest.fixture(params=[npmlp, torch], ids=["npmlp", "torch"])
def library(request: pytest.FixtureRequest) -> Any:
    """The rules look at networks of both alike."""
    request.param.manual_seed(0)
    return request.param


def found(*args: Any, **kwargs: Any) -> list[str]:
    return [finding.rule for finding in lint.check(*args, **kwargs)]


def network(library: Any, *last: Any) -> Any:
    n = library.nn
    return n.Sequential(n.Flatten(), n.Linear(784, 20), n.ReLU(), n.Linear(20, 10), *last)


def batch(library: Any, size: int = 64) -> tuple[Any, Any]:
    return library.randn(size, 1, 28, 28), library.tensor([i % 10 for i in range(size)])


def train(recipe: Recipe) -> Iterator[tuple[NpmlpEngine, list[float]]]:
    """The engine after each epoch, and the mean training losses so far."""
    engine = NpmlpEngine(recipe)
    losses = []
    for _ in range(recipe.epochs):
        scores = [engine.step(batch) for batch in engine.batches(0)]
        images = sum(score.count for score in scores)
        losses.append(sum(score.loss * score.count for score in scores) / images)
        yield engine, losses
