"""A whole data set as arrays, with all that a network needs to know of it.

Shape, classes and normalisation come from the data. What of that a run keeps in its config.json
(`DataFacts`) is enough to build its network again, and to find the same images.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npmlp.errors import DataError, RunError
from npmlp.files import home_as_tilde
from npmlp.vision.files import CLASSES, TEST, TRAIN
from npmlp.vision.locate import Place, load_splits, places_for

FASHION_MNIST = "Fashion-MNIST"


@dataclass(frozen=True)
class DataFacts:
    """What a run keeps of its data set: `ImageData.facts()`, read back from config.json."""

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: float
    deviation: float
    train_count: int
    test_count: int
    source: str

    @classmethod
    def from_config(cls, config: dict[str, Any], origin: str) -> DataFacts:
        """The facts in a run's config; Fashion-MNIST's where a run from before has none.

        Raises RunError where they are damaged.
        """
        if "data" not in config:
            return FASHION_MNIST_FACTS
        try:
            found = {f.name: config["data"][f.name] for f in dataclasses.fields(cls)}
            shape = (int(n) for n in found.pop("shape"))
            classes = (str(name) for name in found.pop("classes"))
            return cls(shape=tuple(shape), classes=tuple(classes), **found)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{origin}: its facts about the data are damaged ({error!r})") from None


FASHION_MNIST_FACTS = DataFacts(
    FASHION_MNIST, (1, 28, 28), CLASSES, 0.2860, 0.3530, 60_000, 10_000, source=""
)


@dataclass(frozen=True)
class ImageData:
    """The training and the test set.

    mean, deviation: of the training pixels scaled to [0, 1], rounded to 4 digits.
    source: where it was found. name: "Fashion-MNIST", or the folder's name.
    """

    train_images: NDArray[np.uint8] = field(repr=False)  # (N, H, W)
    train_labels: NDArray[np.int64] = field(repr=False)  # (N,)
    test_images: NDArray[np.uint8] = field(repr=False)
    test_labels: NDArray[np.int64] = field(repr=False)
    classes: tuple[str, ...]
    mean: float
    deviation: float
    source: str
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (channels, height, width)."""
        height, width = self.train_images.shape[1:]
        return 1, height, width

    def facts(self) -> dict[str, Any]:
        """What a run keeps of it in config.json."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "mean": self.mean,
            "deviation": self.deviation,
            "train_count": len(self.train_images),
            "test_count": len(self.test_images),
            "source": home_as_tilde(self.source),
        }


def load_image_data(data: str | os.PathLike[str] | None = None) -> ImageData:
    """The training and the test set.

    Parameters
    ----------
    data: a folder with the files, gzipped or not. None looks for Fashion-MNIST at NPMLP_DATA, in
        npmlp's cache, in the Debian package's folder and data/FashionMNIST/raw, then fetches it.

    Raises
    ------
    DataError: nowhere found, or damaged; the message says where, what, and what to type.
    """
    places = places_for(data, "--data")
    splits, source = load_splits([TRAIN, TEST], places, download=data is None)
    (train_images, train_labels), (test_images, test_labels) = splits
    mean, deviation = FASHION_MNIST_FACTS.mean, FASHION_MNIST_FACTS.deviation
    return ImageData(
        train_images, train_labels, test_images, test_labels,
        CLASSES, mean, deviation, source, FASHION_MNIST,
    )  # fmt: skip


def load_test_images(
    facts: DataFacts, data: str | os.PathLike[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The test images and labels alone, of the data set that a run was trained on.

    Parameters
    ----------
    facts: of that data set.
    data: a folder with it; None looks where it was found for the training, then where
        `load_image_data` looks.

    Raises
    ------
    DataError: nowhere found, damaged, or not of the shape and classes that the run has.
    """
    places = places_for(data, "--data")
    before = Path(facts.source).expanduser()
    if data is None and before.is_dir():
        places.insert(0, Place(before, "where the run found it"))
    [(images, labels)], source = load_splits([TEST], places, download=data is None)
    if (1, *images.shape[1:]) != facts.shape or labels.max(initial=0) >= len(facts.classes):
        raise DataError(
            f"{source}: images of shape {images.shape[1:]} and {labels.max() + 1} classes; the run "
            f"was trained on {facts.shape[1:]} and {len(facts.classes)} ({facts.name})"
        )
    return images, labels
