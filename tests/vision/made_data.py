"""A made-up data set in Fashion-MNIST's files: small, with its own sizes and hashes."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

from npmlp.vision.files import TEST, TRAIN, DataFile, Split
from npmlp.vision.idx import write_idx


def idx_bytes(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    write_idx(file, values)
    return file.getvalue()


def contents(n_train: int = 30, n_test: int = 10, seed: int = 0) -> dict[str, bytes]:
    """From the name of each of the four files to its bytes."""
    rng = np.random.default_rng(seed)
    files = {}
    for split, n in ((TRAIN, n_train), (TEST, n_test)):
        files[split.images.name] = idx_bytes(rng.integers(0, 256, (n, 28, 28), np.uint8))
        files[split.labels.name] = idx_bytes(rng.integers(0, 10, n, np.uint8))
    return files


def splits_of(files: dict[str, bytes]) -> tuple[Split, Split]:
    """TRAIN and TEST with the sizes and hashes of these files in place of the real ones."""

    def spec(name: str) -> DataFile:
        return DataFile(name, len(files[name]), hashlib.sha256(files[name]).hexdigest())

    return tuple(  # type: ignore[return-value]
        Split(spec(split.images.name), spec(split.labels.name)) for split in (TRAIN, TEST)
    )


def write(folder: Path, files: dict[str, bytes], gzipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def patterns(
    shape: tuple[int, int], classes: int, n_train: int = 240, n_test: int = 60, first: int = 0
) -> dict[str, np.ndarray]:
    """A data set that a network can learn: each class is bright in a band of its own.

    From "train images", "train labels" and so on to arrays; labels begin with `first`.
    """
    rng = np.random.default_rng(7)
    height, width = shape
    found = {}
    for part, n in (("train", n_train), ("test", n_test)):
        labels = rng.permutation(np.arange(n) % (classes - first) + first).astype(np.uint8)
        images = rng.integers(0, 120, (n, height, width), np.uint8)
        rows = np.arange(height) * classes // height
        images[rows == labels[:, None]] += 120
        found |= {f"{part} images": images, f"{part} labels": labels}
    return found


IDX_NAMES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}


def write_patterns(
    folder: Path, arrays: dict[str, np.ndarray], prefix: str = "", gzipped: bool = False
) -> Path:
    """Write a data set as IDX."""
    names = {prefix + IDX_NAMES[role]: idx_bytes(values) for role, values in arrays.items()}
    return write(folder, names, gzipped)
