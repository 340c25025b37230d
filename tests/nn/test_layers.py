"""Every layer with every option beside PyTorch's: outputs, gradients, statistics, state and text.

A layer is built on both sides from one seed, trained for three steps with random gradients from
above (a constant one would be zero behind softmax and BatchNorm), then evaluated.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from layers_beside_torch import assert_same_bits, both, default_dtype

import npmlp
from npmlp import nn

# Relative to the largest entry. In float64 the layers' sums, of up to 500 terms, are off by
# √500 · 1e-16 in any order, and three steps add to that: 1e-12 leaves room for nothing else. In
# float32 the same reasoning gives √500 · 6e-8 = 1.3e-6, three times for the steps.
RTOL = {"float32": 4e-6, "float64": 1e-12}
# In the network below, the gradient of BatchNorm's weight is a sum of 216 terms of about 1 that
# cancel down to 0.1: relative to that, a rounding of a term counts ten times.
RTOL_OF_NETWORK = {"float32": 4e-5, "float64": 1e-12}

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Linear": (lambda n: n.Linear(13, 5), (7, 13)),
    "Linear without bias": (lambda n: n.Linear(13, 5, bias=False), (7, 13)),
    "Linear of 3 dimensions": (lambda n: n.Linear(4, 5), (2, 3, 4)),
    "Linear of one": (lambda n: n.Linear(4, 5), (4,)),
    "Linear of nothing": (lambda n: n.Linear(4, 5), (0, 4)),
    "Identity": (lambda n: n.Identity(54, unused=3), (3, 4)),
    "Flatten": (lambda n: n.Flatten(), (2, 3, 4, 5)),
    "Flatten some": (lambda n: n.Flatten(2, -2), (2, 3, 4, 5, 2)),
    "Flatten all": (lambda n: n.Flatten(0), (2, 3)),
    "Unflatten": (lambda n: n.Unflatten(1, (2, 3)), (4, 6)),
    "Unflatten the rest": (lambda n: n.Unflatten(-1, [2, -1]), (4, 6)),
    "Conv2d": (lambda n: n.Conv2d(3, 4, 3), (2, 3, 7, 6)),
    "Conv2d without bias": (lambda n: n.Conv2d(3, 4, 3, bias=False), (2, 3, 7, 6)),
    "Conv2d of one image": (lambda n: n.Conv2d(3, 4, 3), (3, 7, 6)),
    "Conv2d in steps": (
        lambda n: n.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 2)), (2, 3, 9, 8)),
    "Conv2d dilated": (lambda n: n.Conv2d(2, 3, 3, padding=2, dilation=(2, 1)), (2, 2, 8, 7)),
    "Conv2d in groups": (lambda n: n.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "Conv2d channel by channel": (lambda n: n.Conv2d(3, 6, 3, groups=3, padding=1), (2, 3, 5, 5)),
    "Conv2d same": (lambda n: n.Conv2d(2, 3, 3, padding="same"), (2, 2, 6, 5)),
    "Conv2d same even": (
        lambda n: n.Conv2d(2, 3, (4, 2), padding="same", dilation=2), (2, 2, 9, 8)),
    "Conv2d valid": (lambda n: n.Conv2d(2, 3, 3, padding="valid"), (2, 2, 6, 5)),
    "Conv2d reflect": (
        lambda n: n.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="reflect"), (2, 2, 6, 5)),
    "Conv2d replicate": (
        lambda n: n.Conv2d(2, 3, 3, padding=2, padding_mode="replicate"), (2, 2, 6, 5)),
    "Conv2d circular": (
        lambda n: n.Conv2d(2, 3, 3, padding=(1, 3), padding_mode="circular"), (2, 2, 6, 5)),
    "Conv2d reflect same": (
        lambda n: n.Conv2d(2, 3, (2, 4), padding="same", padding_mode="reflect"), (2, 2, 6, 5)),
    "Conv2d circular valid": (
        lambda n: n.Conv2d(2, 3, 3, padding="valid", padding_mode="circular"), (2, 2, 6, 5)),
    "Conv2d circular of one image": (
        lambda n: n.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 5)),
    "MaxPool2d": (lambda n: n.MaxPool2d(2), (2, 3, 6, 6)),
    "MaxPool2d of one image": (lambda n: n.MaxPool2d((2, 3)), (3, 6, 6)),
    "MaxPool2d in steps": (lambda n: n.MaxPool2d(3, stride=(2, 1), padding=1), (2, 3, 7, 6)),
    "MaxPool2d dilated": (lambda n: n.MaxPool2d(2, stride=1, dilation=(2, 1)), (2, 3, 7, 6)),
    "MaxPool2d ceil": (lambda n: n.MaxPool2d(2, ceil_mode=True), (2, 3, 7, 5)),
    "AvgPool2d": (lambda n: n.AvgPool2d(2), (2, 3, 6, 6)),
    "AvgPool2d padded": (lambda n: n.AvgPool2d(3, stride=2, padding=1), (2, 3, 7, 6)),
    "AvgPool2d without padding's zeros": (
        lambda n: n.AvgPool2d(3, (2, 1), 1, count_include_pad=False), (2, 3, 7, 6)),
    "AvgPool2d ceil": (lambda n: n.AvgPool2d(3, 2, ceil_mode=True), (2, 3, 8, 7)),
    "AvgPool2d divisor": (lambda n: n.AvgPool2d(2, divisor_override=3), (3, 6, 6)),
    "AdaptiveAvgPool2d": (lambda n: n.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 6)),
    "AdaptiveAvgPool2d to one": (lambda n: n.AdaptiveAvgPool2d(1), (2, 3, 7, 6)),
    "AdaptiveAvgPool2d height": (lambda n: n.AdaptiveAvgPool2d((2, None)), (3, 7, 6)),
    "ReLU": (lambda n: n.ReLU(), (4, 5)),
    "LeakyReLU": (lambda n: n.LeakyReLU(), (4, 5)),
    "LeakyReLU slope": (lambda n: n.LeakyReLU(0.3), (4, 5)),
    "GELU": (lambda n: n.GELU(), (4, 5)),
    "GELU tanh": (lambda n: n.GELU(approximate="tanh"), (4, 5)),
    "SiLU": (lambda n: n.SiLU(), (4, 5)),
    "Sigmoid": (lambda n: n.Sigmoid(), (4, 5)),
    "Tanh": (lambda n: n.Tanh(), (4, 5)),
    "Softmax": (lambda n: n.Softmax(1), (4, 5)),
    "Softmax of the first": (lambda n: n.Softmax(dim=0), (4, 5)),
    "LogSoftmax": (lambda n: n.LogSoftmax(-1), (4, 5, 3)),
    "BatchNorm1d": (lambda n: n.BatchNorm1d(5), (8, 5)),
    "BatchNorm1d of sequences": (lambda n: n.BatchNorm1d(5), (4, 5, 3)),
    "BatchNorm1d momentum": (lambda n: n.BatchNorm1d(5, eps=1e-2, momentum=0.7), (8, 5)),
    "BatchNorm1d mean of all": (lambda n: n.BatchNorm1d(5, momentum=None), (8, 5)),
    "BatchNorm1d momentum 0": (lambda n: n.BatchNorm1d(5, momentum=0.0), (8, 5)),
    "BatchNorm1d not affine": (lambda n: n.BatchNorm1d(5, affine=False), (8, 5)),
    "BatchNorm1d without bias": (lambda n: n.BatchNorm1d(5, bias=False), (8, 5)),
    "BatchNorm1d not tracking": (lambda n: n.BatchNorm1d(5, track_running_stats=False), (8, 5)),
    "BatchNorm1d nothing": (
        lambda n: n.BatchNorm1d(5, 1e-5, None, False, False), (8, 5)),
    "BatchNorm2d": (lambda n: n.BatchNorm2d(3), (4, 3, 5, 4)),
    "BatchNorm2d not tracking": (
        lambda n: n.BatchNorm2d(3, track_running_stats=False), (4, 3, 2, 2)),
    "LayerNorm": (lambda n: n.LayerNorm(6), (4, 6)),
    "LayerNorm of images": (lambda n: n.LayerNorm([3, 4], eps=1e-2), (2, 5, 3, 4)),
    "LayerNorm not affine": (lambda n: n.LayerNorm((6,), elementwise_affine=False), (4, 6)),
    "LayerNorm without bias": (lambda n: n.LayerNorm(6, bias=False), (4, 2, 6)),
    "Dropout": (lambda n: n.Dropout(), (9, 13)),
    "Dropout of little": (lambda n: n.Dropout(0.1), (9, 13)),
    "Dropout of nothing": (lambda n: n.Dropout(0.0), (9, 13)),
    "Dropout of all": (lambda n: n.Dropout(1.0), (9, 13)),
    "Sequential": (
        lambda n: n.Sequential(
            # a bias in front of BatchNorm has gradient zero, which leaves rounding to compare
            n.Conv2d(1, 3, 3, bias=False), n.BatchNorm2d(3), n.ReLU(), n.MaxPool2d(2),
            n.Dropout(0.2), n.Flatten(), n.Linear(27, 4), n.LayerNorm(4), n.GELU(),
        ),
        (6, 1, 8, 8),
    ),
}  # fmt: skip


def assert_close(ours: Any, theirs: Any, rtol: float, what: str) -> None:
    a, b = (t.detach().numpy() for t in (ours, theirs))
    assert a.dtype == b.dtype, what
    assert a.shape == b.shape, what
    largest = np.abs(b).max(initial=0.0)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * largest, err_msg=what)


def tensor(m: Any, array: np.ndarray) -> Any:
    return m.from_numpy(array.copy())


def train(m: Any, layer: Any, inputs: Any, cotangents: list[np.ndarray]) -> list[Any]:
    """Three steps; the outputs and gradients of each, and copies of the state after it."""
    seen = []
    for x in inputs:
        x = tensor(m, x).requires_grad_()
        out = layer(x)
        if not cotangents:
            rng = np.random.default_rng(2)
            cotangents += [
                rng.standard_normal(tuple(out.shape)).astype(x.detach().numpy().dtype)
                for _ in inputs
            ]
        out.backward(tensor(m, cotangents[len(seen)]))
        results = {"output": out, "input's gradient": x.grad}
        with m.no_grad():
            for name, p in layer.named_parameters():
                results[f"gradient of {name}"] = p.grad.clone()
                p -= 0.1 * p.grad
                p.grad = None
        results |= {name: t.clone() for name, t in layer.state_dict().items()}
        seen.append(results)
    layer.eval()
    seen.append({"evaluated": layer(tensor(m, inputs[0]))})
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_trains_and_evaluates_as_pytorchs(name: str, dtype: str, kernels: str) -> None:
    build, shape = LAYERS[name]
    rtol = RTOL_OF_NETWORK if name == "Sequential" else RTOL
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(shape).astype(dtype) for _ in range(3)]
    cotangents: list[np.ndarray] = []
    with default_dtype(dtype):
        ours, theirs = both(lambda m: train(m, build(m.nn), inputs, cotangents))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert list(a) == list(b)
        for what in a:
            assert_close(a[what], b[what], rtol[dtype], f"{what}, step {i}")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_prints_and_keeps_its_state_as_pytorchs(name: str) -> None:
    ours, theirs = both(lambda m: LAYERS[name][0](m.nn))
    assert repr(ours) == repr(theirs)
    assert_same_bits(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("layer", [
    lambda n: n.ReLU(inplace=True), lambda n: n.LeakyReLU(0.2, True), lambda n: n.SiLU(True),
    lambda n: n.Dropout(0.4, inplace=True),
])  # fmt: skip
def test_an_inplace_layer_writes_over_its_input_as_pytorchs(layer: Any) -> None:
    rng = np.random.default_rng(1)
    array, cotangent = rng.standard_normal((2, 4, 6))

    def lines(m: Any) -> Any:
        module = layer(m.nn)
        leaf = tensor(m, array).requires_grad_()
        hidden = leaf * 2
        out = module(hidden)
        assert out is hidden
        out.backward(tensor(m, cotangent))
        return module, out, leaf.grad

    ours, theirs = both(lines)
    assert repr(ours[0]) == repr(theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert_close(a, b, RTOL["float64"], "in place")


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (3, 6, 6)])
def test_max_pool_returns_pytorchs_indices(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    ours, theirs = both(lambda m: m.nn.MaxPool2d(2, padding=1, return_indices=True)(tensor(m, x)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_without_a_dim_takes_pytorchs_with_its_warning(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    results = []
    for m in (npmlp, torch):
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            results.append(getattr(m.nn, kind)()(tensor(m, x)))
    assert_close(*results, RTOL["float64"], kind)


BAD_INPUTS = {
    "BatchNorm1d of an image": (lambda n: n.BatchNorm1d(3), (2, 3, 4, 4), "expected 2D"),
    "BatchNorm2d of a matrix": (lambda n: n.BatchNorm2d(3), (2, 3), "expected 4D"),
    "BatchNorm1d of other features": (lambda n: n.BatchNorm1d(3), (4, 2), "(2,)"),
    "BatchNorm1d of one": (lambda n: n.BatchNorm1d(3), (1, 3), "more than 1 value per channel"),
    "LayerNorm of other sizes": (lambda n: n.LayerNorm(3), (4, 2), "normalized_shape"),
    "Linear of images": (lambda n: n.Linear(16, 2), (3, 1, 4, 4), "did you forget Flatten"),
    "Conv2d of other channels": (lambda n: n.Conv2d(3, 4, 3), (2, 1, 8, 8), "channels"),
    "Conv2d of a matrix": (lambda n: n.Conv2d(3, 4, 3), (8, 8), "(N, C, H, W)"),
    "Conv2d larger than the image": (lambda n: n.Conv2d(1, 1, 5), (1, 1, 3, 3), "kernel"),
    "Conv2d reflecting too much": (
        lambda n: n.Conv2d(1, 1, 3, padding=4, padding_mode="reflect"), (1, 1, 4, 4), "reflect"),
    "MaxPool2d of a matrix": (lambda n: n.MaxPool2d(2), (4, 4), "(N, C, H, W)"),
    "Unflatten to other sizes": (lambda n: n.Unflatten(1, (2, 2)), (3, 5), "(3, 2, 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_does_not_fit_is_refused_as_in_pytorch_but_in_a_sentence(name: str) -> None:
    build, shape, message = BAD_INPUTS[name]
    with pytest.raises((RuntimeError, ValueError)):
        build(torch.nn)(torch.zeros(shape))
    with pytest.raises(npmlp.errors.NpmlpError, match=re.escape(message)) as caught:
        nn.Sequential(build(nn))(npmlp.zeros(shape))
    assert str(caught.value).startswith(f"0 ({name.split()[0]}")


@pytest.mark.parametrize("layer", [
    nn.Linear(2, 2), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.Dropout(), nn.Flatten(), nn.Sigmoid(),
    nn.BatchNorm1d(2), nn.LayerNorm(2), nn.Unflatten(1, (1, 1)), nn.Tanh(), nn.MaxPool2d(1),
], ids=repr)  # fmt: skip
def test_an_array_for_a_tensor_is_refused_in_a_sentence(layer: Any) -> None:
    with pytest.raises(npmlp.errors.DTypeError, match="from_numpy"):
        layer(np.zeros((2, 2), np.float32))


def test_integers_and_other_floats_are_refused_in_a_sentence() -> None:
    for dtype in (npmlp.int64, npmlp.float64):
        with pytest.raises(npmlp.errors.DTypeError, match=r"^0 \(Linear\(2, 2\)\): .*float32"):
            nn.Sequential(nn.Linear(2, 2))(npmlp.zeros(2, 2, dtype=dtype))


def test_a_batch_norm_state_without_a_count_is_whole_as_in_pytorch() -> None:
    def lines(m: Any) -> Any:
        layer = m.nn.Sequential(m.nn.BatchNorm1d(2))
        layer(m.ones(3, 2))
        state = {k: v for k, v in layer.state_dict().items() if "num" not in k}
        fresh = m.nn.Sequential(m.nn.BatchNorm1d(2))
        return repr(fresh.load_state_dict(state)), fresh.state_dict()

    ours, theirs = both(lines)
    assert ours[0] == theirs[0]
    assert_same_bits(ours[1], theirs[1])


def test_a_batch_norm_told_to_stop_tracking_leaves_its_statistics_as_pytorchs() -> None:
    x, dout = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)

    def lines(m: Any) -> Any:
        layer = m.nn.BatchNorm1d(3)
        layer(tensor(m, x))
        layer.track_running_stats = False
        leaf = tensor(m, x * 2).requires_grad_()
        layer(leaf).backward(tensor(m, dout))
        return [leaf.grad, layer.eval()(tensor(m, x)), *layer.buffers()]

    for a, b in zip(*both(lines), strict=True):
        assert_close(a, b, RTOL["float32"], "not tracking")
