"""nn.functional's normalisation and dropout: by hand, and beside PyTorch with their statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as torch_functional
from functional_beside_torch import FLOATS, Constant, compare, normal, outcome

import npmlp
from npmlp.errors import DTypeError, GraphError, NpmlpError, ShapeError
from npmlp.nn import functional as F

pytestmark = pytest.mark.usefixtures("kernels")  # each test twice, with oracles and compiled

# A deviation from the mean loses what both have in common, a few roundings of an entry in size 4,
# and is scaled by 1/√var; backward does so twice. PyTorch's float32 sums add √1000 roundings.
NORMALIZED = {"float32": 4e-6, "float64": 1e-12}
SHAPES = [(8, 5), (4, 3, 6), (3, 4, 5, 6), (2, 2, 2, 3, 2), (64, 7)]


# ------------------------------------------------------------------------------------ batch norm


def test_batch_norm_by_hand() -> None:
    x = npmlp.tensor([[1.0], [3.0], [8.0]], dtype=npmlp.float64, requires_grad=True)
    weight = npmlp.tensor([2.0], dtype=npmlp.float64, requires_grad=True)
    bias = npmlp.tensor([1.0], dtype=npmlp.float64, requires_grad=True)
    mean, var = npmlp.zeros(1, dtype=npmlp.float64), npmlp.ones(1, dtype=npmlp.float64)
    out = F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.25, eps=4 / 3)
    # mean 4, deviations -3, -1, 4, biased variance 26/3; with eps 30/3, whose root is √10
    x_hat = np.array([-3.0, -1.0, 4.0]) / math.sqrt(10)
    # four or five roundings each
    np.testing.assert_allclose(out.detach().numpy()[:, 0], 2 * x_hat + 1, rtol=1e-15)
    # running: 3/4 · 0 + 1/4 · 4, and 3/4 · 1 + 1/4 · 13, the unbiased variance 26/2
    assert mean.tolist() == [1.0]
    assert var.tolist() == [4.0]
    dout = np.array([1.0, 0.0, -2.0])
    out.backward(npmlp.from_numpy(dout[:, None]))
    for parameter, expected in ((weight, dout @ x_hat), (bias, -1.0)):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), [expected], rtol=1e-15)
    dx = 2 / math.sqrt(10) * (dout - dout.mean() - x_hat * (dout @ x_hat) / 3)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy()[:, 0], dx, rtol=1e-14)


def _channels(shape: Any, seed: int) -> np.ndarray:
    return normal(shape[1], seed=seed)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", ["weight and bias", "weight", "bias", "neither"])
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_batch_norm_in_training_is_pytorchs(
    momentum: float, affine: str, shape: Any, dtype: str
) -> None:
    weight = _channels(shape, 1) if "weight" in affine else None
    bias = _channels(shape, 2) if "bias" in affine else None
    running_mean, running_var = _channels(shape, 3), 0.5 + np.abs(_channels(shape, 4))

    def call(F: Any, x: Any, mean: Any, var: Any, weight: Any, bias: Any) -> Any:
        out = F.batch_norm(x, mean, var, weight, bias, True, momentum, 1e-3)
        return out, mean, var

    given = (Constant(running_mean), Constant(running_var), weight, bias)
    compare(call, 2 * normal(*shape) + 1, *given, dtype=dtype, tol=NORMALIZED[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 3), (0, 3), (1, 2, 1)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_evaluation_is_pytorchs(affine: bool, shape: Any, dtype: str) -> None:
    statistics = Constant(_channels(shape, 3)), Constant(0.5 + np.abs(_channels(shape, 4)))
    parameters = (_channels(shape, 1), _channels(shape, 2)) if affine else (None, None)

    def call(F: Any, *tensors: Any) -> Any:
        return F.batch_norm(*tensors, training=False, eps=0.0 if shape[0] == 8 else 1e-5)

    compare(call, normal(*shape), *statistics, *parameters, dtype=dtype, tol=NORMALIZED[dtype])


def test_evaluation_leaves_the_running_statistics_alone() -> None:
    mean, var = npmlp.zeros(3), npmlp.ones(3)
    F.batch_norm(npmlp.ones(4, 3), mean, var)
    assert mean.tolist() == [0.0, 0.0, 0.0]
    assert var.tolist() == [1.0, 1.0, 1.0]


def test_batch_norm_of_two_values_per_channel_is_pytorchs() -> None:
    """Two values become -1 and 1 whatever they are: the gradient is what eps leaves of it, 1e-5 of
    the terms that cancel. So float64, with five digits less.
    """
    compare(
        lambda F, *t: F.batch_norm(t[0], None, None, *t[1:], training=True),
        normal(2, 5), normal(5, seed=1), normal(5, seed=2), tol=1e-10,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_batch_norm_without_running_statistics_is_pytorchs(dtype: str) -> None:
    compare(
        lambda F, x: F.batch_norm(x, None, None, training=True),
        normal(4, 3, 5),
        dtype=dtype,
        tol=NORMALIZED[dtype],
    )


def test_statistics_of_float32_are_summed_in_double_precision_as_pytorchs() -> None:
    """Summed in float32, the mean of these 500,000 entries near 1000 would be off by 1e-2."""
    x = (1000 + normal(50_000, 2, 5)).astype("float32")
    ours = [npmlp.zeros(2), npmlp.ones(2)]
    theirs = [torch.zeros(2), torch.ones(2)]
    out = F.batch_norm(npmlp.from_numpy(x), *ours, training=True, momentum=1.0)
    expected = torch_functional.batch_norm(
        torch.from_numpy(x), *theirs, training=True, momentum=1.0
    )
    for a, b in zip(ours, theirs, strict=True):  # each is rounded to float32 once or twice
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-7)
    # x is known to 6e-8 · 1000 only, and so is what is left when the mean is taken off
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=0, atol=2e-4)


def test_running_statistics_are_no_part_of_the_graph() -> None:
    x, mean, var = npmlp.from_numpy(normal(4, 3)).requires_grad_(), npmlp.zeros(3), npmlp.ones(3)
    mean, var = mean.double(), var.double()
    F.batch_norm(x, mean, var, training=True)
    assert not mean.requires_grad
    assert not var.requires_grad


def test_the_output_of_batch_norm_can_be_changed_in_place() -> None:
    def call(F: Any, x: Any, weight: Any) -> Any:
        return F.relu(F.batch_norm(x, None, None, weight, training=True), inplace=True)

    compare(call, normal(5, 3), normal(3, seed=1))


def test_an_empty_batch_leaves_the_running_statistics_alone() -> None:
    def call(F: Any, x: Any, mean: Any, var: Any, weight: Any, bias: Any) -> Any:
        return F.batch_norm(x, mean, var, weight, bias, training=True), mean, var

    statistics = Constant(np.zeros(3)), Constant(np.ones(3))
    compare(call, np.empty((0, 3)), *statistics, normal(3), normal(3, seed=1))


@pytest.mark.parametrize(
    ("shape", "mean", "var", "options"),
    [
        ((1, 3), 3, 3, {"training": True}),  # one value per channel
        ((1, 3, 1, 1), None, None, {"training": True}),
        ((4, 3), None, None, {"training": False}),
        ((4, 3), 4, 3, {"training": True}),
        ((4, 3), 3, 4, {"training": False}),
        ((4, 3), 3, None, {"training": True}),
        ((4, 3), 3, 3, {"training": True, "eps": 0.0}),
        ((4, 3), 3, 3, {"training": False, "eps": -1.0}),
        ((3,), 3, 3, {"training": False}),
    ],
)
def test_batch_norm_refuses_what_pytorch_refuses(
    shape: Any, mean: Any, var: Any, options: Any
) -> None:
    statistics = [None if n is None else Constant(np.ones(n)) for n in (mean, var)]
    assert not outcome(lambda F, *t: F.batch_norm(*t, **options), normal(*shape), *statistics)[0]


def test_batch_norm_says_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="Expected more than 1 value per channel when training"):
        F.batch_norm(npmlp.ones(1, 3), None, None, training=True)
    with pytest.raises(ShapeError, match=r"running_mean has shape \(4,\), expected \(3,\)"):
        F.batch_norm(npmlp.ones(2, 3), npmlp.ones(4), npmlp.ones(3))
    with pytest.raises(DTypeError, match=r"running_mean has dtype torch.float32 and input torch"):
        F.batch_norm(npmlp.ones(2, 3).double(), npmlp.ones(3), npmlp.ones(3))
    with pytest.raises(NpmlpError, match="without them only training=True"):
        F.batch_norm(npmlp.ones(2, 3), None, None)
    with pytest.raises(DTypeError, match="batch_norm: input has dtype int64"):
        F.batch_norm(npmlp.ones(2, 3).long(), None, None, training=True)


# ------------------------------------------------------------------------------------ layer norm


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "last"), [((4, 6), 1), ((2, 3, 5), 2), ((2, 3, 5), 1), ((6,), 1), ((2, 3), 2)]
)
@pytest.mark.parametrize("affine", ["weight and bias", "weight", "bias", "neither"])
def test_layer_norm_is_pytorchs(affine: str, shape: Any, last: int, dtype: str) -> None:
    features = shape[-last:]
    weight = normal(*features, seed=1) if "weight" in affine else None
    bias = normal(*features, seed=2) if "bias" in affine else None
    for given in (features, list(features)):
        compare(
            lambda F, x, w, b, given=given: F.layer_norm(x, given, w, b, 1e-3),
            2 * normal(*shape) + 1,
            weight,
            bias,
            dtype=dtype,
            tol=NORMALIZED[dtype],
        )


def test_layer_norm_of_no_examples_is_pytorchs() -> None:
    compare(lambda F, *t: F.layer_norm(t[0], (3,), *t[1:]), normal(0, 3), normal(3), normal(3))


@pytest.mark.parametrize(
    ("normalized", "weight"), [((4,), None), ((), None), ((3, 5), None), ((3,), 2)]
)
def test_layer_norm_refuses_what_pytorch_refuses(normalized: Any, weight: Any) -> None:
    given = None if weight is None else normal(weight)
    assert not outcome(lambda F, x, w: F.layer_norm(x, normalized, w), normal(5, 3), given)[0]
    with pytest.raises(ShapeError, match="layer_norm: "):
        F.layer_norm(npmlp.ones(5, 3), normalized, None if given is None else npmlp.ones(weight))


# --------------------------------------------------------------------------------------- dropout


VIEWS: dict[str, Any] = {
    "plain": lambda x: x,
    "transposed": lambda x: x.permute(2, 0, 1),
    "sliced": lambda x: x[:, ::2],
    "sliced and transposed": lambda x: x.permute(1, 2, 0)[:, 1:],
    "expanded": lambda x: x[:, :1].expand(4, 6, 5),
    "expanded and transposed": lambda x: x[:, :1].expand(4, 6, 5).permute(1, 2, 0),
    "expanded in front": lambda x: x[0].expand(3, 6, 5),
    "of size 1": lambda x: x[1:2].permute(1, 0, 2),
    "of size 1, transposed": lambda x: x[:, 1:2].permute(2, 1, 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.5, 0.1, 0.9999, 0.0, 1.0, 1 / 3])
def test_dropout_drops_what_pytorch_drops_whatever_the_memory_order(p: float, dtype: str) -> None:
    array = normal(4, 6, 5).astype(dtype)
    for name, view in VIEWS.items():
        results = []
        for library, module in ((npmlp, F), (torch, torch_functional)):
            library.manual_seed(17)
            x = library.from_numpy(array.copy()).requires_grad_()
            out = module.dropout(view(x), p)
            cotangent = normal(*out.shape, seed=1).astype(dtype)
            out.backward(library.from_numpy(cotangent))
            following = library.rand(3)  # the stream goes on from the same place
            results.append([out.detach().numpy(), following.numpy(), x.grad.numpy()])
        for i, (ours, theirs) in enumerate(zip(*results, strict=True)):
            if i == 2 and "expanded" in name:  # sums of up to 6 entries, in another order
                atol = {"float32": 4e-7, "float64": 1e-15}[dtype] * np.abs(theirs).max()
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)
            else:  # products of the same numbers: equal bits
                np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=True)


def test_dropout_in_evaluation_is_the_input_itself() -> None:
    x = npmlp.from_numpy(normal(3))
    assert F.dropout(x, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x[:0]).shape == (0,)


def test_dropout_in_place_is_pytorchs() -> None:
    def call(F: Any, x: Any) -> Any:
        (npmlp if F.__name__.startswith("npmlp") else torch).manual_seed(3)
        hidden = x * 2
        out = F.dropout(hidden, 0.4, inplace=True)
        assert out is hidden
        return out

    compare(call, normal(5, 6))
    with pytest.raises(GraphError, match="dropout_"):
        F.dropout(npmlp.ones(3, requires_grad=True), inplace=True)


def test_dropout_refuses_without_drawing() -> None:
    npmlp.manual_seed(0)
    state = npmlp.get_rng_state().numpy().copy()
    with pytest.raises(NpmlpError, match=r"p is 1.5, expected a probability from 0 to 1"):
        F.dropout(npmlp.ones(3), 1.5, training=False)
    with pytest.raises(DTypeError, match="dropout: input has dtype int64"):
        F.dropout(npmlp.ones(3).long(), 0.5)
    np.testing.assert_array_equal(npmlp.get_rng_state().numpy(), state)
