"""The nine recipes' networks in npmlp and in PyTorch: the same names, weights and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch

import npmlp
from npmlp import models
from npmlp.errors import RecipeError
from npmlp.recipes import RECIPES, Arch, Init, Recipe
from reference_torch import models as torch_models

MIXERS = [dataclasses.replace(RECIPES["mixer"], patch=p) for p in (2, 7)]
PREPARED = [*RECIPES.values(), *MIXERS]


def label(recipe: Recipe) -> str:
    return f"{recipe.name}-{recipe.patch}" if recipe.arch == "mixer" else recipe.name


@pytest.fixture(autouse=True)
def default_dtype_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)  # npmlp's is put back by conftest


def both(recipe: Recipe, seed: int = 0, **data: Any) -> tuple[npmlp.nn.Module, torch.nn.Module]:
    """The two networks with the weights that they start from."""
    networks = []
    for library, build in ((npmlp, models.build), (torch, torch_models.build)):
        library.set_default_dtype(getattr(library, recipe.dtype))
        library.manual_seed(seed)
        networks.append(build(recipe, **data))
    return networks[0], networks[1]


def assert_same_state(ours: npmlp.nn.Module, theirs: torch.nn.Module) -> None:
    mine, torchs = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(torchs)
    for name, value in torchs.items():
        assert mine[name].numpy().dtype == value.numpy().dtype, name
        assert mine[name].numpy().tobytes() == value.numpy().tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", get_args(Init))
@pytest.mark.parametrize("arch", get_args(Arch))
def test_networks_start_with_the_same_bits(arch: Arch, init: Init, dtype: str) -> None:
    ours, theirs = both(Recipe(arch=arch, init=init, dtype=dtype), seed=42)  # type: ignore[arg-type]
    assert_same_state(ours, theirs)
    # and the generators are in the same place
    assert np.array_equal(npmlp.rand(3).numpy(), torch.rand(3).numpy())


@pytest.mark.parametrize("recipe", PREPARED, ids=label)
def test_recipes_start_with_the_same_bits(recipe: Recipe) -> None:
    assert_same_state(*both(recipe))


@pytest.mark.parametrize("recipe", PREPARED, ids=label)
def test_outputs_and_gradients_are_those_of_pytorch(recipe: Recipe) -> None:
    """Training with its dropout, then evaluation with the running means that it left."""
    ours, theirs = both(dataclasses.replace(recipe, dtype="float64"))
    rng = np.random.default_rng(1)
    x, cotangent = rng.standard_normal((6, 1, 28, 28)), rng.standard_normal((6, 10))
    with torch.no_grad():
        for p in theirs.parameters():  # random: zeros behind ReLU and softmax would hide mistakes
            p.copy_(torch.from_numpy(rng.standard_normal(p.shape)) / p[0].numel() ** 0.5)
    state = {name: npmlp.from_numpy(v.numpy().copy()) for name, v in theirs.state_dict().items()}
    ours.load_state_dict(state)

    outputs, gradients = [], []
    for library, network in ((npmlp, ours), (torch, theirs)):
        library.manual_seed(3)  # the same units are dropped
        image = library.from_numpy(x.copy()).requires_grad_()
        output = network(image)
        output.backward(library.from_numpy(cotangent.copy()))
        network.eval()
        later = network(library.from_numpy(x.copy()))
        outputs.append([output, later, image.grad, *network.state_dict().values()])
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for mine, torchs in zip(*outputs, strict=True):
        assert_close(mine, torchs)
    for name, torchs in gradients[1].items():
        # of the layer's weight: the gradient of a bias in front of BatchNorm is zero but for the
        # rounding of the terms that cancel
        layer = name.rpartition(".")[0]
        parts = (gradients[1][f"{layer}.{part}"] for part in ("weight", "bias"))
        scale = max(float(part.abs().max()) for part in parts)
        assert_close(gradients[0][name], torchs, scale)


def assert_close(ours: npmlp.Tensor, theirs: torch.Tensor, scale: float | None = None) -> None:
    """To 1e-12 of `scale`, or else of the largest entry."""
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    assert a.shape == b.shape and a.dtype == b.dtype
    scale = np.abs(b).max() if scale is None else scale
    assert scale > 1e-3  # or the comparison would be of nothing
    # sums of up to 6·784 float64 products, in another order, through up to 10 layers:
    # some hundred roundings of 1.1e-16
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize(
    "name, count", [("vanilla", 79_510), ("lenet", 32_998), ("residual", 166_970)]
)
def test_networks_have_the_size_that_their_originals_report(name: str, count: int) -> None:
    for network in both(RECIPES[name]):
        assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("patch", [2, 4, 7, 14, 28])
def test_patches_are_the_columns_of_unfold(patch: int) -> None:
    x = np.random.default_rng(patch).standard_normal((3, 2, 28, 56))
    expected = torch.nn.functional.unfold(torch.from_numpy(x), patch, stride=patch).transpose(1, 2)
    patches = models.Patchify(patch)(npmlp.from_numpy(x)).numpy()
    assert np.array_equal(patches, expected.numpy())
    theirs = torch_models.Patchify(patch)(torch.from_numpy(x)).numpy()
    assert np.array_equal(theirs, expected.numpy())


@pytest.mark.parametrize("shape, classes", [((1, 16, 20), 47), ((3, 32, 32), 2)])
@pytest.mark.parametrize("arch", get_args(Arch))
def test_networks_fit_other_images_and_classes(
    arch: Arch, shape: tuple[int, int, int], classes: int
) -> None:
    recipe = dataclasses.replace(RECIPES[arch], dtype="float64")
    ours, theirs = both(recipe, shape=shape, classes=classes)
    assert_same_state(ours, theirs)
    x = np.random.default_rng(0).standard_normal((2, *shape))
    output, expected = ours.eval()(npmlp.from_numpy(x)), theirs.eval()(torch.from_numpy(x))
    assert output.shape == (2, classes)
    assert_close(output, expected)


def test_a_patch_that_does_not_divide_the_image_is_refused_with_those_that_do() -> None:
    recipe = Recipe(arch="mixer", patch=5)
    with pytest.raises(
        RecipeError, match="--patch 5: does not divide an image of 28×28 pixels; try one of 2, 4, 7"
    ):
        models.build(recipe)
    with pytest.raises(RecipeError, match="--patch 5: does not divide an image of 28×28 pixels"):
        torch_models.build(recipe)
    for build in (models.build, torch_models.build):  # one side alone is not enough
        with pytest.raises(RecipeError, match="does not divide an image of 28×30"):
            build(Recipe(arch="mixer", patch=7), (1, 28, 30))


def test_an_image_too_small_for_lenet_is_refused() -> None:
    recipe = Recipe(arch="lenet")
    for build in (models.build, torch_models.build):
        build(recipe, (1, 16, 16))
        for shape in ((1, 15, 28), (1, 28, 15)):
            with pytest.raises(RecipeError, match=r"lenet.*at least 16×16, got (15×28|28×15)"):
                build(recipe, shape)
