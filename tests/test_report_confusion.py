"""The picture of a confusion matrix: its cells are the counts, and all of it can be read."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
import report_runs
from figure_texts import misplaced_texts, words
from report_runs import FASHION, TITLE, made_up
from sklearn.metrics import confusion_matrix

from npmlp.predictions import Predictions
from npmlp.report.confusion import confusion_figure
from npmlp.report.style import ink

run, real = report_runs.pictured, report_runs.real  # fixtures


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
