"""A whole data set as arrays, with all that a network needs to know of it.

Shape, classes and normalisation come from the data. What of that a run keeps in its config.json
(`DataFacts`) is enough to build its network again, and to find the same images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npmlp.errors import DataError, RunError
from npmlp.files import home_as_tilde
from npmlp.vision.files import CLASSES, TEST, TRAIN
from npmlp.vision.folders import DataFolder, Pair, expect_data, find_data
from npmlp.vision.locate import cache_folder, load_splits, search_places

FASHION_MNIST = "Fashion-MNIST"


@dataclass(frozen=True)
class ImageData:
    """The training and the test set.

    mean, deviation: of the training pixels scaled to [0, 1], rounded to 4 digits.
    source: the folder. name: "Fashion-MNIST", or the folder's name.
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

    @property
    def origin(self) -> str:
        """Where it was found, for people; says so where it is not Fashion-MNIST."""
        source = home_as_tilde(self.source)
        if self.name == FASHION_MNIST:
            return source
        _, height, width = self.shape
        return (
            f"{source} (this is not Fashion-MNIST but another data set: {self.name}, "
            f"{height} × {width} pixels, {len(self.classes)} classes)"
        )

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
            "test_sha256": _digest(self.test_images, self.test_labels),
            "source": home_as_tilde(os.path.abspath(self.source)),
        }


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
    test_sha256: str
    source: str

    @classmethod
    def from_config(cls, config: dict[str, Any], origin: object) -> DataFacts:
        """The facts in a run's config; Fashion-MNIST's where a run from before has none.

        Raises RunError, which begins with `origin`, where they are damaged.
        """
        if "data" not in config:
            return FASHION_MNIST_FACTS
        try:
            found = {f.name: config["data"][f.name] for f in dataclasses.fields(cls)}
            channels, height, width = map(int, found.pop("shape"))
            classes = tuple(map(str, found.pop("classes")))
            return cls(shape=(channels, height, width), classes=classes, **found)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{origin}: its facts about the data are damaged ({error!r})") from None

    def folder(self) -> str | None:
        """Where to look for the data again, or None for the places where Fashion-MNIST may be.

        Raises DataError where another data set is no longer where it was.
        """
        source = Path(self.source).expanduser()
        there = bool(self.source) and find_data(source, "--data") is not None
        if self.name == FASHION_MNIST:
            usual = [place.folder.absolute() for place in search_places()]
            return str(source) if there and source not in usual else None
        if not there:
            raise DataError(
                f"--data: the run was trained on {self.name} from {self.source}, which is not "
                "there any more; name its folder with --data"
            )
        return str(source)

    def check(self, data: ImageData) -> None:
        """Raise RunError unless this is the data set that the run was trained on."""
        got = DataFacts.from_config({"data": data.facts()}, data.source)
        # a folder may have been moved or renamed, which gives a data set another name
        if dataclasses.replace(got, source=self.source, name=self.name) != self:
            raise RunError(
                f"--data {home_as_tilde(data.source)}: the run was trained on other data, "
                f"{self.name} from {self.source}; name that folder with --data"
            )


FASHION_MNIST_FACTS = DataFacts(
    name=FASHION_MNIST,
    shape=(1, 28, 28),
    classes=CLASSES,
    mean=0.2860,
    deviation=0.3530,
    train_count=60_000,
    test_count=10_000,
    test_sha256="6abb7165a4c55f50d4bc6b1bc8255d64b9a5cf1de989e99310039add74923235",
    source="",
)


def load_image_data(data: str | os.PathLike[str] | None = None) -> ImageData:
    """The training and the test set.

    Parameters
    ----------
    data: a folder with any data set as IDX or CSV, or with <name>/raw of a torchvision root in it.
        None takes the folder that NPMLP_DATA names, or else Fashion-MNIST from npmlp's cache, the
        Debian package's folder or data/FashionMNIST/raw, or fetches it.

    Raises
    ------
    DataError: nowhere found, or damaged; the message says where, what, and what to type.
    """
    folder = _named_folder(data)
    if folder is None:
        pairs, source = load_splits([TRAIN, TEST], search_places())
        return _fashion_mnist(pairs, source, CLASSES)
    pairs, is_fashion_mnist = folder.read(["train", "test"], cache_folder())
    if is_fashion_mnist:
        return _fashion_mnist(pairs, str(folder.path), folder.class_names(10) or CLASSES)
    return _other(folder, pairs)


def load_test_images(facts: DataFacts, data: str | os.PathLike[str] | None = None) -> Pair:
    """The test images and labels alone, of the data set that a run was trained on.

    Parameters
    ----------
    facts: of that data set.
    data: a folder with it; None looks where it was found for the training, then where
        `load_image_data` looks.

    Raises
    ------
    DataError: nowhere found, damaged, or other images than those that the run was tested on.
    """
    if data is None:
        data = facts.folder()
    folder = _named_folder(data)
    if folder is None:
        [pair], source = load_splits([TEST], search_places())
    else:
        [pair], _ = folder.read(["test"], cache_folder())
        source = str(folder.path)
    if _digest(*pair) != facts.test_sha256:
        raise DataError(
            f"{source}: these are not the test images of the run, which are {facts.name}'s"
            f"{f' from {facts.source}' if facts.source else ''}; name their folder with --data"
        )
    return pair


def _named_folder(data: str | os.PathLike[str] | None) -> DataFolder | None:
    """The data set that --data or NPMLP_DATA names; None where Fashion-MNIST is to be searched."""
    if data is not None:
        hint = "; leave it out to have the usual places searched for Fashion-MNIST"
        return expect_data(Path(data).expanduser(), "--data", hint)
    named = os.environ.get("NPMLP_DATA")
    return find_data(Path(named).expanduser(), "NPMLP_DATA") if named else None


def _fashion_mnist(pairs: list[Pair], source: str, classes: tuple[str, ...]) -> ImageData:
    mean, deviation = FASHION_MNIST_FACTS.mean, FASHION_MNIST_FACTS.deviation
    return ImageData(*pairs[0], *pairs[1], classes, mean, deviation, source, FASHION_MNIST)


def _other(folder: DataFolder, pairs: list[Pair]) -> ImageData:
    """Any other data set. Raises DataError where its parts do not fit together."""
    (train_images, train_labels), (test_images, test_labels) = pairs
    in_train, in_test = folder.file("train"), folder.file("test")
    for path, images in ((in_train, train_images), (in_test, test_images)):
        if images.size == 0:
            raise DataError(f"{path}: has no images, or images without pixels")
    if test_images.shape[1:] != train_images.shape[1:]:
        got, expected = (" × ".join(map(str, i.shape[1:])) for i in (test_images, train_images))
        raise DataError(
            f"{in_test}: images of {got} pixels, but those in {in_train.name} have {expected}"
        )
    count = int(train_labels.max()) + 1
    if count < 2:
        path = folder.file("train", "labels")
        raise DataError(f"{path}: all labels are 0; expected two classes or more")
    beyond = np.flatnonzero(test_labels >= count)
    if len(beyond):
        raise DataError(
            f"{folder.file('test', 'labels')}: label {test_labels[beyond[0]]} at index {beyond[0]} "
            f"is beyond the largest training label, {count - 1} ({len(beyond):,} such labels)"
        )
    mean, deviation = _mean_and_deviation(train_images)
    if deviation == 0:
        raise DataError(f"{in_train}: all pixels are alike, there is nothing to learn from")
    least = int(train_labels.min())
    classes = folder.class_names(count, least) or tuple(map(str, range(count)))
    return ImageData(*pairs[0], *pairs[1], classes, mean, deviation, str(folder.path), folder.name)


def _mean_and_deviation(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Of the pixels scaled to [0, 1], from exact counts, rounded to 4 digits."""
    portions = np.array_split(images.reshape(-1), max(1, images.size >> 20))
    counts = sum(np.bincount(portion, minlength=256) for portion in portions)
    levels = np.arange(256) / 255
    mean = np.average(levels, weights=counts)
    deviation = np.sqrt(np.average((levels - mean) ** 2, weights=counts))
    return round(float(mean), 4), round(float(deviation), 4)


def _digest(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 of test images and labels in their order: a run's figures belong to these."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").data)
    return digest.hexdigest()
