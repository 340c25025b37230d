"""npmlp beside PyTorch step by step: without a fault, nothing but rounding is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from npmlp import commands
from npmlp.recipes import RECIPES
from reference_torch.parity.command import Flags, main, run
from reference_torch.parity.torch_step import draw_masks_on_cpu


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECIPES)
def test_nothing_but_rounding_is_found_in_any_recipe(name: str, dtype: str) -> None:
    steps = 4 if name == "mixer" else 12
    limit = (steps - 1) * RECIPES[name].batch_size  # into the second epoch, with its own order
    result, _ = run(Flags(recipe=name, dtype=dtype, steps=steps, limit=limit))  # type: ignore[arg-type]
    assert result.agrees, str(result.finding)
    assert result.weights_equal
    assert result.batches_equal == result.steps == steps
    assert result.masks_equal == result.masks


def test_gradients_in_front_of_batch_norm_are_listed_apart() -> None:
    result, _ = run(Flags(recipe="residual", steps=5, limit=640))
    assert result.zero == {f"hidden{i}.linear.bias" for i in (1, 2, 3, 4)}
    assert "zero by construction" in result.text()
    table = result.text().split("zero by construction")[0]
    assert "hidden1.linear " in table and "linear.bias" not in table


def test_a_fault_is_told_from_rounding_by_orders_of_magnitude() -> None:
    result, _ = run(Flags(recipe="vanilla", dtype="float64", steps=10, limit=640))
    worst = max(w.ratio for w in result.worst.values())
    # above 0: the two add up in different orders, so this compares no thing with itself
    assert 0 < worst <= 1
    assert max(w.most_ulps for w in result.worst.values()) < 1000  # of 2⁵²


def test_masks_drawn_on_the_cpu_are_those_of_dropout() -> None:
    torch.manual_seed(3)
    x = torch.randn(33, 7)
    plain = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.5)))
    carried = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.5)))
    draw_masks_on_cpu(carried)
    assert not any(isinstance(m, nn.Dropout) for m in carried.modules())
    for _ in range(2):
        torch.manual_seed(4)
        expected = plain(x)
        place = torch.get_rng_state()
        torch.manual_seed(4)
        assert torch.equal(carried(x), expected)
        assert torch.equal(torch.get_rng_state(), place)
    assert torch.equal(carried.eval()(x), x)


def test_the_command_writes_its_figures_and_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--recipe", "vanilla", "--steps", "6", "--limit", "384", "--out", str(tmp_path / "p")]
    assert commands.run(main, argv) == 0
    text = capsys.readouterr().out
    assert "initial weights   equal to the bit" in text
    assert "batches           6 of 6 equal to the bit" in text
    assert "nothing but rounding in 6 steps" in text
    content = json.loads((tmp_path / "p" / "parity.json").read_text())
    assert content["agrees"] and content["first_excess"] is None
    assert len(content["by_step"]["loss"]) == content["steps"] == 6
    arrays = {(a["kind"], a["name"]) for a in content["arrays"]}
    assert {("gradients", "fc1.weight"), ("weights", "fc2.bias"), ("activations", "relu")} <= arrays
    assert (tmp_path / "p" / "parity.png").read_bytes()[:4] == b"\x89PNG"


def test_a_fault_ends_the_command_with_1_and_is_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--recipe", "lenet", "--steps", "4", "--limit", "80", "--out", str(tmp_path)]
    argv += ["--inject", "layer=fc3,kind=gradient,scale=1.001"]
    assert commands.run(main, argv) == 1
    text = capsys.readouterr().out
    assert "planted: gradient in fc3, times 1.001, step 2" in text
    assert "FIRST EXCESS step 2: gradients of fc3" in text
    found = json.loads((tmp_path / "parity.json").read_text())["first_excess"]
    assert (found["step"], found["kind"], found["layer"]) == (2, "gradients", "fc3")


def test_more_steps_than_the_recipe_has_are_not_invented() -> None:
    result, _ = run(Flags(recipe="vanilla-zeros", steps=10**6, limit=6))
    assert result.steps == RECIPES["vanilla-zeros"].epochs
    assert np.isfinite(result.by_step["loss"]).all()
