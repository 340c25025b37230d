"""Initialisers draw what PyTorch's draw from the same seed, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import assert_same_bits, both, default_dtype, error_of

import npmlp
from npmlp import nn

DTYPES = ["float32", "float64"]
SEEDS = [0, 1, 42, 2**31 + 5]
SHAPES = [(3, 5), (1, 1), (17, 40), (6, 3, 5, 5), (2, 3, 4)]

INITIALISERS = {
    "zeros_": {},
    "ones_": {},
    "constant_": {"val": 0.3},
    "uniform_": {},
    "uniform_ a b": {"a": -0.3, "b": 1.7},
    "normal_": {},
    "normal_ mean std": {"mean": 2.0, "std": 0.1},
    "xavier_uniform_": {},
    "xavier_uniform_ gain": {"gain": 1.7},
    "xavier_normal_": {},
    "xavier_normal_ gain": {"gain": 5 / 3},
    "kaiming_uniform_": {},
    "kaiming_uniform_ a": {"a": 0.2},
    "kaiming_uniform_ out relu": {"mode": "fan_out", "nonlinearity": "relu"},
    "kaiming_normal_": {},
    "kaiming_normal_ tanh": {"nonlinearity": "tanh"},
    "kaiming_normal_ out": {"a": 3, "mode": "fan_out"},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", INITIALISERS)
def test_an_initialiser_fills_with_pytorchs_bits(name: str, dtype: str) -> None:
    for shape in SHAPES:
        for seed in SEEDS:

            def lines(m: Any, shape: Any = shape) -> Any:
                w = m.nn.Parameter(m.zeros(shape, dtype=getattr(m, dtype)))
                result = getattr(m.nn.init, name.split()[0])(w, **INITIALISERS[name])
                assert result is w
                return w.detach().numpy()

            ours, theirs = both(lines, seed)
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "xavier_normal_", "kaiming_uniform_"])
def test_an_initialiser_draws_from_the_generator_that_it_is_given(name: str) -> None:
    def lines(m: Any) -> Any:
        g = m.Generator().manual_seed(5)
        w = getattr(m.nn.init, name)(m.zeros(4, 5), generator=g)
        return w.numpy(), m.rand(2).numpy(), m.rand(2, generator=g).numpy()

    ours, theirs = both(lines)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "kaiming_uniform_", "xavier_normal_"])
@pytest.mark.parametrize("view", [
    lambda w: w.T, lambda w: w[::2], lambda w: w[:, 1:4].T, lambda w: w[:, ::3],
])  # fmt: skip
def test_a_view_is_filled_in_the_order_of_its_memory_as_in_pytorch(view: Any, name: str) -> None:
    def lines(m: Any) -> Any:
        w = m.zeros(10, 9)
        getattr(m.nn.init, name)(view(w))
        return w.numpy()

    ours, theirs = both(lines)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("param", [None, 0, 0.3, 5])
@pytest.mark.parametrize("nonlinearity", [
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "sigmoid", "tanh", "relu",
    "leaky_relu", "selu",
])  # fmt: skip
def test_calculate_gain_is_pytorchs(nonlinearity: str, param: Any) -> None:
    ours, theirs = both(lambda m: m.nn.init.calculate_gain(nonlinearity, param))
    assert ours == theirs


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_an_empty_weight_is_left_with_pytorchs_warning(name: str) -> None:
    for m in (npmlp, torch):
        with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
            getattr(m.nn.init, name)(m.zeros(0, 3))


REFUSED = {
    "a vector": lambda m: m.nn.init.xavier_uniform_(m.zeros(3)),
    "a vector for kaiming": lambda m: m.nn.init.kaiming_normal_(m.zeros(3)),
    "a mode": lambda m: m.nn.init.kaiming_uniform_(m.zeros(2, 2), mode="fan"),
    "a nonlinearity": lambda m: m.nn.init.calculate_gain("gelu"),
    "a slope": lambda m: m.nn.init.calculate_gain("leaky_relu", True),
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused_with_an_error_of_its_type(lines: Any) -> None:
    assert isinstance(error_of(lines, npmlp), type(error_of(lines, torch)))


# ------------------------------------------------------------------------------- whole layers

LAYERS = {
    "linear": lambda n, **kw: n.Linear(7, 5, **kw),
    "linear of one": lambda n, **kw: n.Linear(1, 1, **kw),
    "linear without bias": lambda n, **kw: n.Linear(100, 10, bias=False, **kw),
    "conv": lambda n, **kw: n.Conv2d(3, 4, 5, **kw),
    "conv in groups": lambda n, **kw: n.Conv2d(4, 6, (3, 2), groups=2, **kw),
    "conv without bias": lambda n, **kw: n.Conv2d(1, 6, 5, bias=False, **kw),
    "batch norm": lambda n, **kw: n.BatchNorm1d(5, **kw),
    "batch norm 2d without bias": lambda n, **kw: n.BatchNorm2d(5, bias=False, **kw),
    "batch norm without anything": lambda n, **kw: n.BatchNorm1d(
        5, affine=False, track_running_stats=False, **kw
    ),
    "layer norm": lambda n, **kw: n.LayerNorm([4, 3], **kw),
    "layer norm without bias": lambda n, **kw: n.LayerNorm(4, bias=False, **kw),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_a_new_layer_has_pytorchs_bits(layer: Any, dtype: str) -> None:
    for seed in SEEDS:
        with default_dtype(dtype):
            ours, theirs = both(lambda m: layer(m.nn), seed)
            assert_same_bits(ours.state_dict(), theirs.state_dict())
            after = both(lambda m: m.rand(3).numpy())  # and the stream is at the same place
            np.testing.assert_array_equal(*after)
        ours, theirs = both(lambda m: layer(m.nn, device="cpu", dtype=getattr(m, dtype)), seed)
        assert_same_bits(ours.state_dict(), theirs.state_dict())
        for module, m in ((ours, npmlp), (theirs, torch)):
            m.manual_seed(seed + 1)
            module.reset_parameters()
        assert_same_bits(ours.state_dict(), theirs.state_dict())


def test_layers_draw_one_after_another_from_one_stream() -> None:
    ours, theirs = both(
        lambda m: m.nn.Sequential(
            m.nn.Conv2d(1, 6, 5), m.nn.BatchNorm2d(6), m.nn.Linear(6, 20), m.nn.Linear(20, 3)
        )
    )
    assert_same_bits(ours.state_dict(), theirs.state_dict())


def test_a_layer_without_inputs_warns_and_starts_as_pytorchs() -> None:
    states = []
    for m in (npmlp, torch):
        m.manual_seed(0)
        with pytest.warns(UserWarning, match="zero-element"):
            states.append(m.nn.Linear(0, 3).state_dict())
    assert_same_bits(*states)


BAD = {
    "negative features": lambda n: n.Linear(-1, 2),
    "a half": lambda n: n.Linear(2, 1.5),
    "conv groups": lambda n: n.Conv2d(3, 4, 2, groups=2),
    "conv groups of outputs": lambda n: n.Conv2d(4, 3, 2, groups=2),
    "no groups": lambda n: n.Conv2d(3, 4, 2, groups=0),
    "conv padding": lambda n: n.Conv2d(1, 1, 2, padding="some"),
    "conv same and stride": lambda n: n.Conv2d(1, 1, 2, stride=2, padding="same"),
    "conv padding mode": lambda n: n.Conv2d(1, 1, 2, padding_mode="mirror"),
    "negative kernel": lambda n: n.Conv2d(1, 1, -2),
    "three kernel sizes": lambda n: n.Conv2d(1, 1, (1, 2, 3)),
    "negative batch norm": lambda n: n.BatchNorm1d(-3),
    "negative layer norm": lambda n: n.LayerNorm([2, -3]),
    "dropout": lambda n: n.Dropout(1.5),
    "negative dropout": lambda n: n.Dropout(-0.1),
}


@pytest.mark.parametrize("layer", BAD.values(), ids=BAD.keys())
def test_arguments_that_make_no_sense_are_refused_in_a_sentence(layer: Any) -> None:
    with pytest.raises(npmlp.errors.NpmlpError, match=r"^(Linear|Conv2d|\w+Norm\w*|Dropout): \w+"):
        layer(nn)


def test_an_integer_dtype_is_refused() -> None:
    with pytest.raises(npmlp.errors.DTypeError):
        nn.Linear(2, 2, dtype=npmlp.int64)
