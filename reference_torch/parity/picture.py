"""How far the two trainings are apart by step, beside what rounding alone does, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from npmlp.report.style import BLACK, BLUE, ORANGE, headline, house_style, new_figure
from reference_torch.parity.result import Result


@house_style()
def divergence_figure(result: Result, title: str) -> Any:
    """Loss and weights, apart from PyTorch's by step, on a logarithmic axis.

    Beside npmlp stands PyTorch with rounding noise in each layer: the curve that is expected of two
    right trainings. Where npmlp's is exactly PyTorch's there is no point.
    """
    figure = new_figure(12, 4.8)
    headline(figure, title)
    loss, weights = figure.subplots(1, 2)
    eps = float(np.finfo(result.facts["dtype"]).eps)
    steps = np.arange(1, result.steps + 1)
    _curves(loss, steps, result.loss_drift(), result.loss_drift("loss_noise"), eps)
    _curves(weights, steps, result.by_step["drift"], result.by_step["drift_noise"], eps)
    loss.set_title("loss: difference / loss")
    weights.set_title("weights: norm of the difference / norm of the weights")
    return figure


def _curves(axes: Any, steps: Any, ours: list[float], noise: list[float], eps: float) -> None:
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    looks = (
        (noise, "PyTorch with rounding noise, from PyTorch", ORANGE, "--"),
        (ours, "npmlp, from PyTorch", BLUE, "-"),
    )
    for values, label, color, dashes in looks:
        shown = np.where(np.asarray(values) > 0, values, np.nan)
        axes.plot(
            steps, shown, color=color, linestyle=dashes, label=label, linewidth=1.2,
            marker="." if len(steps) < 60 else None,
        )  # fmt: skip
    axes.axhline(eps, color=BLACK, linestyle=":", label=f"one unit in the last place, {eps:.1e}")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1, frameon=False, fontsize=9,
        handlelength=3.5,
    )  # fmt: skip
