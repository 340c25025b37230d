"""The picture of the first layer: each unit's weights, as the image that they look for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from figure_texts import misplaced_texts, words
from report_runs import TITLE

import npmlp
from npmlp import models, nn
from npmlp.recipes import RECIPES, Recipe
from npmlp.report.weights import weights_figure


def tiles(figure: Any, count: int, height: int, width: int) -> list[np.ndarray]:
    """The pictures of the units, found by the labels beside them: row + column = unit."""
    axes = figure.axes[0]
    mosaic = axes.images[0].get_array()
    rows, columns = (
        {int(label.get_text()): place for place, label in zip(places, labels, strict=True)}
        for places, labels in (
            (axes.get_yticks(), axes.get_yticklabels()),
            (axes.get_xticks(), axes.get_xticklabels()),
        )
    )
    found: dict[int, np.ndarray] = {}
    for row, y in rows.items():
        for column, x in columns.items():
            top, left = round(y - (height - 1) / 2), round(x - (width - 1) / 2)
            found[row + column] = mosaic[top : top + height, left : left + width]
    return [found[unit] for unit in range(count)]


@pytest.mark.parametrize("name", ["vanilla", "residual", "vanilla-double-softmax"])
def test_the_rows_of_the_first_linear_layer_are_shown_as_images(name: str) -> None:
    npmlp.manual_seed(0)
    model = models.build(RECIPES[name])
    weight = next(p for p in model.parameters() if p.ndim == 2).detach().numpy()
    shown = tiles(weights_figure(model, TITLE), len(weight), 28, 28)
    for row, tile in zip(weight, shown, strict=True):
        assert np.array_equal(tile, row.reshape(28, 28))


def test_images_of_other_shapes_give_rows_of_that_shape() -> None:
    model = models.build(RECIPES["vanilla"], (1, 12, 20), 5)
    shown = tiles(weights_figure(model, TITLE, shape=(1, 12, 20)), 100, 12, 20)
    weight = next(iter(model.parameters())).detach().numpy()
    assert np.array_equal(np.stack(shown), weight.reshape(100, 12, 20))


def test_the_filters_of_the_first_convolution_are_shown() -> None:
    npmlp.manual_seed(0)
    model = models.build(RECIPES["lenet"])
    weight = next(iter(model.parameters())).detach().numpy()
    shown = tiles(weights_figure(model, TITLE), 6, 5, 5)
    assert np.array_equal(np.stack(shown), weight[:, 0])


@pytest.mark.parametrize("patch", [2, 4, 7])
def test_a_filter_of_the_mixer_lies_on_a_patch_as_it_is_shown(patch: int) -> None:
    """The product of a filter's picture with a piece of an image is what the stem computes."""
    npmlp.manual_seed(0)
    model: Any = models.build(Recipe(name="mixer", arch="mixer", patch=patch))
    shown = np.stack(tiles(weights_figure(model, TITLE), 128, patch, patch))
    image = npmlp.rand(1, 1, 28, 28)
    with npmlp.no_grad():
        stem = (model.stem(model.patchify(image))[0, 1] - model.stem.bias).numpy()
    second = image.numpy()[0, 0, :patch, patch : 2 * patch]  # right of the first patch
    by_picture = (shown.astype(np.float64) * second).sum(axis=(1, 2))
    # float32 sums of up to 49 products below 1, and the bias added and taken away
    assert np.abs(by_picture - stem).max() < 49 * np.finfo(np.float32).eps


def test_white_is_zero_and_the_scale_is_symmetric() -> None:
    npmlp.manual_seed(0)
    figure = weights_figure(models.build(RECIPES["vanilla"]), TITLE)
    image, bar = figure.axes[0].images[0], figure.axes[1]
    low, high = image.get_clim()
    assert low == -high < 0
    red, green, blue, _ = image.cmap(image.norm(0.0))
    assert max(red, green, blue) - min(red, green, blue) < 0.01  # of a grey: no hue
    assert bar.get_ylabel() == "weight"


def test_a_few_large_weights_do_not_make_all_others_pale() -> None:
    model = nn.Linear(784, 100)
    model.weight.data[3, 5] = 1000.0
    figure = weights_figure(model, TITLE)
    assert figure.axes[0].images[0].get_clim()[1] < 0.1
    assert figure.axes[1].get_ylabel() == "weight, a few beyond the ends"


@pytest.mark.parametrize("name", ["vanilla", "vanilla-zeros", "residual", "lenet", "mixer"])
def test_no_text_beside_the_weights_is_cut_off_or_overlaps(name: str) -> None:
    figure = weights_figure(models.build(RECIPES[name]), TITLE)
    assert misplaced_texts(figure) == []


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(13, 1), nn.Linear(13, 3), nn.Conv2d(3, 7, (1, 9)), nn.Linear(3000, 300)],
    ids=str,
)
def test_any_first_layer_can_be_shown(layer: nn.Module) -> None:
    figure = weights_figure(nn.Sequential(nn.Flatten(), layer, nn.ReLU()), TITLE)
    assert misplaced_texts(figure) == []
    assert any("1: " in text for text in words(figure))  # the layer's name


def test_a_network_without_weights_to_show_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no Linear and no Conv2d"):
        weights_figure(nn.Sequential(nn.ReLU()), TITLE)
