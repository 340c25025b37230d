"""The same comparison with PyTorch on a GPU, from the CPU's random streams: `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch

from npmlp.recipes import RECIPES
from reference_torch.parity.command import Flags, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECIPES)
def test_nothing_but_rounding_is_found_beside_a_gpu(name: str, dtype: str) -> None:
    flags = Flags(recipe=name, dtype=dtype, steps=20, device="cuda", limit=10_000)  # type: ignore[arg-type]
    result, _ = run(flags)
    assert result.agrees, str(result.finding)
    assert result.batches_equal == result.steps and result.masks_equal == result.masks
