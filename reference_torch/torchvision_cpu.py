"""Importing torchvision where its compiled operators cannot load.

torchvision from the general package index is compiled against the CUDA build of torch. Beside a CPU
build its extension `_C` does not load, which torchvision takes calmly; but a little later it
registers shape functions for its operators `nms` and `qnms`, whether or not the extension has
brought them, and its import ends with "operator torchvision::nms does not exist". It is enough
that the two operators have schemas. They compute nothing and nothing here calls them: transforms
and data sets, all that is wanted from torchvision, are plain Python above torch.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch.library import Library

# the arguments of the shape functions in torchvision/_meta_registrations.py, with their types
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@cache
def import_torchvision() -> ModuleType:
    """The module torchvision, with the schemas of nms and qnms declared first where needed.

    They are needed only where torchvision's own extension does not load (this module's docstring
    says why), and are left alone where it does: two declarations of one operator are an error.

    Raises
    ------
    ImportError : torchvision is not installed.

    Examples
    --------
    >>> transforms = import_torchvision().transforms
    >>> transforms.Normalize(0.5, 2.0)
    Normalize(mean=0.5, std=2.0)
    """
    if not _extension_loads():
        _declare_missing()
    with warnings.catch_warnings():
        # the extension that reads JPEG and PNG files does not load either, and says so
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        import torchvision

    return torchvision


def _extension_loads() -> bool:
    """Whether torchvision's compiled operators can be loaded, tried as torchvision itself does."""
    spec = importlib.util.find_spec("torchvision")  # finds the package and does not import it
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed; pip install 'npmlp[test]' brings it")
    folder = Path(spec.origin).parent
    if hasattr(os, "add_dll_directory"):  # Windows: what the extension needs lies beside it
        os.add_dll_directory(str(folder))
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = folder / f"_C{suffix}"
        if library.exists():
            try:
                torch.ops.load_library(library)
            except (ImportError, OSError):
                return False
            return True
    return False


def _declare_missing() -> None:
    library = _library()
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)


@cache  # the declarations end when this object does
def _library() -> Library:
    return Library("torchvision", "FRAGMENT")
