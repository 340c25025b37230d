"""The live picture: one figure under the cell that trains, with a point for each epoch so far."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from npmlp import train
from npmlp.live import in_notebook
from npmlp.recipes import Recipe
from npmlp.runs import RunFolder


def executed(*cells: str) -> list[list[dict[str, Any]]]:
    """The outputs of each cell of a notebook with these, executed by a kernel of its own."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell["outputs"] for cell in notebook["cells"]]


def pictures(outputs: list[dict[str, Any]]) -> list[bytes]:
    found = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    return [base64.b64decode(text) for text in found]


# real kernels of Jupyter, which warn of nothing that is ours
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")
def test_a_notebook_shows_one_figure_that_ends_with_all_epochs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, second = executed(
        f"""
        from npmlp import live, progress, train
        from npmlp.recipes import Recipe
        draw, drawn = live.Live._draw, []
        def counted(self):
            draw(self)
            drawn.append(len(self.history))
        live.Live._draw = counted
        recipe = Recipe(limit=600, epochs=3)
        summary, folder = train.fit(recipe, train.Run(out={str(run)!r}, report=False), live=True)
        """.replace("\n        ", "\n"),
        f"""
        from npmlp.report.curves import curves_figure
        from npmlp.report.style import png
        import json
        rows = [json.loads(line) for line in open({str(run / 'metrics.jsonl')!r})]
        expected = png(curves_figure(rows, "vanilla, seed 0"))
        from IPython.display import Image, display
        display(Image(data=expected, format="png"))
        print(drawn)
        """.replace("\n        ", "\n"),
    )  # fmt: skip
    assert len(pictures(first)) == 1
    assert pictures(first) == pictures(second)  # the points of all three epochs, and no others
    texts = "".join(o["text"] for o in first if o["output_type"] == "stream")
    assert texts.startswith("vanilla: 79,510 parameters") and texts.count("\n") == 1
    drawn = json.loads("".join(o["text"] for o in second if o["output_type"] == "stream"))
    assert drawn[0] == 0 and drawn[1] == 1 and drawn[-1] == 3  # empty, then after the first, …


def test_outside_a_notebook_there_are_lines_after_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not in_notebook()
    run = train.Run(out=str(tmp_path / "run"), report=False)
    train.fit(Recipe(limit=64, epochs=2), run, live=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("live=True draws in a notebook, and this is none")
    assert [line[:9] for line in lines[-2:]] == ["epoch 1/2", "epoch 2/2"]
    assert RunFolder(tmp_path / "run").summary() is not None
