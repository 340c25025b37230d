"""autograd.Function: an operation of one's own, with a forward and a backward written by hand.

An OpSpec (npmlp/ops/spec.py) works on arrays and is checked by the registry; a Function works on
tensors, is written in a few lines in a script, and is as right as its author. Both leave a Node.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from npmlp.errors import DTypeError, GraphError, OutsideSubsetError, ShapeError
from npmlp.grad_mode import mode, no_grad
from npmlp.node import Node, Storage, next_sequence
from npmlp.ops.spec import Layout, OpSpec
from npmlp.recording import cannot
from npmlp.run_op import unbroadcast


class FunctionCtx:
    """What forward leaves for backward: save_for_backward(tensors), and attributes of any name."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._not_differentiable: tuple[int, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors, inputs or outputs or others, for `saved_tensors`; None is kept as None."""
        for t in tensors:
            if t is not None and not hasattr(t, "_data"):
                raise DTypeError(
                    f"save_for_backward: got a {type(t).__name__}, expected Tensors; keep other "
                    "things as attributes of ctx"
                )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What save_for_backward was given."""
        return self._saved

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Say of outputs that they have no gradient."""
        self._not_differentiable = tuple(id(t) for t in outputs)

    def set_materialize_grads(self, value: bool) -> None:
        """Accepted: the one output that has a gradient always gets one."""

    def mark_dirty(self, *tensors: Any) -> NoReturn:
        """Outside: an input that was changed in place."""
        raise OutsideSubsetError(
            "ctx.mark_dirty: a Function that changes its input in place is outside npmlp; compute "
            "a new tensor from it"
        )


class Function:
    """An operation whose gradient its author writes: subclass it, and call its `apply`.

    `forward(ctx, *args)` computes tensors from tensors and other things, and is not recorded;
    with a `setup_context(ctx, inputs, output)` of its own it is `forward(*args)`.
    `backward(ctx, grad_output)` returns a gradient for each argument of forward, None for those
    that have none. Both are static methods.

    Raises (from apply): OutsideSubsetError for several outputs with gradients. From backward:
    ShapeError, GraphError for a gradient of another shape, or for another number of them.

    >>> import npmlp
    >>> class Double(npmlp.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return 2 * x
    ...     @staticmethod
    ...     def backward(ctx, grad_output):
    ...         return 2 * grad_output
    >>> x = npmlp.tensor([3.0], requires_grad=True)
    >>> Double.apply(x).sum().backward()
    >>> x.grad
    tensor([2.])
    """

    def __init__(self) -> None:
        raise GraphError(
            f"{type(self).__name__}: a Function is not made into an object; call "
            f"{type(self).__name__}.apply(...)"
        )

    @staticmethod
    def forward(*args: Any) -> Any:
        """To be defined: forward(ctx, *args), or forward(*args) beside a setup_context."""
        raise NotImplementedError("a Function needs a static method forward")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """To be defined, or left: what backward will need, apart from forward."""
        raise NotImplementedError("a Function that separates the two needs setup_context")

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Any) -> Any:
        """To be defined: a gradient for each argument of forward."""
        raise NotImplementedError("a Function needs a static method backward to be differentiated")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Compute forward(*args) and, where a gradient may be wanted, write a node."""
        cannot(f"{cls.__name__} is a Function with a forward and backward of its own")
        ctx = FunctionCtx()
        needs = tuple(bool(getattr(a, "_requires_grad", False)) for a in args)
        ctx.needs_input_grad = needs if mode.recording else (False,) * len(args)
        recorded = mode.recording and any(needs)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        if not recorded:
            return output
        outputs = output if isinstance(output, tuple) else (output,)
        chosen = [t for t in outputs if _differentiable(t, ctx)]
        if len(chosen) > 1:
            raise OutsideSubsetError(
                f"{cls.__name__}: a Function with {len(chosen)} outputs that have gradients is "
                "outside npmlp; return one, or say ctx.mark_non_differentiable(...) of the others"
            )
        if not chosen:
            return output
        (source,) = chosen
        # an input that is handed on is a tensor of its own in the graph, as in PyTorch
        result = source.detach() if any(source is a for a in args) else source
        result._attach(_node(cls, ctx, args, needs, result))
        replaced = tuple(result if t is source else t for t in outputs)
        return replaced if isinstance(output, tuple) else replaced[0]


def _differentiable(t: Any, ctx: FunctionCtx) -> bool:
    floats = hasattr(t, "_data") and t._data.dtype.kind == "f"
    return bool(floats and id(t) not in ctx._not_differentiable)


def _node(
    cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], needs: tuple[bool, ...], out: Any
) -> Node:
    """A node whose backward calls the Function's, with tensors instead of arrays."""
    shapes = tuple(a._data.shape if hasattr(a, "_data") else None for a in args)
    dtypes = tuple(a._data.dtype if hasattr(a, "_data") else None for a in args)

    def backward(dout: Any, inputs: Any, outs: Any, needs: Any) -> tuple[Any, ...]:
        with no_grad():
            grads = cls.backward(ctx, out_type._wrap(np.array(dout)))
        grads = grads if isinstance(grads, tuple) else (grads,)
        return _checked(cls.__name__, grads, shapes, dtypes, needs)

    out_type = type(out)
    spec = OpSpec(
        name=cls.__name__,
        forward=cls.forward,
        backward=backward,
        layout=lambda *_: Layout(outs=()),
        samples=lambda rng: [],
        tol={},
        source="its author",
    )
    node = Node()
    node.spec, node.kernel, node.attrs, node.needs = spec, None, {}, needs
    node.entry = None
    node.layout = Layout(outs=(), keep_inputs=(0,) if ctx._saved else ())  # freed after a walk
    node.sequence = next_sequence()
    node.shapes, node.inputs, node.outs = shapes, (), ()
    node.freed, node.retained = False, []
    node.label = f"{cls.__name__}Backward"
    node.guards = [_guard(t) for t in ctx._saved if t is not None]
    node.edges = tuple(
        None if not needed else a if a._node is None else a._node
        for a, needed in zip(args, needs, strict=True)
    )
    return node


def _guard(t: Any) -> tuple[Storage, int, str]:
    return t._storage, t._storage.version, "a saved tensor"


def _checked(
    name: str,
    grads: tuple[Any, ...],
    shapes: tuple[Any, ...],
    dtypes: tuple[Any, ...],
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    """The gradients as arrays of the inputs' shapes and dtypes, None where none is needed."""
    extra = grads[len(needs) :]
    if len(grads) < len(needs) or any(g is not None for g in extra):
        raise GraphError(
            f"{name}.backward: it returned {len(grads)} gradients, expected {len(needs)}, one for "
            "each argument of forward"
        )
    arrays: list[Any] = []
    for i, (g, shape, dtype, needed) in enumerate(zip(grads, shapes, dtypes, needs, strict=False)):
        if g is None or not needed:
            arrays.append(None)
            continue
        if not hasattr(g, "_data"):
            raise GraphError(
                f"{name}.backward: gradient {i} is a {type(g).__name__}, expected a Tensor or None"
            )
        if not _stretched(shape, g._data.shape):
            raise ShapeError(
                f"{name}.backward: gradient {i} has shape {g._data.shape}, expected the argument's "
                f"{shape}"
            )
        # of an argument that broadcast it may still have the larger shape, as in PyTorch
        arrays.append(np.array(unbroadcast(g._data, shape), dtype))
    return tuple(arrays)


def _stretched(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether `shape` broadcasts to `to`."""
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
