"""The sheets of samples and of mistakes: which images, and what is said below each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import report_runs
from figure_texts import misplaced_texts, words
from matplotlib.patches import Rectangle
from report_runs import FASHION, TITLE, made_up

from npmlp.predictions import Predictions
from npmlp.report.samples import (
    mistake_positions,
    mistakes_figure,
    sample_positions,
    samples_figure,
)

run, real = report_runs.pictured, report_runs.real  # fixtures


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
