"""The pictures of a run: what they show is what the run did, and all of it can be read."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from figure_texts import misplaced_texts, shown_texts
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.metrics import confusion_matrix

import npmlp
from npmlp import models, nn
from npmlp.predictions import Predictions, network_of, predictions_of
from npmlp.recipes import RECIPES, Recipe
from npmlp.report.confusion import confusion_figure, draw_confusion
from npmlp.report.curves import changes_by_factors, curves_figure, draw_curves
from npmlp.report.samples import (
    draw_mistakes,
    draw_samples,
    mistake_positions,
    mistakes_figure,
    sample_positions,
    samples_figure,
)
from npmlp.report.style import ink, shortened, width_of
from npmlp.report.weights import draw_weights, weights_figure
from npmlp.runs import RunFolder
from npmlp.train import Run, fit

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
TITLE = "vanilla, seed 0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A short real run, with validation."""
    out = tmp_path_factory.mktemp("pictures") / "run"
    recipe = Recipe(limit=2000, epochs=3, validation="test")
    _, folder = fit(recipe, Run(out=str(out), kernels="numpy", lint=False, report=False))
    return folder


@pytest.fixture(scope="module")
def real(run: RunFolder) -> Predictions:
    return predictions_of(run)


def made_up(
    classes: int | tuple[str, ...], n: int, size: tuple[int, int] = (28, 28), right: float = 0.7
) -> Predictions:
    """Predictions for images of noise; every class occurs in them if n allows."""
    names = tuple(f"class {i}" for i in range(classes)) if isinstance(classes, int) else classes
    random, count = np.random.default_rng(1), len(names)
    labels = np.arange(n) % count
    logits = random.standard_normal((n, count))
    chosen = np.where(random.random(n) < right, labels, random.integers(0, count, n))
    logits[np.arange(n), chosen] += 4
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        images=random.integers(0, 256, (n, *size)).astype(np.uint8),
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        classes=names,
        indices=np.arange(n) + 1000,
        loss=0.5,
        checkpoint="last.safetensors",
        epoch=3,
    )


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in shown_texts(figure)]


# --------------------------------------------------------------------------- confusion matrix


def cells(figure: Any) -> dict[tuple[int, int], list[str]]:
    """The lines of text in each cell, by row (down) and column (across)."""
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text().split("\n")
        for text in figure.axes[0].texts
    }


def test_the_cells_are_scikit_learns_confusion_matrix(real: Predictions) -> None:
    figure = confusion_figure(real, TITLE)
    expected = confusion_matrix(real.labels, real.predicted)
    found = cells(figure)
    assert len(found) == 100
    for place, (count, share) in found.items():
        assert int(count.replace(",", "")) == expected[place]
        # printed with one digit, so off by half of it
        of_row = 100 * expected[place] / expected[place[0]].sum()
        assert float(share.removesuffix(" %")) == pytest.approx(of_row, abs=0.05 + 1e-9)
    for row in range(10):
        total = sum(float(found[row, column][1].removesuffix(" %")) for column in range(10))
        assert total == pytest.approx(100, abs=10 * 0.05 + 1e-9)  # ten such roundings


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    labels, predicted = [0, 0, 0], [1, 1, 0]
    two = made_up(("cat", "dog"), 3)
    two = Predictions(
        **{**vars(two), "labels": np.array(labels), "probabilities": np.eye(2)[predicted]}
    )
    figure = confusion_figure(two, TITLE)
    axes = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["cat", "dog"]
    assert axes.yaxis_inverted()  # the first class is in the upper row
    assert cells(figure) == {
        (0, 0): ["1", "33.3 %"],
        (0, 1): ["2", "66.7 %"],
        (1, 0): ["0", "0.0 %"],  # a row without images has no percentages, and no NaN
        (1, 1): ["0", "0.0 %"],
    }


def test_the_matrix_has_all_names_the_title_and_the_accuracy(real: Predictions) -> None:
    said = words(confusion_figure(real, TITLE))
    assert all(said.count(name) == 2 for name in FASHION)
    headline = next(text for text in said if text.startswith(TITLE))
    assert f"{100 * real.right.mean():.2f} % of 5,000 test images right" in headline


@pytest.mark.parametrize(
    ("classes", "images"),
    [(1, 9), (3, 50), (12, 300_000), (27, 100_000), (47, 4000), (("cat", "dog", "W" * 40), 50)],
    ids=["1", "3", "12", "27", "47", "long names"],
)
def test_no_text_of_a_matrix_is_cut_off_or_overlaps(
    classes: int | tuple[str, ...], images: int
) -> None:
    """With counts of five digits in 12 classes, and of four in 27."""
    figure = confusion_figure(made_up(classes, images, (1, 1)), TITLE)
    assert misplaced_texts(figure) == []
    axes = figure.axes[0]
    side = np.diff(axes.transData.transform([(0, 0), (1, 0)])[:, 0])[0]  # of a cell, in pixels
    assert max(text.get_window_extent().width for text in axes.texts) < side


def test_beyond_50_classes_the_colours_speak() -> None:
    figure = confusion_figure(made_up(62, 500), TITLE)
    assert len(figure.axes[0].texts) == 0
    assert len(figure.axes[0].get_xticks()) == 62


def test_the_text_of_a_cell_has_the_contrast_that_wcag_asks_for() -> None:
    """4.5 to 1, for texts of this size (WCAG 2.2, 1.4.3)."""
    figure = confusion_figure(made_up(10, 5000), TITLE)
    image = figure.axes[0].images[0]

    def luminance(color: Any) -> float:
        rgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    def contrast(a: Any, b: Any) -> float:
        dark, light = sorted((luminance(a), luminance(b)))
        return (light + 0.05) / (dark + 0.05)

    for (row, column), text in zip(np.ndindex(10, 10), figure.axes[0].texts, strict=True):
        cell = image.cmap(image.norm(image.get_array()[row, column]))[:3]
        assert contrast(text.get_color(), cell) >= 4.5
    for share in range(101):
        cell = image.cmap(image.norm(share))[:3]
        assert contrast(ink(cell), cell) >= 4.5


# -------------------------------------------------------------------------------- the sheets


def sheet(figure: Any) -> list[tuple[Any, list[str], Any]]:
    """Image, lines of text and frame of each picture, in reading order."""
    axes = figure.axes[0]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    found = []
    for image, frame in zip(axes.images, frames, strict=True):
        left, right, bottom, _ = image.get_extent()
        middle = (left + right) / 2
        below = [
            t for t in axes.texts
            if abs(t.get_position()[0] - middle) < 1 and 0 < t.get_position()[1] - bottom < 40
        ]  # fmt: skip
        below.sort(key=lambda t: t.get_position()[1])
        found.append((image, [t.get_text() for t in below], frame))
    return found


@pytest.mark.parametrize("make", [samples_figure, mistakes_figure])
def test_each_picture_has_its_own_class_prediction_and_probability(
    real: Predictions, make: Any
) -> None:
    positions = (sample_positions if make is samples_figure else mistake_positions)(real)
    pictures = sheet(make(real, TITLE))
    assert len(pictures) == len(positions) == 40
    for position, (image, lines, _) in zip(positions, pictures, strict=True):
        assert np.array_equal(image.get_array(), real.images[position])
        probabilities, label = real.probabilities[position], int(real.labels[position])
        taken = int(probabilities.argmax())
        mark, rest = ("✓", "") if taken == label else ("✗", f" {100 * probabilities[label]:.1f} %")
        assert lines == [
            f"{mark} {FASHION[taken]} {100 * probabilities[taken]:.1f} %",
            f"true: {FASHION[label]}{rest}",
            f"test image {real.indices[position]}",
        ]


def test_right_and_wrong_differ_without_colour(real: Predictions) -> None:
    looks = {True: set(), False: set()}  # type: ignore[var-annotated]
    for _, lines, frame in sheet(samples_figure(real, TITLE)):
        looks[lines[0][0] == "✓"].add((frame.get_linestyle(), frame.get_linewidth()))
    assert len(looks[True]) == len(looks[False]) == 1
    assert looks[True].isdisjoint(looks[False])


def test_samples_cover_all_classes_and_are_the_same_each_time(real: Predictions) -> None:
    positions = sample_positions(real)
    assert np.array_equal(np.bincount(real.labels[positions]), np.full(10, 4))
    assert np.array_equal(positions, sample_positions(real))
    many = made_up(62, 500)
    assert sorted(many.labels[sample_positions(many)]) == list(range(62))


def test_samples_are_not_chosen_by_the_prediction(real: Predictions) -> None:
    other = Predictions(**{**vars(real), "probabilities": real.probabilities[:, ::-1]})
    assert np.array_equal(sample_positions(real), sample_positions(other))


def test_mistakes_are_all_wrong_and_the_most_confident_first(real: Predictions) -> None:
    positions = mistake_positions(real)
    assert not real.right[positions].any()
    confidence = real.probabilities.max(axis=1)
    assert (np.diff(confidence[positions]) <= 0).all()
    left_out = np.setdiff1d(np.flatnonzero(~real.right), positions)
    assert confidence[left_out].max() <= confidence[positions].min()


def test_a_network_without_mistakes_gets_a_sheet_that_says_so() -> None:
    perfect = made_up(10, 100, right=1.0)
    perfect = Predictions(**{**vars(perfect), "probabilities": np.eye(10)[perfect.labels]})
    figure = mistakes_figure(perfect, TITLE)
    assert sorted(words(figure)) == ["0 of 100 test images taken for another class", TITLE]
    assert misplaced_texts(figure) == []


def test_few_mistakes_are_all_shown() -> None:
    few = made_up(10, 20, right=0.8)
    wrong = int((~few.right).sum())
    assert 0 < wrong < 20
    figure = mistakes_figure(few, TITLE)
    assert len(sheet(figure)) == wrong
    assert any(f"here all {wrong}, most confident first" in text for text in words(figure))


@pytest.mark.parametrize("size", [(28, 28), (32, 20), (24, 64), (1, 5), (300, 200)], ids=str)
def test_images_of_other_sizes_keep_their_proportions(size: tuple[int, int]) -> None:
    figure = samples_figure(made_up(5, 10, size), TITLE)
    for image, _, _ in sheet(figure):
        left, right, bottom, top = image.get_window_extent().extents[[0, 2, 1, 3]]
        # up to roundings of the pixel coordinates
        assert (top - bottom) / (right - left) == pytest.approx(size[0] / size[1], rel=1e-9)
    assert misplaced_texts(figure) == []


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (samples_figure, FASHION),
        (samples_figure, 47),
        (mistakes_figure, ("W" * 40, "i" * 60, "two words and many more")),
    ],
    ids=["fashion", "47", "long names"],
)
def test_no_text_of_a_sheet_is_cut_off_or_overlaps(
    make: Any, classes: int | tuple[str, ...]
) -> None:
    figure = make(made_up(classes, 200, right=0.3), "a recipe with " + "a long name " * 30)
    assert misplaced_texts(figure) == []


# ------------------------------------------------------------------------------------ weights


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


# ------------------------------------------------------------------------------------- curves


def history(epochs: int, *, rates: list[float] | None = None, val: bool = True) -> list[dict]:
    rows = []
    for i in range(epochs):
        row = {
            "epoch": i + 1,
            "lr": rates[i] if rates else 0.1,
            "train_loss": 0.2 + 1 / (i + 1),
            "train_accuracy": 0.94 - 0.3 / (i + 1),
            "test_accuracy": 0.9 - 0.3 / (i + 1) + 0.004 * math.cos(i),
            "test_loss": 0.4 + 0.7 / (i + 1),
        }
        if val:
            accuracy = 0.91 - 0.3 / (i + 1) + 0.004 * math.sin(i)
            row |= {"val_loss": 0.35 + 0.8 / (i + 1), "val_accuracy": accuracy}
        rows.append(row)
    return rows


COSINE = [2e-8 + (5e-4 - 2e-8) * (1 + math.cos(math.pi * i / 120)) / 2 for i in range(120)]
PLATEAU = [0.1] * 9 + [0.01] * 4 + [0.001] * 7


def drawn(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of each line, by the first word of its label."""
    lines = (line for line in axes.lines if line.get_label() != "reported epoch")
    return {line.get_label().split()[0]: (list(line.get_xdata()), list(line.get_ydata()))
            for line in lines}  # fmt: skip


def test_the_lines_are_the_rows_of_metrics_jsonl(run: RunFolder) -> None:
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    loss, accuracy, rate = (drawn(axes) for axes in curves_figure(rows, TITLE).axes)
    epochs = [1, 2, 3]
    fields = {"training": "train", "validation": "val", "test": "test"}
    assert loss.keys() == accuracy.keys() == fields.keys()
    for name, field in fields.items():
        assert loss[name] == (epochs, [row[f"{field}_loss"] for row in rows])
        assert accuracy[name] == (epochs, [100 * row[f"{field}_accuracy"] for row in rows])
    assert list(rate.values()) == [(epochs, [row["lr"] for row in rows])]


def test_the_reported_epoch_is_marked_where_there_is_validation() -> None:
    rows = history(30)
    rows[10]["val_accuracy"] = rows[20]["val_accuracy"] = 0.95  # the first of equals is kept
    for chosen, expected in ((None, 11), (30, 30)):
        for axes in curves_figure(rows, TITLE, chosen=chosen).axes[:2]:
            marks = [line for line in axes.lines if line.get_label() == "reported epoch"]
            assert [set(mark.get_xdata()) for mark in marks] == [{expected}]
            assert axes.get_legend().get_title().get_text() == f"at epoch {expected}"
    without = curves_figure(history(30, val=False), TITLE)
    assert "reported epoch" not in words(without)
    assert words(without).count("at epoch 30") == 2


def test_the_mark_is_where_the_runs_checkpoint_is_from(run: RunFolder, real: Predictions) -> None:
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    figure = curves_figure(rows, TITLE)
    assert figure.axes[1].get_legend().get_title().get_text() == f"at epoch {real.epoch}"
    assert f"test {100 * real.accuracy:.2f} %" in words(figure)


def test_lines_differ_without_colour() -> None:
    axes = curves_figure(history(5), TITLE).axes[0]
    looks = {(line.get_marker(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 4  # three losses and the reported epoch


def test_a_field_that_only_later_rows_have_is_drawn_from_there() -> None:
    rows = history(6)
    for row in rows[:4]:  # by a version that did not record it
        del row["test_loss"]
    loss = drawn(curves_figure(rows, TITLE).axes[0])
    assert loss["test"] == ([5, 6], [rows[4]["test_loss"], rows[5]["test_loss"]])


@pytest.mark.parametrize(
    ("rates", "log"),
    [
        (PLATEAU, True),
        ([0.1 * 0.5**i for i in range(12)], True),
        ([0.1, 0.1, 0.01, 0.01, 0.004, 0.004], True),  # the last step cut short by min_lr
        (COSINE, False),
        (COSINE[:4], False),
        ([0.1] * 20, False),
        ([0.1] * 10 + [0.05] * 10, False),  # read well enough from 0
        ([0.1, 0.05, 0.0], False),
        ([0.1], False),
    ],
)
def test_the_rate_has_a_logarithmic_axis_where_it_falls_by_factors(
    rates: list[float], log: bool
) -> None:
    assert changes_by_factors(rates) is log
    axes = curves_figure(history(len(rates), rates=rates), TITLE).axes[2]
    assert axes.get_yscale() == ("log" if log else "linear")


def test_first_and_last_rate_of_a_cosine_can_be_read() -> None:
    figure = curves_figure(history(120, rates=COSINE), TITLE)
    assert "from 0.0005 to 1.06e-07" in words(figure)


@pytest.mark.parametrize(
    ("epochs", "rates", "val", "title"),
    [
        (0, None, True, "residual, seed 0"),
        (1, None, False, "residual, seed 0"),
        (3, None, True, "residual, seed 0"),
        (20, PLATEAU, False, "vanilla, seed 0"),
        (120, COSINE, True, "a long name " * 40),
    ],
    ids=["0", "1", "3", "20", "120"],
)
def test_no_text_of_the_curves_is_cut_off_or_overlaps(
    epochs: int, rates: list[float] | None, val: bool, title: str
) -> None:
    figure = curves_figure(history(epochs, rates=rates, val=val), title)
    assert misplaced_texts(figure) == []


def test_epochs_are_whole_numbers() -> None:
    for epochs in (2, 4, 120):
        for axes in curves_figure(history(epochs), TITLE).axes:
            low, high = axes.get_xlim()
            ticks = [x for x in axes.get_xticks() if low <= x <= high]
            assert ticks and all(float(x).is_integer() for x in ticks)


def test_before_the_first_epoch_the_picture_says_so() -> None:
    assert words(curves_figure([], TITLE)).count("no epoch is finished yet") == 3


# -------------------------------------------------------------------------------------- files


def test_each_picture_is_a_png_file_of_its_figures_size(
    run: RunFolder, real: Predictions, tmp_path: Path
) -> None:
    rows, network = history(20), network_of(run)
    for name, draw, what, figure in (
        ("curves", draw_curves, rows, curves_figure(rows, TITLE)),
        ("confusion", draw_confusion, real, confusion_figure(real, TITLE)),
        ("samples", draw_samples, real, samples_figure(real, TITLE)),
        ("mistakes", draw_mistakes, real, mistakes_figure(real, TITLE)),
        ("weights", draw_weights, network, weights_figure(network, TITLE)),
    ):
        path = tmp_path / f"{name}.png"
        draw(what, path, TITLE)  # type: ignore[operator]
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            expected = figure.get_size_inches() * figure.dpi
            # a fraction of a pixel is dropped
            assert np.abs(np.array(picture.size) - expected).max() < 1
            picture.load()
    assert len(list(tmp_path.iterdir())) == 5  # and no temporary file


def test_settings_of_a_notebook_do_not_change_the_pictures(tmp_path: Path) -> None:
    few = made_up(3, 30)
    draw_samples(few, tmp_path / "plain.png", TITLE)
    dark = {"figure.facecolor": "black", "text.color": "white", "font.size": 20,
            "savefig.bbox": "tight", "font.family": "monospace"}  # fmt: skip
    with matplotlib.rc_context(dark):
        draw_samples(few, tmp_path / "dark.png", TITLE)
        assert matplotlib.rcParams["font.size"] == 20
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "dark.png").read_bytes()


def test_names_with_dollars_and_of_other_scripts_are_drawn() -> None:
    """A glyph that no font has would be a box, and a warning, which fails the test."""
    names = ("$a$ and $b$", "お", "き (ki)", "\U0010fffd", " ", "Ω ж é")
    figure = confusion_figure(made_up(names, 100), "$x$, seed 0")
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "$a$ and $b$" and labels[5] == "Ω ж é"
    assert labels[3:5] == ["class 3", "class 4"]
    assert labels[1] in ("お", "class 1")  # by the fonts that are installed
    assert not any(label.get_parse_math() for label in figure.axes[0].get_yticklabels())


def test_a_text_is_cut_to_its_room() -> None:
    assert shortened("Ankle boot", 200, 10) == "Ankle boot"
    cut = shortened("W" * 50, 100, 10)
    assert cut.endswith("…") and 80 < width_of(cut, 10) <= 100


def test_drawing_opens_no_window(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from npmlp.report.curves import draw_curves\n"
        "row = dict(epoch=1, lr=.1, train_loss=1., train_accuracy=.5, test_accuracy=.5)\n"
        f"draw_curves([row], Path({str(tmp_path)!r}) / 'curves.png', 'title')\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tkinter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
