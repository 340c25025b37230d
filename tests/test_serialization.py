"""save and load: what goes in comes out, and what cannot is refused with a sentence."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from beside_torch import DTYPES, numbers

import npmlp
from npmlp.errors import CheckpointError


def through_file(obj: Any, path: Path) -> Any:
    npmlp.save(obj, path)
    return npmlp.load(path)


def assert_equal(a: Any, b: Any) -> None:
    """Equal in structure, types and bits."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)  # with their order
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, (npmlp.Tensor, np.ndarray)):
        x, y = (v.detach().numpy() if isinstance(v, npmlp.Tensor) else v for v in (a, b))
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tobytes() == y.tobytes()
    else:
        assert a == b or (math.isnan(a) and math.isnan(b))


NESTED: dict[str, Any] = {
    "a tensor": npmlp.ones(2, 3),
    "a number": 3,
    "nothing": None,
    "empty": {"dict": {}, "list": [], "tuple": (), "tensor": npmlp.zeros(0, 3)},
    "plain values": [1, 2.5, 1e-300, -0.0, math.inf, math.nan, True, False, None, "ü\n\"", 2**80],
    "every dtype": {d: npmlp.from_numpy(numbers((2, 3), d)) for d in DTYPES},
    "shapes": [npmlp.tensor(2.5), npmlp.ones(1), npmlp.ones(2, 1, 3).permute(2, 0, 1)],
    "arrays": {"of numpy": np.arange(6, dtype=np.int32).reshape(2, 3), "bits": np.float16([1, 2])},
    "keys": {1: "int", "1": "str", 2.5: "float", "a.b": {"c": npmlp.ones(1)}},
    "keys that clash": {"a": {"b": npmlp.ones(1)}, "a.b": npmlp.zeros(1), "a'": npmlp.ones(2)},
    "keys of the format": {"__metadata__": npmlp.ones(1), "tensor": 1, "dict": {"tensor": "x"}},
    "an optimizer": {
        "state": {0: {"step": 3, "exp_avg": npmlp.ones(2)}, 1: {"step": 3, "exp_avg": None}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1]}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    assert_equal(through_file(NESTED[name], tmp_path / "file.pt"), NESTED[name])


def test_loaded_tensors_are_leaves_of_their_own(tmp_path: Path) -> None:
    w = npmlp.ones(2, requires_grad=True)
    loaded = through_file({"w": w, "again": w, "view": (w * 2)[:1]}, tmp_path / "w")
    assert not loaded["w"].requires_grad
    loaded["w"].add_(1)
    assert loaded["w"].tolist() == [2, 2]
    assert loaded["again"].tolist() == w.tolist() == [1, 1]
    assert loaded["view"].tolist() == [2]


def test_scalars_of_numpy_become_python_numbers(tmp_path: Path) -> None:
    loaded = through_file([np.float64(2.5), np.int64(3), np.bool_(True)], tmp_path / "s")
    assert_equal(loaded, [2.5, 3, True])


def test_files_and_paths_of_every_kind(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    npmlp.save({"w": npmlp.ones(2)}, buffer)
    buffer.seek(0)
    assert npmlp.load(buffer)["w"].tolist() == [1, 1]
    for path in (tmp_path / "model.pt", str(tmp_path / "no suffix"), tmp_path / "ü.safetensors"):
        assert through_file({"w": npmlp.ones(2)}, path)["w"].tolist() == [1, 1]
    with open(tmp_path / "model.pt", "rb") as file:
        assert npmlp.load(file, map_location="cpu", weights_only=True)["w"].tolist() == [1, 1]
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "no suffix", "ü.safetensors"]


def test_saving_over_a_file_replaces_it_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    npmlp.save({"w": npmlp.ones(2)}, path)
    with pytest.raises(CheckpointError):
        npmlp.save({"w": npmlp.zeros(2), "bad": object()}, path)
    assert npmlp.load(path)["w"].tolist() == [1, 1]
    npmlp.save({"w": npmlp.zeros(2)}, path)
    assert npmlp.load(path)["w"].tolist() == [0, 0]
    assert os.listdir(tmp_path) == ["model.pt"]


# ------------------------------------------------------------------------------ what is refused


class Module:
    def state_dict(self) -> dict[str, Any]:
        return {"w": npmlp.ones(1)}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (Module(), r"save: got a Module; only tensors.*Save obj.state_dict\(\)"),
        ({"model": Module()}, r"got a Module at 'model'.*state_dict\(\)"),
        ({"a": [1, {2, 3}]}, r"got a set at 'a.1'.*Save the state_dict\(\) of a module"),
        ({"a": torch.ones(2)}, "got a Tensor at 'a'"),
        ({(1, 2): 3}, "a dict's key is a tuple, expected str or int"),
        ({None: 3}, "key is a NoneType"),
        (lambda: 0, "got a function"),
        (1j, "got a complex"),
    ],
)
def test_anything_else_is_refused(obj: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        npmlp.save(obj, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_pytorchs_own_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / "model.pt"
        torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"as a pickle.*run code.*safetensors.torch.save"):
            npmlp.load(path)


def test_a_header_of_any_length_is_no_pickle(tmp_path: Path) -> None:
    """The length stands first: 384 bytes read like the start of a pickle."""
    starts = set()
    for n in range(1, 200):
        path = tmp_path / "x"
        npmlp.save({"k" * n: npmlp.ones(1)}, path)
        content = path.read_bytes()
        starts.add(content[:2])
        assert list(npmlp.load(path)) == ["k" * n]
        path.write_bytes(content[:-1])
        with pytest.raises(CheckpointError, match="not a whole file"):
            npmlp.load(path)
    assert b"\x80\x01" in starts


def test_plain_safetensors_are_a_dict_of_tensors(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    arrays = {"b": numbers((2,), "float32"), "a": numbers((2, 3), "int64")}
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    loaded = npmlp.load(path)
    assert {k: v.tolist() for k, v in loaded.items()} == {k: v.tolist() for k, v in arrays.items()}
    assert all(isinstance(v, npmlp.Tensor) for v in loaded.values())


def test_our_files_are_safetensors_to_others(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    npmlp.save({"layer": {"weight": npmlp.ones(2, 3)}, "lr": 0.1}, path)
    arrays = safetensors.numpy.load_file(path)
    assert list(arrays) == ["layer.weight"]
    assert arrays["layer.weight"].tolist() == [[1.0] * 3] * 2


def test_a_damaged_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    npmlp.save({"w": npmlp.ones(20), "epoch": 3}, path)
    content = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 50, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=rf"not a whole file of npmlp: {length} bytes"):
            npmlp.load(path)
    for other in (b"not a checkpoint", b"\x00" * 100, b"\x80" * 40, b"PK\x03\x04" + b"\x00" * 40):
        path.write_bytes(other)
        with pytest.raises(CheckpointError, match=r"load: .* (whole|a pickle)"):
            npmlp.load(path)


def test_a_damaged_structure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for tree in ("{", '{"tensor": "missing"}', '{"a": 1, "b": 2}', '{"dict": 3}', '{"dict": [[1]]}',
                 '{"neither": [1]}', "[]"):  # fmt: skip
        arrays = {"w": numbers((2,), "float32")}
        safetensors.numpy.save_file(arrays, path, metadata={"npmlp": tree})
        with pytest.raises(CheckpointError, match=r"the structure in .* is damaged"):
            npmlp.load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*nowhere.pt: No such file"):
        npmlp.load(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        npmlp.load(tmp_path)


def test_loading_runs_no_code() -> None:
    """The structure is JSON; a name in it stands for a tensor and for nothing else."""
    header = json.dumps({"__metadata__": {"npmlp": '{"eval": "1/0"}'}}).encode()
    content = len(header).to_bytes(8, "little") + header
    with pytest.raises(CheckpointError, match="damaged"):
        npmlp.load(io.BytesIO(content))


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.pt"
    with pytest.raises(CheckpointError) as error:
        npmlp.save({}, path)
    assert str(error.value) == f"save: cannot write {path}: there is no folder {path.parent}"
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"save: cannot write .*/folder: Is a directory"):
        npmlp.save({}, tmp_path / "folder")
