"""nn.functional: activations, linear, pad, one_hot, and how all of them read their arguments.

Convolution and pooling, normalisation and dropout, and losses have files of their own.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as torch_functional
from functional_beside_torch import FLOATS, Constant, compare, normal, outcome

import npmlp
from npmlp.errors import (
    DataError,
    DTypeError,
    GraphError,
    NpmlpError,
    OutsideSubsetError,
    ShapeError,
)
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled

# those that PyTorch writes in Python; of the others the signature stands in their docstring
IN_PYTHON = [
    "adaptive_avg_pool2d", "batch_norm", "binary_cross_entropy_with_logits", "cross_entropy",
    "dropout", "l1_loss", "layer_norm", "leaky_relu", "log_softmax", "mse_loss", "nll_loss", "pad",
    "relu", "sigmoid", "silu", "softmax", "tanh",
]  # fmt: skip
IN_C = {
    "linear": "input, weight, bias=None",
    "conv2d": "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",
    "avg_pool2d": "input, kernel_size, stride=None, padding=0, ceil_mode=False, "
    "count_include_pad=True, divisor_override=None",
    "one_hot": "tensor, num_classes=-1",
}


def _names_and_defaults(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    parts = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    return ", ".join(parts)


@pytest.mark.parametrize("name", IN_PYTHON)
def test_signatures_are_pytorchs(name: str) -> None:
    theirs = _names_and_defaults(getattr(torch_functional, name))
    assert _names_and_defaults(getattr(F, name)) == theirs


@pytest.mark.parametrize("name", IN_C)
def test_signatures_are_those_in_pytorchs_docstrings(name: str) -> None:
    documented = " ".join(getattr(torch_functional, name).__doc__.split())
    assert f"{name}({IN_C[name]})" in documented
    assert _names_and_defaults(getattr(F, name)) == IN_C[name]


def test_max_pool2d_takes_what_pytorchs_with_indices_takes() -> None:
    theirs = inspect.signature(torch_functional.max_pool2d_with_indices)
    assert list(inspect.signature(F.max_pool2d).parameters) == list(theirs.parameters)


def test_what_is_outside_of_the_subset_is_said_by_name() -> None:
    with pytest.raises(OutsideSubsetError, match=r"nn\.functional\.conv3d: npmlp does not have it"):
        F.conv3d  # noqa: B018


# ----------------------------------------------------------------------------------- activations

ACTIVATIONS = {
    "relu": lambda F, x, **how: F.relu(x, **how),
    "leaky_relu": lambda F, x, **how: F.leaky_relu(x, 0.2, **how),
    "leaky_relu by default": lambda F, x, **how: F.leaky_relu(x, **how),
    "silu": lambda F, x, **how: F.silu(x, **how),
    "gelu": lambda F, x: F.gelu(x),
    "gelu tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "tanh": lambda F, x: F.tanh(x),
    "softmax": lambda F, x: F.softmax(x, 1),
    "softmax of the first": lambda F, x: F.softmax(x, dim=-3),
    "log_softmax": lambda F, x: F.log_softmax(x, dim=2),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_pytorchs(name: str, dtype: str) -> None:
    for seed, shape in enumerate([(3, 4, 5), (1, 1, 1), (2, 0, 3), (2, 3, 67)]):
        compare(ACTIVATIONS[name], normal(*shape, seed=seed, scale=3), dtype=dtype)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu"])
def test_activations_in_place_write_over_their_input_and_have_its_gradient(name: str) -> None:
    def call(F: Any, x: Any) -> Any:
        hidden = x * 2
        out = ACTIVATIONS[name](F, hidden, inplace=True)
        assert out is hidden
        return out

    compare(call, normal(3, 4))
    x = npmlp.from_numpy(normal(3))
    assert ACTIVATIONS[name](F, x, inplace=True) is x


def test_a_leaf_with_a_gradient_is_not_changed_in_place() -> None:
    x = npmlp.from_numpy(normal(3)).requires_grad_()
    with pytest.raises(GraphError, match="relu_"):
        F.relu(x, inplace=True)


def test_silu_and_dropout_in_place_do_not_disturb_what_came_before() -> None:
    def call(F: Any, x: Any) -> Any:
        return F.dropout(F.silu(F.linear(x, x), inplace=True), 0.0, inplace=True)

    compare(call, normal(3, 3))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_without_dim_warns_and_takes_pytorchs(name: str, shape: Any) -> None:
    def call(F: Any, x: Any) -> Any:
        with pytest.warns(UserWarning, match=f"Implicit dimension choice for {name}"):
            return getattr(F, name)(x)

    compare(call, normal(*shape))


def test_softmax_can_change_the_dtype() -> None:
    x = normal(3, 4).astype("float32")
    for name in ("softmax", "log_softmax"):
        ours = getattr(F, name)(npmlp.from_numpy(x), 1, dtype=npmlp.float64)
        theirs = getattr(torch_functional, name)(torch.from_numpy(x), 1, dtype=torch.float64)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-14, strict=True)


def test_what_is_no_tensor_is_refused_with_how_to_make_one() -> None:
    with pytest.raises(DTypeError, match=r"relu: input is a ndarray, .* npmlp.from_numpy"):
        F.relu(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match=r"cross_entropy: target is a list, .* npmlp.tensor"):
        F.cross_entropy(npmlp.ones(2, 3), [0, 1])  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------- linear


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5, 7), (7,), (2, 3, 7), (0, 7), (64, 7)])
def test_linear_is_pytorchs(shape: Any, dtype: str) -> None:
    x, weight, bias = normal(*shape), normal(4, 7, seed=1), normal(4, seed=2)
    compare(lambda F, *t: F.linear(*t), x, weight, bias, dtype=dtype)
    compare(lambda F, *t: F.linear(*t), x, weight, dtype=dtype)


def test_linear_takes_a_weight_of_one_dimension() -> None:
    compare(lambda F, *t: F.linear(*t), normal(5, 7), normal(7, seed=1))


# ------------------------------------------------------------------------------------------- pad


def _leaves_nothing(shape: Any, sides: Any) -> bool:
    """Whether so much is taken away that the rest has too little to give to the padding."""
    for before, after, n in zip(sides[::2], sides[1::2], shape[::-1], strict=False):
        if n + min(before, 0) + min(after, 0) < max(before, after, 1):
            return True
    return False


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_is_pytorchs_on_every_side(mode: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    computed = 0
    for seed in range(60):
        shape = tuple(rng.integers(1, 7, rng.integers(1, 5)).tolist())
        sides = tuple(rng.integers(-2, 4, rng.choice([2, 4])).tolist())

        def call(F: Any, x: Any, sides: Any = sides) -> Any:
            return F.pad(x, sides, mode)

        if mode != "constant" and _leaves_nothing(shape, sides):
            continue  # PyTorch refuses some of these, and repeats memory never written in others
        x = normal(*shape, seed=seed)
        if outcome(call, x)[0]:
            compare(call, x, dtype=dtype)
            computed += 1
    assert computed >= 10


def test_pad_takes_a_value_and_whole_numbers() -> None:
    compare(lambda F, x: F.pad(x, (1, 2), value=0.5), normal(3))
    compare(lambda F, x: F.pad(x, [1, 2, 0, 3], "constant", -1.5), normal(2, 3))
    compare(lambda F, x: F.pad(x, (1, 2), value=7), np.arange(6).reshape(2, 3))
    compare(lambda F, x: F.pad(x, (1, 1), value=True), np.array([[True, False]]))
    compare(lambda F, x: F.pad(x, ()), normal(2, 3))


def test_pad_refuses_with_a_reason() -> None:
    x = npmlp.ones(1, 1, 3, 3)
    with pytest.raises(ShapeError, match=r"pad is \(1,\), expected two numbers for each"):
        F.pad(x, (1,))
    with pytest.raises(OutsideSubsetError, match="npmlp pads the last two dimensions"):
        F.pad(x, (1, 1, 1, 1, 1, 1))
    with pytest.raises(NpmlpError, match="mode 'reflect' takes no value"):
        F.pad(x, (1, 1, 1, 1), "reflect", 2.0)
    with pytest.raises(ShapeError, match="3 before and 0 after 3 columns is not possible"):
        F.pad(x, (3, 0, 0, 0), "reflect")


# --------------------------------------------------------------------------------------- one_hot


@pytest.mark.parametrize("classes", [-1, 4, 6])
@pytest.mark.parametrize("shape", [(5,), (2, 3), ()])
def test_one_hot_is_pytorchs(shape: Any, classes: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, shape)
    compare(lambda F, t: F.one_hot(t, classes), Constant(labels))


def test_one_hot_refuses_what_pytorch_refuses() -> None:
    for labels, classes in [([0, 2], 2), ([0, -2], -1), ([], -1), ([], 3), ([1], 0)]:
        array = np.array(labels, np.int64)
        outcome(lambda F, t, n=classes: F.one_hot(t, n), Constant(array))
    outcome(lambda F, t: F.one_hot(t), Constant([1.0]))
    with pytest.raises(DataError, match="classes go from 0 to 2, expected 0 to 1"):
        F.one_hot(npmlp.tensor([0, 2]), 2)
