"""Write docs/matmul.md and its picture from what bench_matmul.py --keep measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from npmlp.report.style import BLACK, BLUE, GREEN, GREY, ORANGE, house_style, new_figure, write_png

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
RUNGS = ("three loops", "right order", "blocked", "tile", "2 threads", "BLAS")
COLORS = dict(zip(RUNGS, ("#bbbbbb", GREY, GREEN, BLUE, "#56B4E9", ORANGE), strict=True))


def result() -> dict[str, Any]:
    """What was measured."""
    found: dict[str, Any] = json.loads((HERE / "results" / "ladder.json").read_text())
    return found


def figure(found: dict[str, Any]) -> Any:
    """GFLOP/s of every rung for every shape, with the processor's limit as a line."""
    made = new_figure(9, 4.6)
    axes = made.add_subplot()
    width = 0.8 / len(RUNGS)
    for i, rung in enumerate(RUNGS):
        places = [j + (i - len(RUNGS) / 2 + 0.5) * width for j in range(len(found["rows"]))]
        values = [row["gflops"].get(rung, 0.0) for row in found["rows"]]
        axes.bar(places, values, width, label=rung, color=COLORS[rung])
    one, several = found["peak"]
    axes.axhline(one, color=BLACK, linestyle="--", linewidth=1, label="limit of one core")
    if several > 1.2 * one:
        axes.axhline(several, color=BLACK, linestyle=":", linewidth=1, label="limit of all cores")
    axes.set_xticks(
        range(len(found["rows"])),
        [f"{row['label']}\n{row['n']}×{row['k']}×{row['m']}" for row in found["rows"]],
        fontsize=6,
    )
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"out (N×M) = a (N×K) b (K×M), {found['dtype']}", fontsize=10)
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])  # room for the legend above all bars and lines
    axes.legend(fontsize=7, ncols=2)
    return made


def page(found: dict[str, Any]) -> str:
    """The text of docs/matmul.md."""
    text = (HERE / "matmul.md.j2").read_text()
    rows = [
        {
            "what": row["label"],
            "shape": f"{row['n']} × {row['k']} × {row['m']}",
            "figures": [
                f"{row['gflops'][rung]:.0f}" if rung in row["gflops"] else "–" for rung in RUNGS
            ],
            "share": f"{row['gflops']['tile'] / found['peak'][0]:.0%}",
        }
        for row in found["rows"]
    ]
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    by_label = {row["label"]: row["gflops"] for row in found["rows"]}
    return environment.from_string(text).render(
        rungs=RUNGS, rows=rows, by_label=by_label, peak=found["peak"], dtype=found["dtype"],
        machine=f"{found['machine']['processor']}, {found['machine']['cores']} cores",
    )  # fmt: skip


def main() -> None:
    found = result()
    with house_style():
        write_png(figure(found), DOCS / "matmul.png")
    (DOCS / "matmul.md").write_text(page(found).rstrip() + "\n")
    print(f"wrote {DOCS / 'matmul.md'}")


if __name__ == "__main__":
    main()
