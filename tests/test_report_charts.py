"""Where the lines of the page's charts go, and what is read at them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from npmlp.report.page_charts import Line, draw_chart


def axis(ticks: list[tuple[float, str]], log: bool = False) -> np.poly1d:
    """From a position to a value, through the ticks with their texts."""
    values = np.array([float(text.replace("−", "-")) for _, text in ticks])
    return np.poly1d(np.polyfit([p for p, _ in ticks], np.log10(values) if log else values, 1))


@pytest.mark.parametrize("scale", ["linear", "from zero", "log"])
def test_a_line_goes_through_its_values(scale: str) -> None:
    values = [0.1, 0.04, 0.001, 0.0005]
    chart = draw_chart("rate", [Line("rate", values, 0)], scale=scale)  # type: ignore[arg-type]
    assert chart is not None
    at = axis(chart.y_ticks, scale == "log")(np.array(chart.lines[0]["y"]))
    found = 10**at if scale == "log" else at
    # positions are rounded to a tenth of a unit of 190: of a range of 0.1, and of 4 decades
    assert np.allclose(found, values, rtol=0.01 if scale == "log" else 0, atol=0.00006)
    epochs = axis(chart.x_ticks)(np.array(chart.data["x"]))
    assert np.allclose(epochs, [1, 2, 3, 4], atol=0.01)
    assert sorted(chart.lines[0]["y"]) == chart.lines[0]["y"]  # less is further down
    top, bottom = chart.top, chart.bottom
    assert all(top - 0.1 <= y <= bottom + 0.1 for y in chart.lines[0]["y"])
    if scale == "from zero":
        assert chart.y_ticks[0][1] == "0"


def test_a_line_is_broken_where_a_value_is_missing() -> None:
    chart = draw_chart("x", [Line("a", [1, 2, None, 3, float("nan"), 2, 1], 0)])
    assert chart is not None
    assert [len(piece.split()) for piece in chart.lines[0]["pieces"]] == [2, 2]
    assert len(chart.lines[0]["marks"]) == 5
    assert [y is None for y in chart.lines[0]["y"]] == [0, 0, 1, 0, 1, 0, 0]


def test_lines_of_different_length_share_their_epochs() -> None:
    chart = draw_chart("x", [Line("a", [1, 2, 3], 0), Line("b", [5.0] * 120, 1)])
    assert chart is not None
    assert len(chart.data["x"]) == 120
    assert chart.lines[0]["marks"][-1][0] == chart.data["x"][2]
    assert chart.readout == "at the end: a 3 · b 5"
    assert 10 < len(chart.lines[1]["marks"]) < 40  # 120 marks would hide the line


def test_one_epoch_and_constant_values_are_drawn() -> None:
    for values in ([0.5], [0.0, 0.0], [0.1, 0.1, 0.1]):
        chart = draw_chart("x", [Line("a", values, 0)])
        assert chart is not None
        assert all(chart.top <= y <= chart.bottom for y in chart.lines[0]["y"])
        assert chart.x_ticks[0][1] == "1"
    assert draw_chart("x", [Line("a", [None, None], 0)]) is None
    assert draw_chart("x", []) is None


def test_a_screen_reader_hears_where_lines_begin_and_end() -> None:
    lines = [Line("training", [0.5, 0.25], 0), Line("test", [0.6, None], 1)]
    chart = draw_chart("Mean loss", lines)
    assert chart is not None
    assert re.fullmatch(
        r"Mean loss over 2 epochs: training from 0\.5 to 0\.25; test from 0\.6 to 0\.6\.",
        chart.summary,
    )
