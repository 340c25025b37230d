"""The picture of a sweep has every value where it belongs, and the best cell marked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex

from npmlp.recipes import RECIPES
from npmlp.report.style import ORANGE
from npmlp.sweep import Spec, results
from npmlp.sweep.heatmap import draw_sweep, sweep_figure
from npmlp.sweep.space import Range, Value, cells
from npmlp.sweep.study import Record

LENET = RECIPES["lenet"]
_STATES = ("failed", "missing", "done", "pruned")


def accuracy_of(number: int) -> float:
    return 0.5 + 0.01 * (7 * number % 40)  # all different for 40 cells


def ranked(spec: Spec, states: dict[int, str] | None = None) -> list[results.Group]:
    """The groups of a sweep whose cells have these accuracies."""
    records = {}
    for i, cell in enumerate(cells(spec.base, spec.grid, spec.seeds)):
        state: Any = (states or {}).get(i, "done")
        value = accuracy_of(i)
        result = {"validation_accuracy": value, "validation_loss": 1 - value}
        records[cell.digest] = Record(cell.values, state, 1, result=result)
    return results.ranking(results.rows_of(spec, records))


def texts(axes: Any) -> dict[tuple[int, int], str]:
    """What is written in the cells, by column and row."""
    return {
        (round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in axes.texts
    }


def frames(axes: Any) -> list[tuple[int, int]]:
    """The cells with a coloured frame."""
    return [
        (round(p.get_x() + 0.46), round(p.get_y() + 0.45))
        for p in axes.patches
        if to_hex(p.get_edgecolor()) == ORANGE.lower()
    ]


def test_two_fields_give_a_heatmap_with_a_number_in_every_cell() -> None:
    grid: dict[str, tuple[Value, ...]] = {"lr": (0.01, 0.001), "batch_size": (10, 50, 20)}
    spec = Spec(base=LENET, grid=grid)
    axes, _bar = sweep_figure(spec, ranked(spec)).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch_size", "lr")
    # numbers in their order, whatever order they were given in
    assert [t.get_text() for t in axes.get_xticklabels()] == ["10", "20", "50"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0.001", "0.01"]
    expected = {}
    for i, (lr, size) in enumerate(itertools.product(*grid.values())):
        place = ((10, 20, 50).index(int(str(size))), (0.001, 0.01).index(float(str(lr))))
        expected[place] = f"{100 * accuracy_of(i):.2f}"
    assert texts(axes) == expected
    assert frames(axes) == [max(expected, key=lambda place: float(expected[place]))]


def test_a_cell_without_a_value_says_why() -> None:
    spec = Spec(base=LENET, grid={"lr": (0.01, 0.001), "batch_size": (10, 20, 50)})
    axes, _bar = sweep_figure(spec, ranked(spec, {0: "failed", 1: "missing", 5: "pruned"})).axes
    found = texts(axes)
    assert (found[0, 1], found[1, 1], found[2, 0]) == ("failed", "open", "pruned")


def test_a_pruned_cell_is_no_point_of_a_line() -> None:
    spec = Spec(base=LENET, grid={"lr": (0.1, 0.001, 0.01)})
    (axes,) = sweep_figure(spec, ranked(spec, {2: "pruned"})).axes
    assert list(axes.lines[0].get_xdata()) == [0.001, 0.1]
    assert [(t.get_text(), t.get_position()[0]) for t in axes.texts] == [("pruned", 0.01)]


def test_a_third_field_gives_a_heatmap_for_each_of_its_values() -> None:
    grid: dict[str, tuple[Value, ...]] = {
        "batch_size": (10, 20, 50, 100), "lr": (0.01, 0.001), "normalize": ("scale", "standardize"),
    }  # fmt: skip
    spec = Spec(base=LENET, grid=grid)
    first, second, _bar = sweep_figure(spec, ranked(spec)).axes
    assert {first.get_title(), second.get_title()} == {"normalize=scale", "normalize=standardize"}
    shown = [*texts(first).values(), *texts(second).values()]
    assert sorted(shown) == sorted(f"{100 * accuracy_of(i):.2f}" for i in range(16))
    assert len(frames(first) + frames(second)) == 1
    # one scale of colours for both
    assert first.images[0].norm is second.images[0].norm


def test_one_field_gives_a_line() -> None:
    spec = Spec(base=LENET, grid={"lr": (0.1, 0.001, 0.01)})
    (axes,) = sweep_figure(spec, ranked(spec)).axes
    line = axes.lines[0]
    assert list(line.get_xdata()) == [0.001, 0.01, 0.1]
    # of percentages: rounded twice
    assert list(line.get_ydata()) == pytest.approx([57.0, 64.0, 50.0])
    assert axes.get_xscale() == "log"


def test_a_sampler_gives_points_for_every_field() -> None:
    spec = Spec(
        base=LENET, grid={"optimizer": ("sgd", "adam")}, ranges={"lr": Range(1e-4, 1, True)},
        sampler="tpe", trials=3,
    )  # fmt: skip
    records = {
        str(i): Record({"optimizer": optimizer, "lr": lr}, "done", result={
            "validation_accuracy": accuracy_of(i), "validation_loss": 1.0})
        for i, (optimizer, lr) in enumerate([("sgd", 0.3), ("adam", 0.001), ("adam", 0.01)])
    }  # fmt: skip
    groups = results.ranking(results.rows_of(spec, records))
    optimizer, lr = sweep_figure(spec, groups).axes
    assert optimizer.get_xlabel() == "optimizer"
    assert sorted(lr.lines[0].get_xdata()) == [0.001, 0.01, 0.3]


@pytest.mark.parametrize(
    "grid",
    [
        {"lr": (0.1,)},
        {"clip_norm": (None, 1.0)},
        {"lr": (0.1, 0.2), "clip_norm": (None, 1.0), "epochs": (1, 2), "init": ("zeros",)},
        {"batch_size": tuple(range(1, 61)), "lr": (0.1,), "init": ("zeros", "default")},
        {
            "batch_size": tuple(range(1, 26)),
            "epochs": (1, 2),
            "patience": (1, 2),
            "dropout": (0.0,),
        },
    ],
)
def test_every_sweep_can_be_drawn_whatever_its_state(
    grid: dict[str, tuple[Value, ...]], tmp_path: Path
) -> None:
    spec = Spec(base=LENET, grid=grid)
    count = len(cells(spec.base, spec.grid, spec.seeds))
    mixed = dict(zip(range(1, count), itertools.cycle(_STATES), strict=False))
    for name, states in {"some": mixed, "none": dict.fromkeys(range(count), "missing")}.items():
        draw_sweep(spec, ranked(spec, states), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
