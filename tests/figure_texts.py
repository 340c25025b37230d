"""Which texts a figure shows and where, to find what is cut off and what overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from npmlp.report.style import house_style


def shown_texts(figure: Any) -> list[Text]:
    """All texts that are drawn: none that is empty, no label of a tick outside the axes."""
    with house_style():
        figure.draw_without_rendering()  # does the layout
    found = set(figure.findobj(Text))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not axes.axison or not low <= tick.get_loc() <= high:
                    found -= {tick.label1, tick.label2}
        if not axes.axison:
            found -= set(axes.xaxis.findobj(Text)) | set(axes.yaxis.findobj(Text))
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(figure: Any) -> list[str]:
    """What the texts say."""
    return [text.get_text() for text in shown_texts(figure)]


def outline(text: Text) -> Path:
    """The box around a text in pixels, turned as the text is."""
    angle, mode = text.get_rotation(), text.get_rotation_mode()
    if mode != "anchor":
        box = text.get_window_extent()
        return Path(box.corners()[[0, 1, 3, 2]], closed=False)
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    anchor = text.get_transform().transform(text.get_unitless_position())
    turned = Affine2D().rotate_deg_around(*anchor, angle)
    return Path(turned.transform(box.corners()[[0, 1, 3, 2]]), closed=False)


def misplaced_texts(figure: Any) -> list[str]:
    """Texts that reach over the figure's edge, and pairs that overlap."""
    texts = shown_texts(figure)
    outlines = [outline(text) for text in texts]
    boxes = np.array([path.get_extents().extents for path in outlines])  # (N, 4): x0, y0, x1, y1
    edge = figure.bbox.extents
    problems = [
        f"{text.get_text()!r} is cut off"
        for text, box in zip(texts, boxes, strict=True)
        if (box[:2] < edge[:2]).any() or (box[2:] > edge[2:]).any()
    ]
    apart = (boxes[:, None, 2:] <= boxes[None, :, :2]).any(axis=2)  # left of it, or below
    for i, j in np.argwhere(np.triu(~(apart | apart.T), 1)):
        if outlines[i].intersects_path(outlines[j], filled=True):
            problems.append(f"{texts[i].get_text()!r} overlaps {texts[j].get_text()!r}")
    return problems
