"""The picture of the curves: its lines are metrics.jsonl, and the reported epoch is marked."""

from __future__ import annotations

import math
from typing import Any

import pytest
import report_runs
from figure_texts import misplaced_texts, words
from report_runs import TITLE, history_of

from npmlp.predictions import Predictions
from npmlp.report.curves import changes_by_factors, curves_figure
from npmlp.runs import RunFolder

run, real = report_runs.pictured, report_runs.real  # fixtures


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
    rows = history_of(run.path)
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
    rows = history_of(run.path)
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
