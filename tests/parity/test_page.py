"""The committed measurements of parity over whole data and trainings, and the page of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from npmlp.recipes import RECIPES
from reference_torch.parity.faults import KINDS
from reference_torch.parity.streams import SEEDS

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def measured(name: str) -> dict[str, Any]:
    from parity_page import read

    return read(name)


def test_the_page_is_what_the_measured_files_say() -> None:
    from parity_page import PAGE, render

    assert PAGE.read_text(encoding="utf-8") == render()


def test_all_that_is_random_was_equal_over_the_whole_set_and_five_seeds() -> None:
    results = measured("streams")["results"]
    assert [(row["recipe"], row["seed"]) for row in results] == [
        (name, seed) for name in RECIPES for seed in SEEDS
    ]
    for row in results:
        batches = -(-60_000 // RECIPES[row["recipe"]].batch_size)
        assert row["weights"] is True
        assert row["epochs"] == 5 and row["images"] == 5 * 60_000
        assert row["batches_equal"] == row["batches"] == 5 * batches
        assert row["masks_equal"] == row["masks"]
        assert row["one_by_one_equal"] == row["one_by_one"] == batches
    drops = {row["recipe"] for row in results if row["masks"]}
    assert drops == {"vanilla-xavier-aug-dropout", "mixer", "residual"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_parts_by_rounding_alone(name: str, dtype: str) -> None:
    found = measured(f"{name}-{dtype}")
    assert found["agrees"] is True and found["first_excess"] is None
    assert found["initial_weights_equal"] is True
    assert found["batches_equal"] == found["steps"] >= 100
    assert found["masks_equal"] == found["masks"]
    assert found["fault"] is None and found["dtype"] == dtype


def test_a_whole_float64_training_of_vanilla_ends_with_pytorchs_classes() -> None:
    found = measured("whole-vanilla-float64")
    assert (found["recipe"], found["dtype"], found["epochs"]) == ("vanilla", "float64", 20)
    assert found["steps"] == 20 * 938 and found["test_images"] == 10_000
    assert found["predictions_apart"] == 0
    assert found["weights_apart"] < 1e-8


def test_ten_kinds_of_faults_were_found_where_they_were_planted() -> None:
    faults = measured("faults")["faults"]
    assert {re.split(", | in ", row["planted"])[0] for row in faults} == set(KINDS)
    for row in faults:
        assert row["planted"].endswith(f"step {row['finding']['step']}")
