"""How the pictures of a run look: colours, fonts, and how a figure becomes a PNG file.

Figures are made without pyplot, so that drawing opens no window and leaves nothing behind.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from npmlp.files import write_atomically

# Okabe and Ito's colours, which the colour-blind can tell apart
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
RUST, GREY = "#A84A00", "#595959"  # a darker orange for text, which needs the contrast; and notes

DPI = 120
POINT = 1 / 72
"""of an inch; figures are measured in inches, texts in points"""

# with Japanese class names, as Kuzushiji-MNIST has them, whichever of these is installed
_FURTHER_FONTS = (
    "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic", "Hiragino Sans", "Yu Gothic",
    "MS Gothic", "Arial Unicode MS",
)  # fmt: skip


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """While open, Matplotlib draws as here, whatever a matplotlibrc or a notebook has set."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.family"] = list(_fonts())
        yield


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """An empty figure of this size in inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def headline(figure: Any, title: str, text: str = "") -> None:
    """Put the title of a run, cut to the figure's width, and a line of text above a figure."""
    title = shortened(title, figure.get_figwidth() / POINT - 28, 12)
    figure.suptitle(f"{title}\n{text}" if text else title, fontsize=12, parse_math=False)


def png(figure: Any, dpi: float = DPI) -> bytes:
    """The figure as the content of a PNG file, with so many pixels to the inch."""
    file = io.BytesIO()
    with house_style():
        figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def write_png(figure: Any, path: Path) -> None:
    """Write the figure into a PNG file, which is there whole or not at all."""
    write_atomically(path, png(figure))


# ------------------------------------------------------------------------------------------ text


@functools.cache
def _fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(font for font in _FURTHER_FONTS if font in installed))


@functools.cache
def _characters() -> frozenset[int]:
    """What the fonts have a glyph for."""
    from matplotlib import font_manager

    paths = (font_manager.findfont(font) for font in _fonts())
    return frozenset(c for path in paths for c in font_manager.get_font(path).get_charmap())


def drawable(classes: Sequence[str]) -> list[str]:
    """The names of classes; "class 3" in place of one that has characters which no font has."""
    return [
        name if name.strip() and set(map(ord, name)) <= _characters() else f"class {i}"
        for i, name in enumerate(classes)
    ]


def width_of(text: str, size: float) -> float:
    """How wide a text of one line is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=list(_fonts()), size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


def shortened(text: str, width: float, size: float) -> str:
    """The text, cut and ended with … where it is wider than `width` points."""
    if width_of(text, size) <= width:
        return text
    fits = bisect.bisect_right(
        range(len(text)), width, key=lambda n: width_of(text[:n].rstrip() + "…", size)
    )
    return text[: max(0, fits - 1)].rstrip() + "…"


def ink(color: Sequence[float]) -> str:
    """Black or white, whichever is easier to read on a colour (red, green, blue in 0 … 1).

    Source: WCAG 2.2, relative luminance and contrast ratio.
    """
    rgb = np.asarray(color[:3], np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    black, white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    return "black" if black >= white else "white"
