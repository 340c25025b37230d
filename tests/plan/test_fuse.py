"""Fused operations have the bits of those that they replace, and are found where these are."""

from __future__ import annotations

import numpy as np
import pytest

import npmlp
from npmlp import nn
from npmlp.plan.tape import Backward, Forward

pytestmark = pytest.mark.usefixtures("compiled")


class Small(nn.Module):
    def __init__(self, *layers, between=None):
        super().__init__()
        self.layers, self.between = nn.Sequential(*layers), between

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.between == i:
                self.kept = x * 2  # another reader of what comes out of layer i
                x = x + self.kept
        return x


def names(plan):
    ((recording,),) = plan._recordings.values()
    return [e.name for e in recording.entries if isinstance(e, (Forward, Backward))]


def train(model, steps, planned, data, extra=lambda model, x: ()):
    optimizer = npmlp.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        out = model(x)
        loss = nn.functional.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        return loss, out, *extra(model, x)

    plan = npmlp.capture(step) if planned else step
    npmlp.manual_seed(4)
    seen = [[t.detach().numpy().tobytes() for t in plan(*data)] for _ in range(steps)]
    seen.append([v.numpy().tobytes() for v in model.state_dict().values()])
    seen.append([None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()])
    return seen, plan


def compare(make, width=6, rows=20, dtype="float32", **options):
    rng = np.random.default_rng(0)
    shape = (width,) if isinstance(width, int) else width
    x = npmlp.from_numpy(rng.standard_normal((rows, *shape)).astype(dtype))
    data = x, npmlp.from_numpy(rng.integers(0, 4, rows))
    results = []
    for planned in (False, True):
        npmlp.manual_seed(1)
        model = make().to(getattr(npmlp, dtype))
        seen, plan = train(model, 4, planned, data, **options)
        results.append(seen)
    assert results[0] == results[1]
    return names(plan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [2, 20, 130])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_relu(dtype, rows, bias):
    found = compare(
        lambda: Small(nn.Linear(6, 35, bias=bias), nn.ReLU(), nn.Linear(35, 4)), rows=rows,
        dtype=dtype,
    )  # fmt: skip
    assert found.count("linear_relu") == found.count("linear_relu backward") == 1
    assert "relu" not in found and "relu backward" not in found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("width", "hidden", "rows"),
    [(6, 35, 2), (6, 35, 20), (6, 70, 300), (600, 100, 64), (600, 5, 1100), (1100, 260, 300)],
)  # ways of the product: columns packed by each thread, dot products, blocks of rows, a large one
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])  # on two each has some of the columns, or of the rows
def test_linear_and_gelu(dtype, width, hidden, rows, bias, threads):
    npmlp.set_num_threads(threads)
    found = compare(
        lambda: Small(nn.Linear(width, hidden, bias=bias), nn.GELU(), nn.Linear(hidden, 4)),
        width=width, rows=rows, dtype=dtype,
    )  # fmt: skip
    assert found.count("linear_gelu") == found.count("linear_gelu backward") == 1
    assert "gelu" not in found and "gelu backward" not in found


def test_the_gelu_of_another_form_stays_by_itself():
    found = compare(lambda: Small(nn.Linear(6, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 4)))
    assert found.count("gelu") == found.count("gelu backward") == 1 and "linear_gelu" not in found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [3, 70, 144])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_and_gelu_and_dropout(dtype, width, dropout, affine):
    found = compare(
        lambda: Small(
            nn.Linear(6, width), nn.BatchNorm1d(width, affine=affine), nn.GELU(),
            nn.Dropout(dropout), nn.Linear(width, 4),
        ),
        rows=300 if width == 70 else 65, dtype=dtype,
    )  # fmt: skip
    assert found.count("batch_norm_gelu") == found.count("batch_norm_gelu backward") == 1
    assert not {"batch_norm", "gelu", "dropout", "gelu backward"} & set(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 21])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_with_relu_and_pooling(dtype, rows, bias):
    found = compare(
        lambda: Small(
            nn.Conv2d(1, 6, 5, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(36, 4),
        ),
        width=(1, 17, 16), rows=rows, dtype=dtype,
    )  # fmt: skip
    assert found.count("conv_relu_pool") == found.count("conv_relu_pool backward") == 2
    assert not {"conv2d", "relu", "max_pool2d"} & set(found)


@pytest.mark.parametrize(
    ("conv", "pool", "size"),
    [({}, {"kernel_size": 3}, 9), ({}, {"kernel_size": 2, "padding": 1}, 25),
     ({"stride": 2}, {"kernel_size": 2}, 4)],
)  # fmt: skip
def test_another_pooling_or_stride_stays_by_itself(conv, pool, size):
    found = compare(
        lambda: Small(
            nn.Conv2d(1, 3, 3, **conv), nn.ReLU(), nn.MaxPool2d(**pool), nn.Flatten(),
            nn.Linear(3 * size, 4),
        ),
        width=(1, 11, 11), rows=3,
    )  # fmt: skip
    assert "conv2d" in found and "max_pool2d" in found and "conv_relu_pool" not in found


def test_a_batch_norm_that_needs_no_gradient_of_its_input():
    compare(lambda: Small(nn.BatchNorm1d(6), nn.GELU(), nn.Linear(6, 4)))


def test_what_another_reads_as_well_stays():
    def make(between):
        return lambda: Small(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), between=between)

    assert "linear_relu" not in compare(make(0))
    assert "linear_relu" in compare(make(1))


def test_what_the_step_returns_stays():
    def extra(model, x):
        return (model.layers[0](x),)

    def hidden(model, x):
        h = model.layers[0](x)
        return h, h.relu()

    make = lambda: Small(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))  # noqa: E731
    assert compare(make, extra=extra).count("linear_relu") == 1
    assert compare(make, extra=hidden).count("relu") == 1


def test_frozen_parameters():
    def make():
        model = Small(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        model.layers[2].weight.requires_grad_(False)
        model.layers[0].bias.requires_grad_(False)
        return model

    rng = np.random.default_rng(0)
    data = (
        npmlp.from_numpy(rng.standard_normal((20, 6)).astype(np.float32)),
        npmlp.from_numpy(rng.integers(0, 4, 20)),
    )
    results = []
    for planned in (False, True):
        npmlp.manual_seed(1)
        results.append(train(make(), 3, planned, data)[0])
    assert results[0] == results[1]
