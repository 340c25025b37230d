"""A folder of CSV files is a data set like one of IDX files, and its faults end a training."""

from __future__ import annotations

import gzip
from pathlib import Path

import made_data
import numpy as np
import pytest

from npmlp import commands, train
from npmlp.errors import DataError
from npmlp.vision.folders import TABLES, expect_data, table_digest
from npmlp.vision.images import FASHION_MNIST_FACTS, load_image_data, load_test_images

ARRAYS = made_data.patterns((8, 8), 3, n_train=40, n_test=20)
HEADER = "label," + ",".join(f"pixel{i}" for i in range(1, 65))


def table(images: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    rows: list[list[int]] = np.c_[labels, images.reshape(len(images), -1)].astype(int).tolist()
    return rows


def write(path: Path, rows: list[list[int]], header: str = "") -> Path:
    text = (f"{header}\n" if header else "") + "".join(",".join(map(str, r)) + "\n" for r in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_folder(folder: Path, arrays=ARRAYS, names="{}.csv", header: str = "") -> Path:
    for part in ("train", "test"):
        rows = table(arrays[f"{part} images"], arrays[f"{part} labels"])
        write(folder / names.format(part), rows, header)
    return folder


@pytest.mark.parametrize(
    "names", ["{}.csv", "{}.csv.gz", "fashion-mnist_{}.csv", "mnist_{}.csv.gz"]
)
@pytest.mark.parametrize("header", ["", HEADER])
def test_it_gives_the_arrays_that_idx_files_give(tmp_path, names, header):
    csv = load_image_data(write_folder(tmp_path / "csv", names=names, header=header))
    idx = load_image_data(made_data.write_patterns(tmp_path / "idx", ARRAYS))
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        ours, theirs = getattr(csv, field), getattr(idx, field)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for field in ("classes", "mean", "deviation", "shape"):
        assert getattr(csv, field) == getattr(idx, field)
    assert csv.facts()["test_sha256"] == idx.facts()["test_sha256"]


def test_idx_files_are_read_where_both_are_there(tmp_path):
    write_folder(tmp_path, {role: values[:10] for role, values in ARRAYS.items()})
    made_data.write_patterns(tmp_path, ARRAYS)
    assert len(load_image_data(tmp_path).train_images) == 40


@pytest.fixture(scope="module")
def real():
    return load_image_data()


@pytest.fixture(scope="module")
def real_csv(tmp_path_factory, real) -> Path:
    """2,000 training images of Fashion-MNIST, and all test images."""
    some = {
        "train images": real.train_images[:2000], "train labels": real.train_labels[:2000],
        "test images": real.test_images, "test labels": real.test_labels,
    }  # fmt: skip
    return write_folder(tmp_path_factory.mktemp("csv"), some, "fashion-mnist_{}.csv")


def test_real_fashion_mnist_as_csv_has_the_arrays_of_its_idx_files(real, real_csv, capsys):
    found = load_image_data(real_csv)
    np.testing.assert_array_equal(found.train_images, real.train_images[:2000])
    np.testing.assert_array_equal(found.train_labels, real.train_labels[:2000])
    np.testing.assert_array_equal(found.test_images, real.test_images)
    np.testing.assert_array_equal(found.test_labels, real.test_labels)
    assert "fashion-mnist_test.csv (22 MB), which takes some seconds" in capsys.readouterr().err
    assert found.name != "Fashion-MNIST"  # 2,000 of its training images are not the data set


def test_fashion_mnist_as_csv_is_known_in_any_order(real, real_csv, tmp_path):
    lines = (real_csv / "fashion-mnist_test.csv").read_text().splitlines(keepends=True)
    order = np.random.default_rng(0).permutation(10_000)
    (tmp_path / "test.csv").write_text("".join(lines[i] for i in order))
    [(images, labels)], proved = expect_data(tmp_path, "").read(["test"], None)
    assert proved
    np.testing.assert_array_equal(images, real.test_images[order])
    labels[7] = (labels[7] + 1) % 10
    assert table_digest(images, labels) != TABLES["test"]
    # writing 60,000 rows takes too long for a test
    assert table_digest(real.train_images[::-1], real.train_labels[::-1]) == TABLES["train"]

    # in another order, the halves that a run chooses and reports on would mix
    with pytest.raises(DataError, match="not the test images of the run"):
        load_test_images(FASHION_MNIST_FACTS, tmp_path)


# ---- faults ----------------------------------------------------------------------------------


FAULTS = {
    "column count": ((3, slice(-1, None), []), "line 4 has 64 columns, expected 65"),
    "not a number": ((3, 5, "black"), "line 4, column 6: 'black' is not a whole number"),
    "too bright": ((3, 5, 256), "line 4, column 6: the pixel is 256, expected 0 to 255"),
    "negative": ((3, 5, -1), "line 4, column 6: the pixel is -1, expected 0 to 255"),
    "label": ((3, 0, "2.5"), "line 4, column 1: '2.5' is not a whole number"),
    "first row": ((0, slice(-1, None), []), "line 1 has 64 columns, expected the label and then"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_a_training_with_file_line_and_column(tmp_path, capsys, fault):
    (row, column, value), message = FAULTS[fault]
    write_folder(tmp_path)
    rows: list = table(ARRAYS["train images"], ARRAYS["train labels"])
    rows[row][column] = value
    write(tmp_path / "train.csv", rows)
    out = tmp_path / "run"
    code = commands.run(train.main, ["--data", str(tmp_path), "--epochs", "1", "--out", str(out)])
    assert code == 2 and not out.exists()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {tmp_path / 'train.csv'}: {message}")
    assert len(printed.err.splitlines()) == 1


def test_a_missing_test_file_and_tables_of_two_sizes_are_told(tmp_path):
    write_folder(tmp_path)
    other = made_data.patterns((7, 7), 3)
    write(tmp_path / "test.csv", table(other["test images"], other["test labels"]))
    with pytest.raises(DataError, match=r"test.csv: images of 7 × 7 pixels, but .* have 8 × 8"):
        load_image_data(tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"has no file with the test, only train\.csv"):
        load_image_data(tmp_path)
