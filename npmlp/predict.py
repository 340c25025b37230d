"""Classify pictures: `python -m npmlp.predict --run runs/vanilla-… shoe.png 17`.

An argument that is a number is the index of a test image; a picture named 17 is ./17.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from npmlp import commands
from npmlp.errors import DataError
from npmlp.predictions import Which, facts_of, network_of
from npmlp.preserved import preserved_settings
from npmlp.runs import RunFolder

if TYPE_CHECKING:
    from npmlp.vision.images import DataFacts

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Invert = Literal["auto", "yes", "no"]
MOST_PIXELS = 50_000_000  # 200 MB while it is read


@dataclass(frozen=True)
class Prediction:
    """A picture, and how probable each class is, the most probable first."""

    name: str
    classes: list[tuple[str, float]]
    note: str = ""


def read_image(
    path: str | Path, invert: Invert = "auto", size: tuple[int, int] = (28, 28)
) -> tuple[Pixels, str]:
    """A picture of any size as grey pixels, bright on black as in Fashion-MNIST.

    Parameters: `size`, (height, width) of the result. Returns: the pixels, and a note of what was
    done to them. Raises: DataError.
    """
    from PIL import Image

    notes: list[str] = []
    grey = _on_one_colour(_opened(path, notes), notes)
    values = np.asarray(grey)
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    dark_on_bright = float(np.median(edge)) > 127
    height, width = size
    if grey.size != (width, height):
        notes.append(f"scaled from {grey.width} × {grey.height}")
        # on a canvas of the right proportions first, so that shapes are not stretched
        times = max(grey.width / width, grey.height / height)
        canvas = Image.new("L", (round(times * width), round(times * height)), int(np.median(edge)))
        canvas.paste(grey, ((canvas.width - grey.width) // 2, (canvas.height - grey.height) // 2))
        grey = canvas.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, np.uint8)
    if invert == "yes" or (invert == "auto" and dark_on_bright):
        notes.append("inverted, for the training images are bright on black")
        pixels = 255 - pixels
    return pixels, "; ".join(notes)


def _opened(path: str | Path, notes: list[str]) -> Any:
    """The picture, upright, with 8 bits for each of red, green, blue and opacity."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # PIL warns of large pictures, and refuses them from twice that on; the limit is ours
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _too_large(path, f"{picture.width:,} × {picture.height:,} pixels")
                picture.load()
                upright = ImageOps.exif_transpose(picture)
                if upright.mode == "F" or upright.mode.startswith("I"):
                    upright = _eight_bits(upright, path, notes)
                return upright.convert("RGBA")
    except Image.DecompressionBombError as error:
        size = re.search(r"[0-9]+", str(error))  # "Image size (400000000 pixels) exceeds …"
        raise _too_large(path, f"{int(size[0]):,} pixels" if size else "too large") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such picture") from None
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: is not a picture that can be read ({error})") from None


def _too_large(path: str | Path, size: str) -> DataError:
    return DataError(
        f"{path}: the picture has {size}, and the limit is {MOST_PIXELS:,} pixels; make it smaller"
    )


def _eight_bits(picture: Any, path: str | Path, notes: list[str]) -> Any:
    """A picture of more than 8 bits of grey as one of 8: black stays 0, the most becomes 255.

    The most is 1, 255 or 65535, whichever first holds all values, or else the largest value; 16-bit
    pictures have 65535.
    """
    from PIL import Image

    values = np.asarray(picture).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: has values that are not finite")
    largest = float(values.max(initial=0.0))
    limits = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
    most = next((limit for limit in limits if largest <= limit), largest)
    notes.append(f"0 … {most:.0f} brought to 0 … 255")
    return Image.fromarray(np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8))


def _on_one_colour(rgba: Any, notes: list[str]) -> Any:
    """The picture in grey; behind what is transparent, the colour that what is opaque differs from.

    A dark drawing lies on white then, and is inverted later; all else lies on black.
    """
    from PIL import Image

    colour = "black"
    if rgba.getextrema()[3][0] < 255:  # the least opacity
        # the means of a few fields, in which a pixel counts as much as it is opaque
        small = rgba.resize((32, 32), Image.Resampling.BOX)
        opacity = np.asarray(small.getchannel("A"), np.float64)
        drawn = np.asarray(small.convert("L"), np.float64)
        if opacity.any() and float(np.average(drawn, weights=opacity)) < 128:
            colour = "white"
        notes.append(f"what is transparent made {colour}")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("L")


def predict(
    run: str | Path,
    images: Sequence[str],
    data: str | None = None,
    invert: Invert = "auto",
    checkpoint: Which | None = None,
) -> list[Prediction]:
    """Classify pictures with a run's network.

    Parameters: `images`, paths of pictures, or indices of test images as text. Returns: a
    Prediction each. Raises: NpmlpError.
    """
    from npmlp import autograd, dtypes, functions
    from npmlp.from_recipe import one_image

    folder = RunFolder(run)
    recipe, facts = folder.recipe(), facts_of(folder)
    model = network_of(folder, checkpoint)
    results = []
    with preserved_settings(), autograd.no_grad():
        dtypes.set_default_dtype(getattr(dtypes, recipe.dtype))
        for name, pixels, note in _pictures(images, facts, data, invert):
            output = model(one_image(pixels, recipe, facts))
            if recipe.output == "logits":
                output = functions.softmax(output, 1)
            probabilities = output.numpy()[0]
            order = np.argsort(-probabilities, kind="stable")
            ranked = [(facts.classes[i], float(probabilities[i])) for i in order]
            results.append(Prediction(name, ranked, note))
    return results


def _pictures(
    images: Sequence[str], facts: DataFacts, data: str | None, invert: Invert
) -> Iterator[tuple[str, Pixels, str]]:
    """(name, pixels, note) of each."""
    from npmlp.vision.images import load_test_images

    test: Any = None
    for image in images:
        if not re.fullmatch(r"-?[0-9]+", image):
            yield (image, *read_image(image, invert, facts.shape[1:]))
            continue
        if test is None:
            test = load_test_images(facts, data)
        pixels, labels = test
        index = int(image) if len(image) < 20 else -1  # Python refuses very long numbers
        if not 0 <= index < len(pixels):
            raise DataError(
                f"test image {image}: expected an index of 0 to {len(pixels) - 1}; a picture in a "
                f"file of this name is ./{image}"
            )
        label = facts.classes[int(labels[index])]
        yield f"test image {index}", pixels[index], f"labelled {label}"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Name what is on pictures, with probabilities."""

    images: tyro.conf.Positional[tuple[str, ...]]
    """pictures, or indices of test images; a picture in a file named 12 is ./12"""
    run: str
    """the run's folder"""
    data: str | None = None
    """a folder with the data, for test images; by default where the run found it"""
    top: int = 3
    """how many classes are shown"""
    invert: Invert = "auto"
    """exchange bright and dark; auto: where the picture's border is bright"""
    checkpoint: Which | None = None
    """best, last or, where epochs' checkpoints were kept, an epoch's number; by default the one
    whose figures the run reports"""
    debug: bool = False
    """show the whole stack when something goes wrong"""


def main(argv: Sequence[str]) -> int:
    """`python -m npmlp.predict`"""
    flags = commands.parse(Flags, argv, "python -m npmlp.predict")
    if not flags.images:
        raise DataError("predict: name at least one picture, or an index of a test image")
    if flags.top < 1:
        raise DataError(f"--top: got {flags.top}, expected at least 1")
    predictions = predict(flags.run, flags.images, flags.data, flags.invert, flags.checkpoint)
    for p in predictions:
        print(f"{p.name}{f' ({p.note})' if p.note else ''}")
        for name, probability in p.classes[: flags.top]:
            print(f"  {probability:7.2%}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main))
