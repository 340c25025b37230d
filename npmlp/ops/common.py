"""What several families share: dtype checks, broadcasting, sample arrays, a domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npmlp.errors import DTypeError, ShapeError
from npmlp.ops.spec import Array, ArraySpec, Attrs, BadInput, DTypes, Layout, Needs, Shapes

# Relative to the largest entry of the result. One correctly rounded operation is off by at most
# half a unit in the last place (6e-8, 1.1e-16); an entry here is a few such roundings deep.
ROUNDING = {"float32": 1e-6, "float64": 1e-14}


def check_float(op: str, dtypes: DTypes, names: tuple[str, ...] = ("input",)) -> np.dtype[Any]:
    """All given inputs must be of one floating dtype, which is returned."""
    first = dtypes[0]
    for i, d in enumerate(dtypes):
        if d is None:
            continue
        name = names[min(i, len(names) - 1)]
        if d.kind != "f":
            raise DTypeError(
                f"{op}: {name} has dtype {d.name}, expected float32 or float64; "
                "convert it with .float() or .double()"
            )
        if d != first:
            raise DTypeError(
                f"{op}: {name} has dtype {d.name} and {names[0]} {first.name}; they must be the "
                f"same, convert one with .to(npmlp.{first.name})"
            )
    return np.dtype(first)


def broadcast_shape(op: str, shapes: Shapes) -> tuple[int, ...]:
    """The shape that `shapes` broadcast to. Raises ShapeError where they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        sizes = " and ".join(str(tuple(s)) for s in shapes)
        raise ShapeError(
            f"{op}: shapes {sizes} do not broadcast; counted from the right, each pair of sizes "
            "must be equal or one of them 1"
        ) from None


def normalize_dim(op: str, dim: int, ndim: int) -> int:
    """`dim` counted from the front. Raises ShapeError where there is no such dimension."""
    around = max(ndim, 1)  # a 0-d tensor takes dim 0 and -1, as in PyTorch
    if not -around <= dim < around:
        raise ShapeError(
            f"{op}: dimension {dim} does not exist, expected {-around} to {around - 1} for a "
            f"tensor of {ndim} dimensions"
        )
    return dim % around


def like_input(
    op: str, keep_input: bool = False, keep_out: bool = False
) -> Callable[[Shapes, DTypes, Attrs, Needs], Layout]:
    """The layout of a function of floats, entry by entry."""

    def layout(shapes: Shapes, dtypes: DTypes, attrs: Attrs, needs: Needs) -> Layout:
        dtype = check_float(op, dtypes[:1])
        recorded = any(needs)
        return Layout(
            outs=(ArraySpec(shapes[0], dtype),),
            keep_inputs=(0,) if keep_input and recorded else (),
            keep_outs=(0,) if keep_out and recorded else (),
        )

    return layout


def refuses_integers(op: str, n_inputs: int = 1, **attrs: Any) -> Callable[[], list[BadInput]]:
    """The bad input that all functions of floats have in common."""

    def bad_inputs() -> list[BadInput]:
        inputs = tuple(np.arange(3) for _ in range(n_inputs))
        return [BadInput(inputs, attrs, DTypeError, f"{op}: input has dtype int64")]

    return bad_inputs


def float_kernel(shapes: Shapes, dtypes: DTypes, attrs: Attrs) -> bool:
    """A kernel's `when`: any shape, floats."""
    return bool(dtypes[0].kind == "f")


def positive(*inputs: Any, **attrs: Any) -> tuple[Any, ...]:
    """The domain of a function of positive numbers."""
    return tuple(np.abs(x) + 0.1 for x in inputs)


def some_shapes(rng: np.random.Generator, scale: float = 1.0) -> list[Array]:
    """Normal arrays of the shapes that break things: plain, size 1, 0-d, empty, not contiguous."""
    plain = scale * rng.standard_normal((4, 5))
    return [
        plain,
        scale * rng.standard_normal((1, 3, 1)),
        np.asarray(scale * rng.standard_normal()),
        np.empty((0, 3)),
        scale * rng.standard_normal((6, 4)).T[:, ::2],
        scale * rng.standard_normal(67),  # neither a multiple of a vector nor below one
    ]
