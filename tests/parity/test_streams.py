"""First weights, five epochs of batches, and dropout masks are PyTorch's to the bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from npmlp import commands, random
from npmlp.recipes import RECIPES
from reference_torch.parity import streams
from reference_torch.parity.streams import SEEDS, compare_streams

IMAGES = 2048


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RECIPES)
def test_all_that_is_random_is_equal_to_the_bit(name: str, seed: int) -> None:
    recipe = dataclasses.replace(RECIPES[name], seed=seed, limit=IMAGES)
    found = compare_streams(recipe, epochs=5)
    assert found.all_equal, found
    assert found.images == 5 * IMAGES
    dropouts = {"mixer": 4, "residual": 1, "vanilla-xavier-aug-dropout": 1}.get(name, 0)
    assert found.masks == dropouts * found.batches


def test_a_draw_too_many_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = random.Generator.dropout_mask

    def drawn_once_more(self: random.Generator, *args: Any, **kwargs: Any) -> object:
        mask = plain(self, *args, **kwargs)
        self.raw_uint32(1)
        return mask

    monkeypatch.setattr(random.Generator, "dropout_mask", drawn_once_more)
    recipe = dataclasses.replace(RECIPES["residual"], limit=512)
    found = compare_streams(recipe, epochs=1)
    assert not found.all_equal
    assert found.batches_equal == 0 and found.masks_equal == 1  # the first mask came before it


def test_the_command_says_what_it_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--recipe", "residual", "--seed", "3", "--epochs", "1", "--limit", "300"]
    assert commands.run(streams.main, [*argv, "--out", str(tmp_path / "s.json")]) == 0
    text = capsys.readouterr().out
    assert "3 of 3 batches, 3 of 3 masks, 3 of 3 batches beside torchvision" in text
    assert "all equal to the bit" in text
    assert json.loads((tmp_path / "s.json").read_text())["all_equal"] is True
