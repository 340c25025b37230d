"""How one operation is computed: arrays in, arrays out, with a kernel or with the NumPy oracle.

Nothing here knows of tensors or of the tape; autograd.py calls it forward and backward.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from npmlp import config
from npmlp.ops.spec import Array, ArraySpec, Attrs, Kernel, Layout, Needs, OpSpec
from npmlp.recording import Repeatable, note, now


@functools.lru_cache(maxsize=4096)
def _prepare_cached(
    spec: OpSpec, shapes: Any, dtypes: Any, attrs: Any, needs: Any, kernels: str
) -> tuple[Layout, Kernel | None]:
    return _prepare(spec, shapes, dtypes, dict(attrs), needs, kernels)


def _prepare(
    spec: OpSpec, shapes: Any, dtypes: Any, attrs: Attrs, needs: Any, kernels: str
) -> tuple[Layout, Kernel | None]:
    """Check the inputs, and say what arrays and which kernel the operation takes."""
    layout = spec.layout(shapes, dtypes, attrs, needs)
    kernel = spec.kernels.get(kernels)
    if kernel is not None and not kernel.when(shapes, dtypes, attrs):
        kernel = None
    return layout, kernel


def prepare(spec: OpSpec, arrays: Sequence[Any], attrs: Attrs, needs: Needs) -> Any:
    """(layout, kernel) for these arrays; remembered, since a training step asks the same again."""
    shapes = tuple([None if a is None else a.shape for a in arrays])
    dtypes = tuple([None if a is None else a.dtype for a in arrays])
    try:
        return _prepare_cached(
            spec, shapes, dtypes, tuple(attrs.items()), needs, config.get_kernels()
        )
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        # an attribute that cannot be a dictionary's key, such as an array of indices
        return _prepare(spec, shapes, dtypes, attrs, needs, config.get_kernels())


def _empty(specs: Iterable[ArraySpec]) -> tuple[Array, ...]:
    return tuple([np.empty(shape, dtype) for shape, dtype in specs])


def run_forward(
    spec: OpSpec, layout: Layout, kernel: Kernel | None, arrays: Sequence[Any], attrs: Attrs
) -> tuple[Array, ...]:
    """Compute an operation's outs, with its kernel or, where that is None, with its oracle."""
    if kernel is not None:
        outs = _empty(layout.outs)
        kernel.forward(arrays, outs, _empty(layout.scratch), **attrs)
        return outs
    if spec.blas:
        config.hold_blas_at_one_thread()
    with np.errstate(all="ignore"):  # as in PyTorch, 1/0 is inf and not a warning
        result = spec.forward(*arrays, **attrs)
    if len(layout.outs) == 1:
        result = (result,)
    return tuple([np.asarray(out) for out in result])  # NumPy makes scalars of 0-d results


def kept_inputs(layout: Layout, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """What an operation's backward sees of its inputs."""
    return tuple(
        [
            a if i in layout.keep_inputs else _ghost(a) if i in layout.keep_shapes else None
            for i, a in enumerate(arrays)
        ]
    )


def _ghost(array: Array) -> Array:
    """An array of the same shape and dtype, all of whose entries are the same eight bytes."""
    return np.ndarray(array.shape, array.dtype, bytes(8), strides=(0,) * array.ndim)


def run_backward(
    spec: OpSpec,
    layout: Layout,
    kernel: Kernel | None,
    dout: Array,
    inputs: Sequence[Any],
    outs: Sequence[Any],
    needs: Needs,
    shapes: Sequence[Any],
    attrs: Attrs,
) -> tuple[Any, ...]:
    """Compute the gradients of an operation's inputs from the gradient of its first output."""
    if kernel is not None and not kernel.forward_only:
        grads = tuple(
            [
                np.empty(shape, dout.dtype) if needed else None
                for shape, needed in zip(shapes, needs, strict=True)
            ]
        )
        if not dout.flags.c_contiguous:  # such as the broadcast view that sum's backward gives
            given, dout = dout, np.ascontiguousarray(dout)
            note("copy gradient", copy_into, given, dout)
        kernel.backward(dout, inputs, outs, grads, _empty(layout.backward_scratch), **attrs)
        if now.tape is not None:
            now.tape.backward(spec, layout, kernel, dout, inputs, outs, needs, shapes, attrs, grads)
        return grads
    assert spec.backward is not None
    with np.errstate(all="ignore"):
        grads = spec.backward(dout, inputs, outs, needs, **attrs)
    if spec.broadcasts:
        grads = tuple(
            [
                None if g is None or not needed else unbroadcast(np.asarray(g), shape)
                for g, shape, needed in zip(grads, shapes, needs, strict=True)
            ]
        )
    grads = tuple([None if g is None else np.asarray(g) for g in grads])
    if now.tape is not None:
        now.tape.backward(spec, layout, kernel, dout, inputs, outs, needs, shapes, attrs, grads)
    return grads


def _copy(source: Array, to: Array) -> None:
    np.copyto(to, source)


def _keep_copy(source: Array, to: Array) -> bool:
    if not _for_kernels(source, to):
        return False
    from npmlp.kernels.copy import copy

    copy(source, to)
    return True


def _add(x: Array, y: Array, out: Array) -> None:
    np.add(x, y, out)


def _keep_sum(x: Array, y: Array, out: Array) -> bool:
    if not _for_kernels(x, y, out) or x.shape != y.shape:
        return False
    from npmlp.kernels.elementwise import add_forward

    add_forward((x, y), (out,), ())
    return True


def _for_kernels(*arrays: Array) -> bool:
    """Whether the kernels are in use, and are for such arrays."""
    dtype = arrays[-1].dtype
    fits = dtype in (np.float32, np.float64) and arrays[-1].flags.c_contiguous
    return fits and config.get_kernels() == "numba" and all(a.dtype == dtype for a in arrays)


copy_into = Repeatable(_copy, first=None, keep=_keep_copy)
"""to = source, with the arguments in the order of a recorded call."""
add_into = Repeatable(_add, first=None, keep=_keep_sum)
"""out = x + y."""


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the dimensions that broadcasting had stretched `shape` along."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    stretched = tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and grad.shape[i + extra] != 1
    )
    summed = grad.sum(axis=tuple(range(extra)) + stretched, keepdims=True)
    return np.asarray(summed.reshape(shape))
