"""Tensors print as PyTorch prints them, character for character."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import npmlp

FLOATS = ["float32", "float64"]


def same_text(array: np.ndarray) -> None:
    assert repr(npmlp.from_numpy(array)) == repr(torch.from_numpy(array))


def random_shape(rng: np.random.Generator) -> tuple[int, ...]:
    ndim = int(rng.integers(0, 5))
    return tuple(int(n) for n in rng.choice([1, 2, 3, 5, 6, 7, 8, 13], ndim))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(60))
def test_random_floats_of_every_size_print_as_in_pytorch(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(random_shape(rng)) * 10.0 ** rng.integers(-6, 10)
    kind = seed % 4
    if kind == 1:
        x = x * 10.0 ** rng.integers(-4, 5, x.shape)  # sizes that differ: scientific notation
    elif kind == 2:
        x = np.round(x)
    elif kind == 3:
        x = np.where(rng.random(x.shape) < 0.5, 0.0, np.round(rng.standard_normal(x.shape), 2))
    same_text(np.asarray(x, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(30))
def test_nan_infinity_and_negative_zero_print_as_in_pytorch(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    scale = [1.0, 1e-5, 1e9][seed % 3]
    x = rng.standard_normal(random_shape(rng)) * scale
    if seed % 2:
        x = np.round(x)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])
    same_text(np.asarray(np.where(rng.random(x.shape) < 0.4, rng.choice(odd, x.shape), x), dtype))


@pytest.mark.parametrize("values", [[np.nan], [np.inf, -np.inf], [0.0, -0.0], [np.nan, 0.0]])
def test_a_tensor_without_a_plain_number_prints_as_in_pytorch(values: list[float]) -> None:
    same_text(np.array(values, np.float32))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
@pytest.mark.parametrize("seed", range(12))
def test_integers_and_bools_print_as_in_pytorch(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(rng)
    high = {"int64": 10 ** int(rng.integers(1, 12)), "uint8": 256, "bool": 2}[dtype]
    low = -high if dtype == "int64" else 0
    same_text(rng.integers(low, high, shape).astype(dtype))


LARGE = [
    (1000,), (1001,), (40, 40), (7, 200), (2, 600), (3, 5, 100), (11, 11, 11), (2, 2, 2, 2, 80),
    (1, 1, 2000), (2000, 1),
]  # fmt: skip


@pytest.mark.parametrize("shape", LARGE)
def test_above_a_thousand_entries_the_middle_is_left_out_as_in_pytorch(shape: tuple) -> None:
    rng = np.random.default_rng(0)
    same_text(rng.standard_normal(shape).astype(np.float32))
    same_text(rng.integers(0, 9, shape))
    hidden = np.ones(shape)
    hidden[tuple(n // 2 if n > 6 else 0 for n in shape)] = 0.123  # the format is that of the rest
    same_text(hidden)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_empty_tensors_say_their_shape_as_in_pytorch(shape: tuple, dtype: str) -> None:
    same_text(np.zeros(shape, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_default_dtype_is_the_one_that_is_not_printed(dtype: str) -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(getattr(torch, dtype))
        npmlp.set_default_dtype(getattr(npmlp, dtype))
        for d in FLOATS:
            same_text(np.ones(3, d))
            same_text(np.ones(0, d))
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (12,), (8, 9), ()])
@pytest.mark.parametrize("dtype", FLOATS)
def test_requires_grad_and_grad_fn_print_as_in_pytorch(shape: tuple, dtype: str) -> None:
    array = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    ours = npmlp.tensor(array, requires_grad=True)
    theirs = torch.tensor(array, requires_grad=True)
    assert repr(ours) == repr(theirs)
    assert repr(ours + 1) == repr(theirs + 1)


def test_strided_views_print_as_in_pytorch() -> None:
    same_text(np.arange(24.0).reshape(4, 6).T[::2, 1:])


# the same expression on both sides
NAMED = [
    "x + 1", "x - y", "2 - x", "x * y", "x / 2", "2 / x", "x ** 2", "x ** y", "2 ** x", "-x",
    "x @ y.T", "x @ y[0]", "y[0] @ y[0]", "y[0] @ x.T", "x[None] @ y.T", "x.exp()", "x.abs()",
    "x.clamp(min=0)", "x.clone()", "x.double()", "x.sum()", "x.sum(1)", "x.mean()", "x.mean(0)",
    "x.var()", "x.max()", "x.max(1).values", "x.min()", "x.min(0).values", "x.amax(1)",
    "x.view(2, 6)", "x.flatten()", "x.T", "x.expand(2, 3, 4)", "x[0]", "x[1:]", "x[:, 1]",
    "x[None]", "x[0, 1:]", "x[...]", "x[:]", "x[1:, :]", "m.cat([x, y])", "m.stack([x, y])",
    "x.relu()", "x.softmax(1)", "x.log_softmax(1)", "x.sigmoid()",
    "m.where(x > 0, x, y)", "m.maximum(x, y)",
    "x.t()", "x.mT", "x.transpose(0, 1)", "x.unsqueeze(0)", "x[:1].squeeze()", "x[:1].squeeze(0)",
    "x[:1].squeeze((0, 1))", "x.tril()", "x.triu(1)",
    "x.log2()", "x.log10()", "x.log1p()", "x.ravel()", "m.t(x)", "x.tile(2)", "x.sin()", "x.cos()",
    "x.tan()", "x.square()", "x.sign()", "x.floor()",
    "x.ceil()", "x.trunc()", "x.round()", "x.round(decimals=1)", "x % y", "x.std()", "x.std(1)",
    "x.norm()", "x.norm(1, 0)", "x.prod()", "x.prod(1)", "x.cumsum(0)", "x.sort().values",
    "x.topk(2).values", "x.split(2)[0]", "x.split([1, 2])[1]", "x.chunk(2)[1]", "x.unbind()[0]",
    "m.hstack([x, y])", "m.vstack([x, y])", "x.repeat(2, 1)", "x.flip(0)",
    "x.gather(1, c[:, None])", "x[0].gather(0, c[0])", "x.scatter(1, c[:, None], 1.0)",
    "x.scatter(1, c[:, None], y)", "x.index_select(0, c[:1])", "x.masked_fill(x > 0.5, 0.0)",
    "x.masked_fill(x > 0.5, y.sum())", "x.masked_select(x > 0.5)", "x.mm(y.T)", "x.mv(y[0])",
    "x[None].bmm(y.T[None])", "x[0].dot(y[0])", "x[0].outer(y[0])", "x.clip(0, 1)", "x.view_as(y)",
    "x.expand_as(y[None])", "(x * 1).add_(1)", "(x * 1).exp_()", "(x * 1).masked_fill_(x > 0, 1)",
]  # fmt: skip


NAMED_LAYERS = [
    "n.Linear(4, 2)(x)", "n.Linear(4, 2, bias=False)(x)", "n.ReLU()(x)", "n.LeakyReLU()(x)",
    "n.GELU()(x)", "n.SiLU()(x)", "n.Sigmoid()(x)", "n.Tanh()(x)", "n.Softmax(1)(x)",
    "n.LogSoftmax(1)(x)", "n.BatchNorm1d(4)(x)", "n.BatchNorm1d(4).eval()(x)", "n.LayerNorm(4)(x)",
    "n.Dropout()(x)", "n.Flatten(0)(x)", "n.Conv2d(1, 2, 2)(i)",
    "n.MaxPool2d(2)(i)", "n.AvgPool2d(2)(i)", "n.AdaptiveAvgPool2d(2)(i)",
    "n.AdaptiveAvgPool2d(1)(i)",
    "n.functional.pad(x, (1, 1))", "n.functional.pad(i, (1, 1, 1, 1), mode='reflect')",
    "n.functional.pad(i, (1, 1, 1, 1), mode='replicate')", "n.CrossEntropyLoss()(x, c)",
    "n.CrossEntropyLoss(reduction='sum')(x, c)", "n.CrossEntropyLoss(label_smoothing=0.1)(x, c)",
    "n.CrossEntropyLoss()(x, y.detach())", "n.CrossEntropyLoss(reduction='sum')(x, y.detach())",
    "n.NLLLoss()(x, c)", "n.MSELoss()(x, y)", "n.MSELoss(reduction='none')(x, y)",
    "n.L1Loss()(x, y)", "n.L1Loss(reduction='sum')(x, y)", "n.L1Loss(reduction='none')(x, y)",
    "n.BCEWithLogitsLoss()(x, y.detach())",
]  # fmt: skip


@pytest.mark.parametrize("expression", NAMED + NAMED_LAYERS)
def test_grad_fn_has_the_name_that_pytorch_gives_it(expression: str) -> None:
    rng = np.random.default_rng(0)
    data = {"x": rng.random((3, 4)), "y": rng.random((3, 4)), "i": rng.random((2, 1, 4, 4))}
    names = []
    for m in (npmlp, torch):
        kind = m.float32 if "n." in expression else m.float64
        values = {k: m.from_numpy(a).to(kind).requires_grad_() for k, a in data.items()}
        if "double" in expression:
            values["x"] = values["x"].float().detach().requires_grad_()
        values |= {"m": m, "n": m.nn, "c": m.tensor([0, 3, 1])}
        names.append(eval(expression, values).grad_fn.name())
    assert names[0] == names[1]


def test_a_node_prints_its_name_and_where_it_lies() -> None:
    for m in (npmlp, torch):
        x = m.ones(2, requires_grad=True)
        assert re.fullmatch(r"<MulBackward0 object at 0x[0-9a-f]+>", repr((x * 2).grad_fn))
        assert re.fullmatch(
            r"<AccumulateGrad object at 0x[0-9a-f]+>",
            repr((x * 2).grad_fn.next_functions[0][0]),
        )


@pytest.mark.parametrize(
    "expression",
    ["x * 2", "x * y.detach()", "(x + y).exp()", "n.MSELoss()(n.ReLU()(n.Linear(4, 2)(x)), z)",
     "n.Linear(4, 2, bias=False)(x)", "n.Linear(4, 2)(x.exp())", "x.detach() @ y.T"],
)  # fmt: skip
def test_the_nodes_before_a_node_are_those_that_pytorch_shows(expression: str) -> None:
    chains = []
    for m in (npmlp, torch):
        values = {name: m.ones(3, 4, requires_grad=True) for name in "xy"}
        values |= {"m": m, "n": m.nn, "z": m.zeros(3, 2)}
        chains.append(_tree(eval(expression, values).grad_fn))
    assert chains[0] == chains[1]


def _tree(node: Any) -> Any:
    """The names of a node and of all before it."""
    if node is None:
        return None
    return node.name(), [(_tree(before), number) for before, number in node.next_functions]
