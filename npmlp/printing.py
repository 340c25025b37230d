"""How a tensor prints: character for character as PyTorch prints it.

One format serves a whole tensor: whole numbers as `1.`, others with four decimals, and scientific
notation where the entries' sizes differ much. Above a thousand entries the middle is left out.
Source: PyTorch 2.13, torch/_tensor_str.py, with its default options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npmlp import dtypes
from npmlp.ops.spec import Array

if TYPE_CHECKING:
    from npmlp.tensor import Tensor

PRECISION = 4  # digits after the point
THRESHOLD = 1000  # entries; above it the middle is left out
EDGE_ITEMS = 3  # entries shown at each end then
LINE_WIDTH = 80

Format = Callable[[Any], str]


def tensor_text(t: Tensor) -> str:
    """`tensor([[1., 2.], [3., 4.]])`, with what else there is to say behind the entries."""
    prefix = "tensor("
    data = t._data
    suffixes = []
    if data.size == 0:
        body = "[]"
        if data.ndim != 1:
            suffixes.append(f"size={data.shape}")
        if t.dtype is not dtypes.get_default_dtype():  # no entry shows what they are
            suffixes.append(f"dtype={t.dtype}")
    else:
        summarize = data.size > THRESHOLD
        body = _text(data, len(prefix), summarize, *_format(_edges(data) if summarize else data))
        if t.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool):
            suffixes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        suffixes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + body, suffixes, len(prefix))


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Put each suffix on the last line, or on a new one where it does not fit."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > LINE_WIDTH:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


def _edges(data: Array) -> Array:
    """The entries that a summary shows, which alone decide its format."""
    few = 2 * EDGE_ITEMS
    whole = [np.arange(n) for n in data.shape]
    kept = [i if len(i) <= few else np.r_[i[:EDGE_ITEMS], i[-EDGE_ITEMS:]] for i in whole]
    return data[np.ix_(*kept)]


def _format(data: Array) -> tuple[Format, int]:
    """How to write an entry, and the width that all of them are brought to."""
    if data.dtype.kind != "f":
        width = max(len(str(value)) for value in data.ravel().tolist())
        return lambda value: str(value).rjust(width), width

    plain = data[np.isfinite(data) & (data != 0)].astype(np.float64)
    sizes = np.abs(plain)
    whole = bool((plain == np.ceil(plain)).all())
    scientific = plain.size > 0 and bool(
        sizes.max() / sizes.min() > 1000.0 or sizes.max() > 1e8 or sizes.min() < 1e-4
    )
    # the width is that of the finite entries other than 0; what is longer sticks out
    if scientific:
        width = max(len(f"{value:.{PRECISION}e}") for value in plain.tolist())
        return lambda value: f"{value:.{PRECISION}e}".rjust(width), width
    if whole:
        width = max((len(f"{value:.0f}.") for value in plain.tolist()), default=1)
        return lambda value: _whole(value).rjust(width), width
    width = max(len(f"{value:.{PRECISION}f}") for value in plain.tolist())
    return lambda value: f"{value:.{PRECISION}f}".rjust(width), width


def _whole(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _text(data: Array, indent: int, summarize: bool, entry: Format, width: int) -> str:
    """Nested brackets around the entries, continued lines indented to their bracket."""
    if data.ndim == 0:
        return entry(data.item())
    summarize_here = summarize and len(data) > 2 * EDGE_ITEMS
    ends = (data[:EDGE_ITEMS], data[-EDGE_ITEMS:]) if summarize_here else (data,)
    if data.ndim == 1:
        parts = [[entry(value) for value in end.tolist()] for end in ends]
        texts = parts[0] + [" ..."] + parts[1] if summarize_here else parts[0]
        per_line = max(1, (LINE_WIDTH - indent) // (width + 2))
        lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [[_text(row, indent + 1, summarize, entry, width) for row in end] for end in ends]
    texts = parts[0] + ["..."] + parts[1] if summarize_here else parts[0]
    return "[" + ("," + "\n" * (data.ndim - 1) + " " * (indent + 1)).join(texts) + "]"
