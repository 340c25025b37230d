"""CSV: images and labels as they were written, and faults named by line and column."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from npmlp.errors import DataError
from npmlp.vision.csv import read_csv

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (7, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 7)
ROWS = [
    [str(v) for v in (label, *image.ravel())] for label, image in zip(LABELS, IMAGES, strict=True)
]
NAMES = ["label"] + [f"pixel{i}" for i in range(1, 785)]


def text(rows, newline="\n"):
    return "".join(",".join(row) + newline for row in rows).encode()


@pytest.mark.parametrize(
    "header",
    [
        [],
        [NAMES],
        [[f'"{name}"' for name in NAMES]],
        [["label", *map(str, range(784))]],
        [["label", *map(str, range(1, 785))]],
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_785_columns_become_images_and_labels(tmp_path, header, gzipped, newline):
    content = text([*header, *ROWS], newline)
    (tmp_path / "a.csv").write_bytes(gzip.compress(content) if gzipped else content)
    images, labels = read_csv(tmp_path / "a.csv")
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_a_byte_order_mark_empty_lines_spaces_and_no_last_newline_do_no_harm(tmp_path):
    content = b"\xef\xbb\xbf" + text(ROWS[:2]) + b"\n  \n" + text([ROWS[2]]).replace(b",", b" , ")
    (tmp_path / "a.csv").write_bytes(content.rstrip())
    images, labels = read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(images, IMAGES[:3])
    np.testing.assert_array_equal(labels, LABELS[:3])


def test_a_single_row_is_a_data_set_of_one(tmp_path):
    (tmp_path / "a.csv").write_bytes(text(ROWS[:1]))
    assert read_csv(tmp_path / "a.csv")[0].shape == (1, 28, 28)


def test_images_of_another_size_are_read_when_asked_for(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"3,1,2,3,4,5,6\n")
    images, labels = read_csv(tmp_path / "a.csv", shape=(2, 3))
    assert images.tolist() == [[[1, 2, 3], [4, 5, 6]]] and labels.tolist() == [3]


def with_cell(line, column, value):
    rows = [NAMES, *[list(row) for row in ROWS]]
    rows[line - 1][column - 1] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_cell(4, 19, "x7"), "line 4, column 19: 'x7' is not a whole number"),
        (with_cell(2, 785, ""), "line 2, column 785: '' is not a whole number"),
        (with_cell(3, 2, "1.5"), r"line 3, column 2: '1\.5' is not a whole number"),
        (with_cell(3, 2, "nan"), "line 3, column 2: 'nan' is not a whole number"),
        (with_cell(8, 100, "256"), "line 8, column 100: the pixel is 256, expected 0 to 255"),
        (with_cell(5, 2, "-1"), "line 5, column 2: the pixel is -1, expected 0 to 255"),
        (with_cell(5, 2, "99999"), "line 5, column 2: the pixel is 99999"),
        (with_cell(6, 1, "-3"), "line 6, column 1: the label is -3"),
        (with_cell(6, 1, "nine"), "line 6, column 1: 'nine' is not a whole number"),
        ([*ROWS[:3], ROWS[3][:-1], *ROWS[4:]], "line 4 has 784 columns, expected 785"),
        ([row[:-1] for row in ROWS], "line 1 has 784 columns, expected 785"),
        ([row + ["0"] for row in ROWS], "line 1 has 786 columns, expected 785"),
        ([["9", "black", *ROWS[0][2:]], *ROWS], "line 1, column 2: 'black' is not a whole number"),
        ([["cat", *ROWS[0][1:]], *ROWS], "line 1, column 1: 'cat' is not a whole number"),
        ([], "no rows; expected 785 columns"),
        ([NAMES], "no rows; expected 785 columns"),
    ],
)
def test_a_fault_is_named_by_file_line_and_column(tmp_path, rows, message):
    (tmp_path / "bad.csv").write_bytes(text(rows))
    with pytest.raises(DataError, match=f"bad.csv: {message}"):
        read_csv(tmp_path / "bad.csv")


def test_a_gzip_cut_short_and_a_missing_file_are_data_errors(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text(ROWS))[:-20])
    with pytest.raises(DataError, match="cut short"):
        read_csv(tmp_path / "a.csv.gz")
    with pytest.raises(DataError, match="there is no such file"):
        read_csv(tmp_path / "b.csv")


@pytest.mark.parametrize("side", [1, 8, 28])
def test_without_a_shape_images_are_squares_of_as_many_pixels_as_there_are(tmp_path, side):
    images = IMAGES[:, :side, :side]
    rows = [[str(v) for v in (7, *image.ravel())] for image in images]
    (tmp_path / "a.csv").write_bytes(text([["label", *map(str, range(side**2))], *rows]))
    np.testing.assert_array_equal(read_csv(tmp_path / "a.csv", None)[0], images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows; expected a label first"),
        (b"label,1x1\n\n", "no rows; expected a label first"),
        (b"a,b,c\n\n1,2,3\n", "line 3 has 3 columns, expected the label and then .* square"),
        (b"a;b;c\n1;2;3;4;5\n", "line 2 has 1 columns, expected .* separated by commas"),
        (b"1,2,3,4,5\n1,2,3,4\n", "line 2 has 4 columns, expected 5"),
        (b"1,2,3,4,1_0\n", "line 1, column 5: '1_0' is not a whole number"),
    ],
)
def test_without_a_shape_faults_are_named_too(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"a.csv: {message}"):
        read_csv(tmp_path / "a.csv", None)
