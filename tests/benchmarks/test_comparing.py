"""How benchmarks compare: pairs, turns, the fastest setting, and results that go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_ratios_are_taken_pair_by_pair() -> None:
    from compare import ratio

    found = ratio(theirs=[2.0, 40.0, 6.0], ours=[1.0, 10.0, 2.0])
    assert found == {"median": 3.0, "quarter": 2.5, "three_quarters": 3.5, "pairs": 3}


def test_sides_take_turns_and_each_is_first_in_its_round() -> None:
    from compare import in_turns

    order: list[str] = []

    def measure(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or float(len(order))  # type: ignore[func-returns-value]

    found = in_turns([measure("a"), measure("b")], 3)
    assert "".join(order) == "abbaab"
    assert found == [[1.0, 4.0, 5.0], [2.0, 3.0, 6.0]]


class FakeSide:
    """As fast as its setting says."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.setting, self.closed = setting, False

    def close(self) -> None:
        self.closed = True


def test_the_fastest_setting_of_each_number_of_threads_goes_on() -> None:
    from compare import final, finalists
    from side import SideError

    started: list[FakeSide] = []

    def start(setting: dict[str, Any]) -> Any:
        if setting["speed"] == 0:
            raise SideError("does not compute the same")
        started.append(FakeSide(setting))
        return started[-1]

    def clock(side: Any) -> Callable[[], float]:
        return lambda: 1 / side.setting["speed"]

    settings = [{"speed": s, "threads": t} for t, s in ((1, 2), (1, 4), (1, 3), (1, 0), (2, 1))]
    sides, tried = finalists(start, settings, clock, 3)
    assert [side.setting for side in sides] == [settings[1], settings[4]]
    assert [side.setting["speed"] for side in started if side.closed] == [2, 3]
    assert [entry.get("seconds") for entry in tried] == [1 / 2, 1 / 4, 1 / 3, None, 1]
    assert tried[3]["failed"] == "does not compute the same"
    ours: Any = FakeSide({"speed": 8, "threads": 1})
    found = final({"npmlp": [ours], "torch": sides}, clock, 3)
    assert found["best"]["torch"] == {"setting": settings[1], "seconds": 0.25}
    assert found["by_threads"]["torch"] == {"1": 0.25, "2": 1.0}
    assert found["ratio"]["torch"]["median"] == 2.0
    near, _ = finalists(start, settings, clock, 3, beyond=3)
    assert [side.setting["speed"] for side in near] == [4]  # 1 is a quarter of its speed
    with pytest.raises(SideError, match="does not compute the same"):
        finalists(start, [settings[3]], clock, 3)


def test_a_side_that_is_ended_from_outside_ends_the_comparison_and_counts_as_nothing() -> None:
    from compare import fastest
    from side import Side, SideStopped

    def start(setting: dict[str, Any]) -> Side:
        side = Side("matmul_numpy.py", setting)
        side.process.kill()
        try:
            side.ask("seconds", steps=1)
        finally:
            side.close()
        return side

    # as a failed setting it would cost a library what may be its fastest
    with pytest.raises(SideStopped, match="ended with status -9"):
        fastest(start, [{"threads": 1}], lambda side: lambda: 1.0, 1)


def test_losses_are_compared_from_the_same_step_on() -> None:
    from compare import losses_apart

    values = [1 / i for i in range(1, 25)]
    whole, later = {"first": 0, "losses": values}, {"first": 1, "losses": values[1:]}
    assert losses_apart(whole, later) == 0
    assert losses_apart(later, whole) == 0
    assert losses_apart(whole, {"first": 0, "losses": values[1:]}) > 0.01
    assert losses_apart(whole, {"first": 0, "losses": [*values[:-1], float("nan")]}) == np.inf
    with pytest.raises(ValueError, match="only 3 losses"):
        losses_apart(whole, {"first": 0, "losses": values[:3]})


def test_a_result_that_was_stopped_goes_on_unless_the_sources_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import machine
    from compare import Result

    first = Result("some", ["side.py"], {"pairs": 3}, tmp_path)
    first.add({"name": "a", "value": 1})
    assert not json.loads((tmp_path / "some.json").read_text())["complete"]
    assert Result("some", ["side.py"], {"pairs": 3}, tmp_path).row(name="a") is not None
    assert Result("some", ["side.py"], {"pairs": 4}, tmp_path).row(name="a") is None
    monkeypatch.setattr(machine, "sources", lambda parts: "others")
    assert Result("some", ["side.py"], {"pairs": 3}, tmp_path).row(name="a") is None


def test_the_sources_of_a_result_are_npmlps_and_its_own_files() -> None:
    import machine

    assert machine.sources(["side.py"]) == machine.sources(["side.py"])
    assert machine.sources(["side.py"]) != machine.sources(["compare.py"])
