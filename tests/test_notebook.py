"""The example notebook runs from its first cell to its last, and trains what the recipe trains."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from npmlp.recipes import RECIPES
from npmlp.train import Run, fit

NOTEBOOK = Path(__file__).parent.parent / "examples" / "fashion_mnist.ipynb"


def printed(notebook: Any) -> str:
    """All that the cells printed."""
    return "".join(
        "".join(output["text"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    )


def pictures(notebook: Any) -> int:
    """How many pictures stand under the cells."""
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    )


# a real kernel of Jupyter, which warns of nothing that is ours
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")
def test_the_notebook_runs_and_trains_the_recipe_residual_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("EPOCHS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert pictures(notebook) == 7

    recipe = dataclasses.replace(RECIPES["residual"], epochs=1)
    summary, _ = fit(recipe, Run(out=str(tmp_path / "run"), report=False))
    text = printed(notebook)
    assert f"test accuracy {summary['test_accuracy']:.4f} on 5,000 images" in text
    assert f"best on validation: epoch 1, {summary['val_accuracy']:.2%}" in text


def test_the_notebook_is_committed_as_it_was_executed_from_top_to_bottom() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert pictures(notebook) == 7
    accuracies = re.findall(r"test accuracy (0\.\d{4}) on 5,000 images", printed(notebook))
    assert len(accuracies) == 1
    assert float(accuracies[0]) > 0.9  # all 120 epochs, not a few of them
    assert os.path.expanduser("~") not in json.dumps(notebook)
