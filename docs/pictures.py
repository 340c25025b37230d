"""Make the example pictures of this folder from a finished run: `python docs/pictures.py RUN`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from PIL import Image

from npmlp.files import write_atomically
from npmlp.predictions import facts_of, network_of, predictions_of
from npmlp.report import confusion, curves, samples, style, weights
from npmlp.runs import RunFolder

LARGEST = 150_000
"""bytes of a file; a picture has as many pixels and colours as that allows, 256 colours at most"""


def main(run: str) -> None:
    """Write curves, confusion, samples, mistakes and weights as small PNG files."""
    folder, docs = RunFolder(run), Path(__file__).parent
    recipe, predictions = folder.recipe(), predictions_of(folder)
    history = [json.loads(line) for line in (folder.path / "metrics.jsonl").open()]
    title = f"{recipe.name}, seed {recipe.seed}"
    figures = {
        "curves": curves.curves_figure(history, title),
        "confusion": confusion.confusion_figure(predictions, title),
        "samples": samples.samples_figure(predictions, title),
        "mistakes": samples.mistakes_figure(predictions, title),
        "weights": weights.weights_figure(network_of(folder), title, shape=facts_of(folder).shape),
    }
    for name, figure in figures.items():
        for dpi, colors in ((style.DPI, 256), (80, 256), (80, 128)):
            picture = Image.open(io.BytesIO(style.png(figure, dpi))).convert("RGB")
            file = io.BytesIO()
            picture.quantize(colors, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
            if file.tell() < LARGEST:
                break
        write_atomically(docs / f"{name}.png", file.getvalue())
        size = f"{picture.width}×{picture.height}, {colors} colours"
        print(f"{docs / name}.png  {file.tell() / 1000:.0f} kB, {size}")


if __name__ == "__main__":
    main(*sys.argv[1:])
