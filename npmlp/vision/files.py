"""The four files of Fashion-MNIST, and the proof that what was read is really them.

The proof is the SHA-256 of the decompressed bytes: publishers recompress the .gz files, their
contents do not differ. What was proved once is noted in a small file in npmlp's cache, with the
size and time of the file it was read from, so that the next start needs no hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from npmlp.errors import DataError
from npmlp.files import write_atomically
from npmlp.vision.idx import read_idx


@dataclass(frozen=True)
class DataFile:
    """One file: its name without .gz, and the size and SHA-256 of its decompressed bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """The images and the labels of the training or of the test set."""

    images: DataFile
    labels: DataFile


TRAIN = Split(
    DataFile(
        "train-images-idx3-ubyte",
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    DataFile(
        "train-labels-idx1-ubyte",
        60_008,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
)
TEST = Split(
    DataFile(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    DataFile(
        "t10k-labels-idx1-ubyte",
        10_008,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)
FILES = (TRAIN.images, TRAIN.labels, TEST.images, TEST.labels)
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def find_file(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder, plain before gzipped (a third of a second faster)."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


@dataclass(frozen=True)
class Proof:
    """The SHA-256 of what was read, beside that of Fashion-MNIST's file."""

    path: Path
    spec: DataFile
    stat: os.stat_result  # from before it was read
    sha256: str

    @property
    def holds(self) -> bool:
        """Whether it is Fashion-MNIST's file."""
        return self.sha256 == self.spec.sha256

    def check(self, cache: Path | None) -> None:
        """Note in the cache that the file is proved. Raises DataError where it is another."""
        check_hash(str(self.path), self.spec, self.sha256)
        if not is_noted(cache, self.path, self.spec):
            note(cache, self.path, self.stat, self.spec)


def read_file(
    path: Path, spec: DataFile, dims: int, cache: Path | None = None
) -> tuple[np.ndarray, Proof]:
    """Read a file of bytes with so many dimensions, and see whether it is Fashion-MNIST's.

    Parameters
    ----------
    path: the file. spec: Fashion-MNIST's in its place.
    cache: the folder in which it is noted what was proved; None hashes each time.

    Raises
    ------
    DataError: it is damaged, or holds something else than its name says.
    """
    noted = is_noted(cache, path, spec)
    digest = None if noted else hashlib.sha256()
    before = path.stat()
    array = read_idx(path, digest)
    if array.ndim != dims or array.dtype != np.uint8:
        raise DataError(
            f"{path}: {array.dtype} of {array.ndim} dimensions, expected uint8 of {dims}; "
            "it is not the file that its name says"
        )
    return array, Proof(path, spec, before, digest.hexdigest() if digest else spec.sha256)


def check_as_many(images: Proof, labels: Proof, n_images: int, n_labels: int) -> None:
    """Raise DataError unless there are as many images as labels."""
    if n_images != n_labels:
        raise DataError(
            f"{images.path.parent}: {n_images:,} images in {images.path.name} but {n_labels:,} "
            f"labels in {labels.path.name}; they belong together, get both from one source"
        )


def read_split(
    folder: Path, split: Split, *, verify: bool = True, cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of one split, and prove that they are Fashion-MNIST's.

    Parameters
    ----------
    folder: holds the two files, gzipped or not.
    verify: False takes any images with labels 0…9 in these files; their hashes are not looked at.
    cache: the folder in which it is noted what was proved; None proves it each time.

    Returns
    -------
    images, uint8 of shape (N, 28, 28), and labels, int64 of shape (N,).

    Raises
    ------
    DataError: a file is missing or damaged, images and labels differ in number, a label is outside
        0…9, or (with verify) the bytes are not those of Fashion-MNIST.
    """
    arrays, proofs = [], []
    for spec, dims in ((split.images, 3), (split.labels, 1)):
        path = find_file(folder, spec.name)
        if path is None:
            raise DataError(f"{folder}: it has no {spec.name}, nor {spec.name}.gz")
        array, proof = read_file(path, spec, dims, cache)
        arrays.append(array)
        proofs.append(proof)
    images, labels = arrays
    check_as_many(proofs[0], proofs[1], len(images), len(labels))
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise DataError(
            f"{folder}: label {labels[wrong[0]]} at index {wrong[0]} of {split.labels.name} is "
            f"outside 0…{len(CLASSES) - 1} ({len(wrong):,} such labels)"
        )
    if verify:
        for proof in proofs:
            proof.check(cache)
    return images, labels.astype(np.int64)


def check_hash(what: str, spec: DataFile, got: str) -> None:
    """Raise DataError unless the SHA-256 of the decompressed bytes is that of the file."""
    if got != spec.sha256:
        raise DataError(
            f"{what}: this is not Fashion-MNIST's {spec.name}, or it is damaged; "
            f"SHA-256 of its decompressed bytes {got}, expected {spec.sha256}"
        )


# ---- what was proved before -----------------------------------------------------------------


def _notes(cache: Path) -> dict[str, list[object]]:
    try:
        notes = json.loads((cache / "verified.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def is_noted(cache: Path | None, path: Path, spec: DataFile) -> bool:
    """True where this very file (path, size, modification time) was proved to be `spec` before."""
    if cache is None:
        return False
    stat = path.stat()
    return _notes(cache).get(str(path.resolve())) == [stat.st_size, stat.st_mtime_ns, spec.sha256]


def note(cache: Path | None, path: Path, stat: os.stat_result, spec: DataFile) -> None:
    """Note that the file is proved; where the cache cannot be written, the next start hashes."""
    if cache is None:
        return
    notes = _notes(cache)
    notes[str(path.resolve())] = [stat.st_size, stat.st_mtime_ns, spec.sha256]
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(cache / "verified.json", json.dumps(notes, indent=1))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all, piece by piece: under another name, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
