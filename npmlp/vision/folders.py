"""A data set in a folder that someone named: which files it has, IDX or CSV, and what they hold.

Any images with labels will do: MNIST, EMNIST, K-MNIST, one's own. Whether they are Fashion-MNIST's
is seen from their content, so that nobody trains on plain MNIST unawares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from npmlp.errors import DataError
from npmlp.files import home_as_tilde
from npmlp.vision.csv import read_csv
from npmlp.vision.fetch import to_stderr
from npmlp.vision.files import TEST, TRAIN, Proof, check_as_many, read_file

Part = Literal["train", "test"]
Which = Literal["images", "labels"]
Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, H, W), labels (N,)

_IDX = re.compile(r"(.*?)(train|test|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_CSV = re.compile(r"(.*?)(train|test)\.csv(\.gz)?")
_EXPECTED = "train-images-idx3-ubyte[.gz] and so on, or train.csv[.gz] and test.csv[.gz]"

# of Fashion-MNIST as a table, whatever the order of its rows; see table_digest
TABLE_SHAPES = {"train": (60_000, 28, 28), "test": (10_000, 28, 28)}
TABLES = {
    "train": "754aeaaf945ba1672c4d63fc1402879c75d53faa52fe9fe99bcf45db1e642eab",
    "test": "2927d69d315c898c3a222014cf928cee54a825252f587fe66bfb00849458b45a",
}


@dataclass(frozen=True)
class DataFolder:
    """The files of one data set: "train images" and so on as IDX, or "train" and "test" as CSV."""

    path: Path
    name: str  # what its files' names begin with, or the folder's
    files: dict[str, Path]

    def read(self, parts: Sequence[Part], cache: Path | None) -> tuple[list[Pair], bool]:
        """The images and labels of some parts, and whether they are Fashion-MNIST's.

        Raises DataError where a file is missing or damaged, or where one is Fashion-MNIST's and
        another is not.
        """
        if not self.is_csv:
            return self._read_idx(parts, cache)
        pairs = [_read_csv(self.file(part)) for part in parts]
        proved = [
            images.shape == TABLE_SHAPES[part] and table_digest(images, labels) == TABLES[part]
            for part, (images, labels) in zip(parts, pairs, strict=True)
        ]
        return pairs, all(proved)

    def _read_idx(self, parts: Sequence[Part], cache: Path | None) -> tuple[list[Pair], bool]:
        pairs: list[Pair] = []
        proofs: list[Proof] = []
        for part in parts:
            split = TRAIN if part == "train" else TEST
            images, of_images = read_file(self.file(part), split.images, 3, cache)
            labels, of_labels = read_file(self.file(part, "labels"), split.labels, 1, cache)
            check_as_many(of_images, of_labels, len(images), len(labels))
            pairs.append((images, labels.astype(np.int64)))
            proofs += [of_images, of_labels]
        if not any(proof.holds for proof in proofs):
            return pairs, False
        for proof in proofs:
            proof.check(cache)
        return pairs, True

    def file(self, part: Part, which: Which = "images") -> Path:
        """The file with the images or the labels of a part. Raises DataError where it is missing"""
        role = part if self.is_csv else f"{part} {which}"
        if role not in self.files:
            found = ", ".join(path.name for path in self.files.values())
            raise DataError(f"{self.path}: it has no file with the {role}, only {found}")
        return self.files[role]

    @property
    def is_csv(self) -> bool:
        """Whether a part is one file, with labels and images."""
        return not any(" " in role for role in self.files)

    def class_names(self, count: int, least: int = 0) -> tuple[str, ...] | None:
        """The lines of classes.txt, if there is one.

        Labels go from `least` to `count` - 1: EMNIST's letters from 1 to 26, and its file may name
        those alone; a class below `least` is then named by its number.

        Raises DataError unless they are that many names.
        """
        path = self.path / "classes.txt"
        if not path.is_file():
            return None
        try:
            names = tuple(line.strip() for line in path.read_text("utf-8").rstrip().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None
        if not all(names):
            raise DataError(f"{path}: line {names.index('') + 1} is empty, expected a name on each")
        if len(names) == count - least:
            return (*map(str, range(least)), *names)
        if len(names) != count:
            raise DataError(
                f"{path}: has {len(names)} names, expected {count - least}: the labels go from "
                f"{least} to {count - 1}"
            )
        return names


def find_data(path: Path, who: str) -> DataFolder | None:
    """The data set in a folder, in FashionMNIST/raw or another <name>/raw of a torchvision root.

    Where a folder holds several, `path` goes on with what the files' names begin with:
    EMNIST/raw/emnist-letters. Returns None where there is none.

    Raises
    ------
    DataError: there are several data sets.
    """
    if not path.exists():
        return next((data for data in _data_sets(path.parent) if data.name == path.name), None)
    inside = [path, path / "FashionMNIST" / "raw"]
    found = next((sets for sets in map(_data_sets, inside) if sets), [])
    found = found or [data for raw in sorted(path.glob("*/raw")) for data in _data_sets(raw)]
    if len(found) > 1:
        several_folders = len({data.path for data in found}) > 1
        names = [str(data.path if several_folders else data.path / data.name) for data in found]
        raise DataError(f"{who}: {path} has several data sets; name one: {', '.join(names)}")
    return found[0] if found else None


def expect_data(path: Path, who: str, hint: str = "") -> DataFolder:
    """`find_data`, with a DataError that ends with the hint where there is none."""
    found = find_data(path, who)
    if found is not None:
        return found
    if path.is_dir():
        problem = f"{path} has no data set ({_EXPECTED})"
    else:
        problem = f"{path} is not a folder" if path.exists() else f"there is no folder {path}"
    raise DataError(f"{who}: {problem}{hint}")


def _data_sets(folder: Path) -> list[DataFolder]:
    """Those directly in a folder, told apart by what their files' names begin with."""
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    for form in (_IDX, _CSV):
        sets: dict[str, dict[str, Path]] = {}
        for path in paths:
            if match := form.fullmatch(path.name):
                prefix, part, *which = match.groups()
                role = " ".join(["train" if part == "train" else "test", *which[:-1]])
                sets.setdefault(prefix, {}).setdefault(role, path)  # plain comes before .gz
        if sets:
            return [
                DataFolder(folder, prefix.rstrip("-_. ") or _folder_name(folder), files)
                for prefix, files in sets.items()
            ]
    return []


def _folder_name(folder: Path) -> str:
    folder = folder.absolute()
    return folder.parent.name if folder.name == "raw" else folder.name


def _read_csv(path: Path) -> Pair:
    size = path.stat().st_size
    if size > 5_000_000:
        to_stderr(f"Reading {home_as_tilde(path)} ({size / 1e6:.0f} MB), which takes some seconds")
    return read_csv(path, shape=None)


def table_digest(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """A SHA-256 that does not depend on the order of the rows: Kaggle's CSV files are shuffled."""
    rows = zip(images.reshape(len(images), -1), labels.tolist(), strict=True)
    digests = sorted(hashlib.sha256(b"%d," % label + row.tobytes()).digest() for row, label in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()
