"""Reports: pictures, figures and a page of one run, or a page that compares several.

`python -m npmlp.report RUN [RUN …]`, and `write_report` at the end of every training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npmlp.errors import RunError
from npmlp.runs import RunFolder

if TYPE_CHECKING:
    from npmlp.report.page_run import Results, RunFacts

PAGE = "report.html"


def write_report(folder: RunFolder, data: str | None = None) -> list[Path]:
    """Write a run's pictures, metrics.json and report.html into its folder.

    Parameters: `folder`, a run in whatever state: what it has not got yet is left out; `data`, a
    folder with its images, by default where the run found them.
    Returns: the files, the page last. Raises: NpmlpError where the run or the data is damaged or
    missing, or the folder cannot be written; where it is damaged, nothing has been written.
    """
    from npmlp.report.page_read import read_results

    files = report_files(*read_results(folder.path, data))
    return write_files({folder.path / name: content for name, content in files.items()})


def report_files(run: RunFacts, results: Results | None) -> dict[str, bytes | str]:
    """The content of each file of a report, by name; the page last."""
    from npmlp.report.confusion import confusion_figure
    from npmlp.report.curves import curves_figure
    from npmlp.report.page import render_page
    from npmlp.report.samples import mistakes_figure, samples_figure
    from npmlp.report.style import png
    from npmlp.report.weights import weights_figure

    title = run.label()
    files: dict[str, bytes | str] = {}
    if run.reported is not None:
        curves = curves_figure(run.history, title, chosen=run.reported_epoch)
        files["curves.png"] = png(curves)
    if results is not None:
        files["confusion.png"] = png(confusion_figure(results.predictions, title))
        files["samples.png"] = png(samples_figure(results.predictions, title))
        files["mistakes.png"] = png(mistakes_figure(results.predictions, title))
        files["weights.png"] = png(weights_figure(results.network, title, shape=run.data.shape))
        files["metrics.json"] = json.dumps(results.metrics, indent=2) + "\n"
    return files | {PAGE: render_page(run, results)}


def write_files(files: dict[Path, bytes | str]) -> list[Path]:
    from npmlp.files import write_atomically

    for path, content in files.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}); --out names another place for the "
                "page, such as --out report.html"
            ) from None
    return list(files)


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.report`"""
    from npmlp.report.page_command import command

    return command(argv)
