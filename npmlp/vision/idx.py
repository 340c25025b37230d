"""IDX, the format of MNIST and its kin: a magic number, the sizes, and then the values.

Bytes 0 and 1 are zero, byte 2 names the dtype, byte 3 the number of dimensions; then each size as a
big-endian uint32, then the values in C order, big-endian. Gzipped or not is seen from the content.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "the IDX file format".
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np

from npmlp.errors import DataError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_BYTES = 1 << 40  # a header that promises more than a tebibyte is a damaged one


class Digest(Protocol):
    """What hashlib's objects do: take bytes."""

    def update(self, data: Any, /) -> None: ...


@contextlib.contextmanager
def open_maybe_gzip(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacking it on the way where its content is gzip.

    Raises
    ------
    DataError: the file is missing or unreadable, or its gzip stream is damaged or cut short.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if gzipped:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast(IO[bytes], unpacked)
            else:
                yield raw
    except EOFError:
        raise DataError(f"{path}: the gzip file is cut short; get a complete copy of it") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error})") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_idx(path: str | os.PathLike[str], digest: Digest | None = None) -> np.ndarray:
    """Read an IDX file of any dtype and number of dimensions, gzipped or not.

    Parameters
    ----------
    path: the file; whether it is gzipped is seen from its content, not from its name.
    digest: a hashlib object that is fed the decompressed bytes of the whole file.

    Returns
    -------
    The values in the machine's byte order, shape as in the file's header.

    Raises
    ------
    DataError: the magic number is not IDX's, or there are fewer or more bytes than the header says.
    """
    with open_maybe_gzip(path) as file:
        magic = file.read(4)
        if len(magic) < 4:
            raise DataError(f"{path}: {len(magic)} bytes, too short for an IDX file")
        if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
            raise DataError(
                f"{path}: the magic number is 0x{magic.hex()}, which is not an IDX file's "
                "(0x00000803 for images, 0x00000801 for labels)"
            )
        dims = magic[3]
        sizes = file.read(4 * dims)
        if len(sizes) < 4 * dims:
            raise DataError(f"{path}: truncated in its header, before the last of {dims} sizes")
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
        dtype = np.dtype(_DTYPES[magic[2]])
        expected = int(np.prod([*shape, dtype.itemsize], dtype=object))
        if expected > _MOST_BYTES:
            raise DataError(
                f"{path}: the header says shape {shape}, which cannot be; it is damaged"
            )

        values = np.empty(shape, dtype)  # filled in place: a copy of 47 MB is not held twice
        body = values.reshape(-1).view(np.uint8)
        got = _fill(file, body.data) if expected else 0
        if got < expected:
            raise DataError(
                f"{path}: truncated, {got:,} bytes of values where its header, shape {shape}, "
                f"promises {expected:,}"
            )
        if file.read(1):
            raise DataError(f"{path}: longer than its header says (shape {shape}, {dtype.name})")
    if digest is not None:
        digest.update(magic + sizes)
        digest.update(body)
    return values.astype(dtype.newbyteorder("="), copy=False)


def write_idx(file: IO[bytes], values: np.ndarray) -> None:
    """Write an array as IDX into a file that is open for writing bytes."""
    big_endian = values.dtype.newbyteorder(">")
    codes = {np.dtype(name): code for code, name in _DTYPES.items()}
    if big_endian not in codes:
        raise DataError(
            f"write_idx: IDX has no {values.dtype}; it has uint8, int8, int16, int32, "
            "float32 and float64"
        )
    file.write(bytes([0, 0, codes[big_endian], values.ndim]))
    file.write(np.array(values.shape, ">u4").tobytes())
    file.write(np.ascontiguousarray(values, big_endian).data)


def _fill(file: IO[bytes], buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; the number of bytes read."""
    got = 0
    while got < len(buffer):
        n = file.readinto(buffer[got:])  # type: ignore[attr-defined]
        if not n:
            break
        got += n
    return got
