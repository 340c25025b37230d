"""save and load: nested dicts and lists of tensors and plain values, as safetensors and JSON.

One file, whatever it is called: the tensors as safetensors keeps them, and in the header's metadata
a JSON text of the structure around them, in which `{"tensor": name}` stands for a tensor. Reading
such a file runs no code, unlike a pickle.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from npmlp.errors import CheckpointError
from npmlp.files import write_atomically
from npmlp.tensor import Tensor

_KEY = "npmlp"


def save(obj: Any, f: Any) -> None:
    """Write dicts, lists and tuples of tensors, arrays, numbers, strings, None to `f`.

    Parameters: `f`, a path (written to a temporary name, then renamed) or a binary file.
    Raises: CheckpointError for anything else, such as a whole Module, and for a path that cannot be
    written.

    >>> import npmlp, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.pt")
    >>> npmlp.save({"w": npmlp.ones(2), "epoch": 3}, path)
    >>> npmlp.load(path)
    {'w': tensor([1., 1.]), 'epoch': 3}
    """
    content = encode(obj)
    if hasattr(f, "write"):
        f.write(content)
    else:
        try:
            write_atomically(f, content)
        except OSError as error:
            path = os.fspath(f)
            folder = os.path.dirname(path) or "."
            why = error.strerror if os.path.isdir(folder) else f"there is no folder {folder}"
            raise CheckpointError(f"save: cannot write {path}: {why}") from None


def load(f: Any, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read what `save` wrote. `map_location` and `weights_only` are accepted and change nothing.

    Raises: CheckpointError where the file is damaged or was not written by npmlp.
    """
    if hasattr(f, "read"):
        return decode(f.read(), "the file")
    try:
        with open(f, "rb") as file:
            content = file.read()
    except OSError as error:
        raise CheckpointError(f"load: cannot read {os.fspath(f)}: {error.strerror}") from None
    return decode(content, os.fspath(f))


def encode(obj: Any) -> bytes:
    """The bytes of a file with `obj` in it."""
    from safetensors.numpy import save as to_bytes

    tensors: dict[str, np.ndarray[Any, Any]] = {}
    tree = _to_tree(obj, tensors, "")
    return to_bytes(tensors, metadata={_KEY: json.dumps(tree)})


def _to_tree(obj: Any, tensors: dict[str, np.ndarray[Any, Any]], path: str) -> Any:
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, (Tensor, np.ndarray)):
        name = path or "value"
        # the keys 1 and "1" give the same path; one name belongs to the format
        while name in tensors or name == "__metadata__":
            name += "'"
        array = obj if isinstance(obj, np.ndarray) else obj._data
        tensors[name] = np.array(array, order="C")
        return {"tensor" if isinstance(obj, Tensor) else "array": name}
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, dict):
        for key in obj:
            if not isinstance(key, (str, int, float, bool)):
                raise CheckpointError(
                    f"save: a dict's key is a {type(key).__name__}, expected str or int"
                )
        items = [
            [k, _to_tree(v, tensors, f"{path}.{k}" if path else str(k))] for k, v in obj.items()
        ]
        return {"dict": items}
    if isinstance(obj, (list, tuple)):
        items = [_to_tree(v, tensors, f"{path}.{i}" if path else str(i)) for i, v in enumerate(obj)]
        return {"tuple" if isinstance(obj, tuple) else "list": items}
    where = f" at {path!r}" if path else ""
    hint = (
        "obj.state_dict()"
        if hasattr(obj, "state_dict")
        else "the state_dict() of a module or optimizer"
    )
    raise CheckpointError(
        f"save: got a {type(obj).__name__}{where}; only tensors, numbers, strings, None and dicts "
        f"and lists of them are saved. Save {hint}"
    )


def decode(content: bytes, origin: str) -> Any:
    """What `encode` was given. `origin` names the file in error messages."""
    tensors, metadata = read_safetensors(content, origin)
    if _KEY not in metadata:  # a plain safetensors file: its tensors by name, a state_dict
        return {name: Tensor._wrap(array) for name, array in tensors.items()}
    try:
        return _from_tree(json.loads(metadata[_KEY]), tensors)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"load: the structure in {origin} is damaged ({error})") from None


def read_safetensors(
    content: bytes, origin: str
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """The arrays and the metadata of a safetensors file. Raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        arrays = from_bytes(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
    except (SafetensorError, ValueError, KeyError) as error:
        # asked only now: a file of ours may begin with these bytes too, they are its header's size,
        # of eight bytes of which the upper four are zero
        pickled = content[:2] == b"PK" or content[:1] == b"\x80"
        if pickled and content[4:8] != bytes(4):
            raise CheckpointError(
                f"load: {origin} was written by PyTorch as a pickle, which npmlp does not open "
                "because it can run code; there, save it with "
                "safetensors.torch.save_file(state_dict, path)"
            ) from None
        raise CheckpointError(
            f"load: {origin} is not a whole file of npmlp: {len(content)} bytes, {error}"
        ) from None
    # arrays read from bytes are read-only views of them
    return {name: a.copy() for name, a in arrays.items()}, header.get("__metadata__", {})


def _from_tree(tree: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(tree, list):
        raise ValueError("a list stands where a value should")
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return Tensor._wrap(tensors[value])
    if kind == "array":
        return tensors[value]
    if kind == "dict":
        return {k: _from_tree(v, tensors) for k, v in value}
    if kind not in ("list", "tuple"):
        raise ValueError(f"there is no kind {kind!r}")
    items = [_from_tree(v, tensors) for v in value]
    return tuple(items) if kind == "tuple" else items
