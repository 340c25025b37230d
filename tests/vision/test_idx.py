"""IDX: what was written is read, and each kind of damage has its own sentence."""

from __future__ import annotations

import gzip
import hashlib
import io

import numpy as np
import pytest

from npmlp.errors import DataError
from npmlp.vision.idx import read_idx, write_idx

MAGIC_OF_IMAGES = b"\0\0\x08\x03"


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 7, 7), (2, 1, 3, 1)])
@pytest.mark.parametrize("gzipped", [False, True])
def test_what_is_written_is_read(tmp_path, dtype, shape, gzipped):
    values = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    file = io.BytesIO()
    write_idx(file, values)
    path = tmp_path / "values"  # no .gz in the name: the content decides
    path.write_bytes(gzip.compress(file.getvalue()) if gzipped else file.getvalue())
    read = read_idx(path)
    assert read.dtype == values.dtype and read.shape == shape
    np.testing.assert_array_equal(read, values)


def test_the_header_is_the_one_that_lecun_describes(tmp_path):
    path = tmp_path / "by-hand"
    path.write_bytes(
        b"\0\0\x0b\x02"
        + b"\0\0\0\x02"
        + b"\0\0\0\x03"
        + bytes([0, 1, 0, 2, 0, 3, 1, 0, 255, 255, 0, 6])
    )
    assert read_idx(path).tolist() == [[1, 2, 3], [256, -1, 6]]


def test_the_digest_gets_the_decompressed_bytes(tmp_path):
    content = MAGIC_OF_IMAGES + (b"\0\0\0\x02" * 3) + bytes(range(8))
    (tmp_path / "a").write_bytes(gzip.compress(content))
    digest = hashlib.sha256()
    read_idx(tmp_path / "a", digest)
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


def test_what_is_read_can_be_written_to(tmp_path):
    (tmp_path / "a").write_bytes(b"\0\0\x08\x01\0\0\0\x02ab")
    values = read_idx(tmp_path / "a")
    values[0] = 7
    assert values.tolist() == [7, ord("b")]


WHOLE = MAGIC_OF_IMAGES + (b"\0\0\0\x02" * 3) + bytes(8)
# without the time, which would make tests' names differ between processes
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, too short"),
        (b"\0\0\x08", "3 bytes, too short"),
        (WHOLE[:9], "truncated in its header"),
        (WHOLE[:-3], r"truncated, 5 bytes .* shape \(2, 2, 2\), promises 8"),
        (WHOLE + b"x", "longer than its header says"),
        (b"\0\0\x07\x03" + WHOLE[4:], "magic number is 0x00000703"),
        (b"\x89PNG" + WHOLE[4:], "magic number is 0x89504e47"),
        (b"\0\0\x08\0", "magic number is 0x00000800"),
        (MAGIC_OF_IMAGES + b"\xff" * 12, "cannot be"),
        (PACKED[:-12], "gzip file is cut short"),
        (PACKED[:11], "gzip file is cut short"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "gzip file is damaged"),
        (PACKED[:10] + b"\xff\xff\xff" + PACKED[13:], "gzip file is damaged"),
    ],
)
def test_each_damage_is_named_with_the_file(tmp_path, content, message):
    path = tmp_path / "damaged-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"damaged-idx: .*{message}"):
        read_idx(path)


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_a_dtype_that_idx_has_not_is_refused_when_writing():
    with pytest.raises(DataError, match="IDX has no int64"):
        write_idx(io.BytesIO(), np.zeros(3, np.int64))
