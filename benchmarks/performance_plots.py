"""The pictures of docs/performance.md, from the result files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from performance_goals import Measured

from npmlp.report.style import BLUE, GREEN, GREY, ORANGE, house_style, new_figure, write_png

Rows = list[dict[str, Any]]
COLOURS = {"npmlp": BLUE, "torch": ORANGE, "jax": GREEN, "numpy": GREEN}
NAMES = {"npmlp": "npmlp", "torch": "PyTorch", "jax": "JAX", "numpy": "NumPy"}


def step_figure(rows: Rows) -> Any:
    """How many times as fast as PyTorch and JAX, row by row, with the quartiles."""
    figure = new_figure(8, 0.55 * len(rows) + 1.4)
    axes = figure.subplots()
    for i, row in enumerate(rows):
        for j, (library, r) in enumerate(row["ratio"].items()):
            spread = [[r["median"] - r["quarter"]], [r["three_quarters"] - r["median"]]]
            axes.barh(
                i + 0.36 * (j - 0.5), r["median"], 0.34, xerr=spread, color=COLOURS[library],
                ecolor=GREY, label=f"beside {NAMES[library]}" if i == 0 else None,
            )  # fmt: skip
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{r['network']}, {r['batch_size']}" for r in rows])
    axes.invert_yaxis()
    axes.set_xlabel("how many times as fast npmlp is")
    axes.set_title("a training step: network, batch size")
    axes.legend()
    return figure


def matmul_figure(rows: Rows) -> Any:
    """GFLOP/s by the size of the product, for each number of threads."""
    numbers = sorted({row["threads"] for row in rows})
    figure = new_figure(8, 4)
    all_axes = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    for axes, threads in zip(all_axes, numbers, strict=True):
        those = [row for row in rows if row["threads"] == threads]
        sizes = [2 * row["n"] * row["k"] * row["m"] for row in those]
        for library in ("numpy", "torch", "npmlp"):
            rates = [row["gflops"][library] for row in those]
            axes.plot(sizes, rates, "o", markersize=4, color=COLOURS[library], label=NAMES[library])
        axes.set_xscale("log")
        axes.set_xlabel("floating-point operations of the product")
        axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
    all_axes[0].set_ylabel("GFLOP/s")
    all_axes[0].legend()
    return figure


def scaling_figure(rows: Rows) -> Any:
    """Time per sample against width, depth and batch size, one thread solid, more dashed."""
    figure = new_figure(10, 3.8)
    for axes, varied in zip(figure.subplots(1, 3), ("width", "depth", "batch"), strict=True):
        for threads, style in ((1, "-"), (2, "--")):
            those = [r for r in rows if r["varied"] == varied and r["threads"] == threads]
            values = [row[varied] for row in those]
            for library in ("torch", "npmlp"):
                each = [1e6 * row["seconds"][library] / row["batch"] for row in those]
                label = f"{NAMES[library]}, {threads} thread{'s' if threads > 1 else ''}"
                axes.plot(values, each, style, marker="o", markersize=3, color=COLOURS[library],
                          label=label)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yscale("log")
        axes.set_xlabel({"batch": "batch size", "depth": "hidden layers"}.get(varied, varied))
    figure.axes[0].set_ylabel("µs a sample")
    figure.axes[0].legend(fontsize=8)
    return figure


FIGURES: dict[str, Callable[[Rows], Any]] = {
    "step": step_figure,
    "matmul-peers": matmul_figure,
    "scaling": scaling_figure,
}


def picture(name: str) -> str:
    """The file's name of a result's picture."""
    return f"performance-{name.removesuffix('-peers')}.png"


def write_pictures(measured: Measured, folder: Path) -> None:
    """Draw what is measured; remove the picture of what is not."""
    for name, make in FIGURES.items():
        path, found = folder / picture(name), measured.read(name)
        if found is None:
            path.unlink(missing_ok=True)
            continue
        with house_style():
            write_png(make(found["rows"]), path)
