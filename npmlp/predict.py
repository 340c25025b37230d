"""Classify pictures: `python -m npmlp.predict --run runs/vanilla-… shoe.png 17`.

An argument that is a number is the index of a test image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from npmlp import commands
from npmlp.errors import DataError
from npmlp.runs import RunFolder

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Invert = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class Prediction:
    """A picture, and how probable each class is, the most probable first."""

    name: str
    classes: list[tuple[str, float]]
    note: str = ""


def read_image(path: str | Path, invert: Invert = "auto") -> tuple[Pixels, str]:
    """A picture of any size as 28 × 28 grey pixels, bright on black as in Fashion-MNIST.

    Returns: the pixels, and a note of what was done to them. Raises: DataError.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
            rgba = picture.convert("RGBA")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such picture") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: is not a picture that can be read ({error})") from None
    clear = Image.new("RGBA", rgba.size, "black")
    grey = Image.alpha_composite(clear, rgba).convert("L")  # what is transparent becomes black
    notes = []
    border = np.asarray(grey)
    edge = np.concatenate([border[0], border[-1], border[:, 0], border[:, -1]])
    dark_on_bright = float(np.median(edge)) > 127
    if grey.size != (28, 28):
        notes.append(f"scaled from {grey.width} × {grey.height}")
        side = max(grey.size)  # a square first, so that shapes are not stretched
        fill = int(np.median(edge))
        square = Image.new("L", (side, side), fill)
        square.paste(grey, ((side - grey.width) // 2, (side - grey.height) // 2))
        grey = square.resize((28, 28), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, np.uint8)
    if invert == "yes" or (invert == "auto" and dark_on_bright):
        notes.append("inverted, for the training images are bright on black")
        pixels = 255 - pixels
    return pixels, "; ".join(notes)


def predict(
    run: str | Path,
    images: Sequence[str],
    data: str | None = None,
    invert: Invert = "auto",
    checkpoint: Literal["best", "last"] | None = None,
) -> list[Prediction]:
    """Classify pictures with a run's network.

    Parameters: `images`, paths of pictures, or indices of test images as text. Returns: a
    Prediction each. Raises: NpmlpError.
    """
    from npmlp import autograd, dtypes, functions, models
    from npmlp.engine import one_image
    from npmlp.evaluate import load_weights
    from npmlp.vision.datasets import FashionMNIST

    folder = RunFolder(run)
    recipe = folder.recipe()
    dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
    model = models.build(recipe)
    load_weights(model, folder, checkpoint)
    model.eval()
    test: FashionMNIST | None = None
    results = []
    for image in images:
        if image.lstrip("-").isdigit():
            test = test or FashionMNIST(data, train=False, download=data is None)
            index = int(image)
            if not 0 <= index < len(test):
                raise DataError(f"test image {image}: expected an index of 0 to {len(test) - 1}")
            pixels = test.data.numpy()[index]
            name = f"test image {index}"
            note = f"labelled {test.classes[int(test.targets.numpy()[index])]}"
        else:
            pixels, note = read_image(image, invert)
            name = image
        with autograd.no_grad():
            probabilities = functions.softmax(model(one_image(pixels, recipe)), 1).numpy()[0]
        order = np.argsort(-probabilities, kind="stable")
        ranked = [(FashionMNIST.classes[i], float(probabilities[i])) for i in order]
        results.append(Prediction(name, ranked, note))
    return results


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Name what is on pictures, with probabilities."""

    images: tyro.conf.Positional[tuple[str, ...]]
    """pictures, or indices of test images"""
    run: str
    """the run's folder"""
    data: str | None = None
    """a folder with Fashion-MNIST, for test images; without it the usual places are searched"""
    top: int = 3
    """how many classes are shown"""
    invert: Invert = "auto"
    """exchange bright and dark; auto: where the picture's border is bright"""
    checkpoint: Literal["best", "last"] | None = None
    """by default the one whose figures the run reports"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.predict`"""
    flags = commands.parse(Flags, argv, "python -m npmlp.predict")
    if not flags.images:
        raise DataError("predict: name at least one picture, or an index of a test image")
    predictions = predict(flags.run, flags.images, flags.data, flags.invert, flags.checkpoint)
    for p in predictions:
        print(f"{p.name}{f' ({p.note})' if p.note else ''}")
        for name, probability in p.classes[: flags.top]:
            print(f"  {probability:7.2%}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
