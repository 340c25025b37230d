"""A file of ours is read whatever its first bytes, which are the size of its header."""

from __future__ import annotations

import io

import pytest
import torch

import npmlp
from npmlp.errors import CheckpointError
from npmlp.serialization import encode


def test_every_size_of_header_is_read_also_one_that_begins_like_a_pickle():
    first_bytes = set()
    for padding in range(260):
        saved = {"w": npmlp.ones(2), "note": "x" * padding}
        content = encode(saved)
        first_bytes.add(content[0])
        assert npmlp.load(io.BytesIO(content))["note"] == saved["note"]
    assert 0x80 in first_bytes  # how a pickle begins


def test_a_header_whose_size_reads_pk_like_a_zip_archive_is_read():
    content = encode("x" * 20_000)
    padding = int.from_bytes(b"PK", "little") - int.from_bytes(content[:8], "little")
    content = encode("x" * (20_000 + padding))
    assert content[:2] == b"PK"  # how PyTorch's archives begin
    assert npmlp.load(io.BytesIO(content)) == "x" * (20_000 + padding)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_pytorch_is_refused_with_what_to_do(zipped):
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    with pytest.raises(CheckpointError, match="written by PyTorch as a pickle"):
        npmlp.load(file)
