"""What all pictures of a run share: the file, the house style, the names, the fonts."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import matplotlib
import numpy as np
import report_runs
from PIL import Image
from report_runs import TITLE, history_of, made_up

from npmlp.predictions import Predictions, network_of
from npmlp.report.confusion import confusion_figure
from npmlp.report.curves import curves_figure
from npmlp.report.samples import mistakes_figure, samples_figure
from npmlp.report.style import png, shortened, width_of
from npmlp.report.weights import weights_figure
from npmlp.runs import RunFolder

run, real = report_runs.pictured, report_runs.real  # fixtures


def test_each_picture_is_a_png_file_of_its_figures_size(run: RunFolder, real: Predictions) -> None:
    for figure in (
        curves_figure(history_of(run.path), TITLE),
        confusion_figure(real, TITLE),
        samples_figure(real, TITLE),
        mistakes_figure(real, TITLE),
        weights_figure(network_of(run), TITLE),
    ):
        with Image.open(BytesIO(png(figure))) as picture:
            assert picture.format == "PNG"
            expected = figure.get_size_inches() * figure.dpi
            # a fraction of a pixel is dropped
            assert np.abs(np.array(picture.size) - expected).max() < 1
            picture.load()


def test_settings_of_a_notebook_do_not_change_the_pictures() -> None:
    few = made_up(3, 30)
    plain = png(samples_figure(few, TITLE))
    dark = {"figure.facecolor": "black", "text.color": "white", "font.size": 20,
            "savefig.bbox": "tight", "font.family": "monospace"}  # fmt: skip
    with matplotlib.rc_context(dark):
        assert png(samples_figure(few, TITLE)) == plain
        assert matplotlib.rcParams["font.size"] == 20


def test_names_with_dollars_and_of_other_scripts_are_drawn() -> None:
    """A glyph that no font has would be a box, and a warning, which fails the test."""
    names = ("$a$ and $b$", "お", "き (ki)", "\U0010fffd", " ", "Ω ж é")
    figure = confusion_figure(made_up(names, 100), "$x$, seed 0")
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "$a$ and $b$" and labels[5] == "Ω ж é"
    assert labels[3:5] == ["class 3", "class 4"]
    assert labels[1] in ("お", "class 1")  # by the fonts that are installed
    assert not any(label.get_parse_math() for label in figure.axes[0].get_yticklabels())


def test_a_text_is_cut_to_its_room() -> None:
    assert shortened("Ankle boot", 200, 10) == "Ankle boot"
    cut = shortened("W" * 50, 100, 10)
    assert cut.endswith("…") and 80 < width_of(cut, 10) <= 100


def test_drawing_opens_no_window() -> None:
    code = (
        "import sys; from npmlp.report.curves import curves_figure\n"
        "from npmlp.report.style import png\n"
        "row = dict(epoch=1, lr=.1, train_loss=1., train_accuracy=.5, test_accuracy=.5)\n"
        "png(curves_figure([row], 'title'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tkinter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
