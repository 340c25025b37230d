"""autograd: running an operation writes a node on the tape; backward walks the tape.

`apply(spec, *inputs, **attrs)` is the one place where an operation runs. If a gradient will be
wanted, it leaves a Node: which operation, which arrays its backward reads, and an edge to
whatever made each input. `backward` walks the nodes from the newest to the oldest. A node's
sequence number grows as the tape is written, and an input is always older than its output, so
sorting by that number is all the ordering that is needed: no recursion, any depth. PyTorch's
engine takes nodes in the same order, so gradients that meet are added in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from npmlp.custom_function import Function
from npmlp.errors import GraphError, ShapeError
from npmlp.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    mode,
    no_grad,
    set_grad_enabled,
)
from npmlp.node import Node, Storage, next_sequence
from npmlp.numeric_gradient import GradcheckError, gradcheck
from npmlp.ops.spec import Array, Attrs, Kernel, Layout, OpSpec
from npmlp.outside import outside
from npmlp.recording import cannot, note, now
from npmlp.run_op import add_into, copy_into, kept_inputs, prepare, run_backward, run_forward

__all__ = [
    "Function",
    "GradcheckError",
    "Node",
    "Storage",
    "apply",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]


# ------------------------------------------------------------------------------------ forward


def apply(spec: OpSpec, *inputs: Any, **attrs: Any) -> Any:
    """Run one operation on tensors and, if a gradient may be wanted, write its node.

    Parameters: `inputs`, Tensors, or None for an absent optional input; `attrs`, plain values.
    Returns: the output Tensor, or a tuple where the operation has several.
    """
    arrays = tuple([None if t is None else t._data for t in inputs])
    needs = _needs(spec, inputs)
    recorded = True in needs
    layout, kernel = prepare(spec, arrays, attrs, needs)
    outs = run_forward(spec, layout, kernel, arrays, attrs)
    entry = None
    if now.tape is not None:
        entry = now.tape.forward(spec, layout, kernel, arrays, outs, attrs, needs)
        now.tape.used(inputs)

    source = next(t for t in inputs if t is not None)
    results = tuple(
        [
            source._wrap(out, source._storage if spec.view else Storage())
            for out in outs[: layout.n_outputs]
        ]
    )
    results[0]._view = spec.view
    if recorded:
        node = _write_node(spec, layout, kernel, inputs, arrays, outs, needs, attrs, results)
        node.entry = entry
        results[0]._attach(node)
    return results[0] if layout.n_outputs == 1 else results


def _needs(spec: OpSpec, inputs: Sequence[Any]) -> tuple[bool, ...]:
    if not mode.recording or spec.backward is None:
        return (False,) * len(inputs)
    for t in inputs:
        if t is not None and t._history != t._storage.history:
            raise GraphError(
                f"{spec.name}: an input of shape {t._data.shape} is a view of a tensor that was "
                "changed in place after the view was made; make the view again"
            )
    if spec.differentiable is None:
        return tuple([t is not None and t._requires_grad for t in inputs])
    return tuple(
        [
            t is not None and t._requires_grad and i in spec.differentiable
            for i, t in enumerate(inputs)
        ]
    )


def _write_node(
    spec: OpSpec,
    layout: Layout,
    kernel: Kernel | None,
    inputs: Sequence[Any],
    arrays: tuple[Any, ...],
    outs: tuple[Array, ...],
    needs: tuple[bool, ...],
    attrs: Attrs,
    results: Sequence[Any],
) -> Node:
    node = Node()
    node.spec, node.layout, node.kernel, node.attrs, node.needs = spec, layout, kernel, attrs, needs
    node.sequence = next_sequence()
    node.shapes = tuple([None if a is None else a.shape for a in arrays])
    node.inputs = kept_inputs(layout, arrays)
    node.outs = tuple([a if i in layout.keep_outs else None for i, a in enumerate(outs)])
    node.freed = False
    node.retained = []
    node.label = None
    node.guards = [
        (inputs[i]._storage, inputs[i]._storage.version, f"input {i}")
        for i in layout.keep_inputs
        if inputs[i] is not None
    ]
    node.guards += [
        (results[i]._storage, results[i]._storage.version, "its output")
        for i in layout.keep_outs
        if i < layout.n_outputs
    ]
    edges: list[Any] = []
    for t, needed in zip(inputs, needs, strict=True):
        edges.append(None if not needed else t if t._node is None else t._node)
    node.edges = tuple(edges)
    return node


def keep_copy(node: Node, array: Array) -> None:
    """Before `array` is overwritten by the node's own result: give its backward a copy of it."""
    read = [i for i, a in enumerate(node.inputs) if a is array]
    if read:
        copy = array.copy()
        note("copy", copy_into, array, copy)
        node.inputs = tuple([copy if i in read else a for i, a in enumerate(node.inputs)])
        names = [f"input {i}" for i in read]
        node.guards = [guard for guard in node.guards if guard[2] not in names]


# ----------------------------------------------------------------------------------- backward


def backward(
    roots: Sequence[tuple[Any, Array]],
    retain_graph: bool = False,
    only: Sequence[Any] | None = None,
) -> dict[int, Array]:
    """Walk the tape from each (tensor, gradient) in `roots`, newest node first.

    Gradients are added to the `.grad` of the leaves; with `only`, a list of tensors, no `.grad`
    is touched and the gradients of those are returned by `id`.
    """
    grads: dict[Any, Array] = {}  # by Node, or by id of a leaf
    leaves: dict[int, Any] = {}
    found: dict[int, Array] = {}
    wanted = {} if only is None else {(id(t) if t._node is None else t._node): t for t in only}

    def arrive(edge: Any, grad: Array) -> None:
        """Add a gradient to what has come to this place before."""
        key = edge
        if not isinstance(edge, Node):
            key = id(edge)
            leaves[key] = edge
        # NumPy makes a number of the sum of two 0-d arrays
        if key in grads:
            total = np.asarray(grads[key] + grad)
            note("add gradients", add_into, grads[key], grad, total)
            grad = total
        grads[key] = grad

    for tensor, gradient in roots:
        arrive(tensor if tensor._node is None else tensor._node, gradient)

    nodes = _newest_first([t._node for t, _ in roots if t._node is not None])
    walked = None if only is None else _leading_to(wanted, nodes)
    for node in nodes:
        dout = grads.pop(node, None)
        if dout is None:
            continue
        if only is None:
            for tensor in node.retained:
                cannot("retain_grad() was asked for")
                tensor._accumulate_grad(dout.copy())
        if node in wanted:
            found[id(wanted[node])] = dout
        if walked is not None and node not in walked:
            continue
        _check_walkable(node)
        dinputs = run_backward(
            node.spec, node.layout, node.kernel, dout, node.inputs, node.outs,
            node.needs, node.shapes, node.attrs,
        )  # fmt: skip
        if now.tape is not None:
            now.tape.backward_of(node.entry)
        if not retain_graph and (node.layout.keep_inputs or node.layout.keep_outs):
            node.inputs = node.outs = ()
            node.freed = True
        for edge, grad in zip(node.edges, dinputs, strict=True):
            if edge is None or grad is None:
                continue
            # .grad must be an array of its own: what an operation passes on (dout itself, or a
            # view of it) is shared with others
            if not isinstance(edge, Node) and (grad is dout or grad.base is not None):
                copy = grad.copy()
                note("copy gradient", copy_into, grad, copy)
                grad = copy
            arrive(edge, grad)

    for key, leaf in leaves.items():
        if only is None:
            leaf._accumulate_grad(grads[key])
        elif key in wanted:
            found[key] = grads[key]
    return found


def _newest_first(roots: list[Node]) -> list[Node]:
    """All nodes that can be reached from `roots`, by falling sequence number."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge, Node) and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return sorted(seen, key=lambda node: node.sequence, reverse=True)


def _leading_to(wanted: dict[Any, Any], nodes: list[Node]) -> set[Node]:
    """The nodes whose backward must run for a gradient to arrive at one of the `wanted`."""
    leading: set[Node] = set()
    for node in reversed(nodes):
        for edge in node.edges:
            key = edge if isinstance(edge, Node) else id(edge)
            if key in wanted or key in leading:
                leading.add(node)
                break
    return leading


def _check_walkable(node: Node) -> None:
    if node.freed:
        raise GraphError(
            f"backward: {node.spec.name} was already walked and its saved arrays were freed; pass "
            "retain_graph=True to the first backward, or run the forward pass again"
        )
    for storage, version, what in node.guards:
        if storage.version != version:
            raise GraphError(
                f"backward: {what} of {node.spec.name} was changed in place after it was used, so "
                "its gradient can no longer be computed; use an out-of-place operation, or clone() "
                "first"
            )


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, returned and not added to `.grad`.

    Parameters: Tensors or sequences of Tensors; `grad_outputs`, a cotangent per output, optional
    for scalars. Raises GraphError where an input was not used, unless `allow_unused`.
    """
    cannot("autograd.grad() was called")
    if create_graph:
        raise GraphError("grad: create_graph=True (second derivatives) is outside npmlp's subset")
    outputs = [outputs] if hasattr(outputs, "_data") else list(outputs)
    inputs = [inputs] if hasattr(inputs, "_data") else list(inputs)
    if grad_outputs is None or hasattr(grad_outputs, "_data"):
        grad_outputs = [grad_outputs] * len(outputs)
    for i, t in enumerate(inputs):
        if not t._requires_grad:
            raise GraphError(f"grad: input {i} does not require a gradient; set requires_grad=True")
    roots = [(t, first_gradient(t, g)) for t, g in zip(outputs, grad_outputs, strict=True)]
    found = backward(roots, retain_graph, only=inputs)
    if not allow_unused and any(id(t) not in found for t in inputs):
        raise GraphError(
            "grad: an input was not used to compute the outputs; pass allow_unused=True"
        )
    return tuple(t._wrap(found[id(t)].copy()) if id(t) in found else None for t in inputs)


def first_gradient(tensor: Any, gradient: Any) -> Array:
    """The gradient that backward starts with at `tensor`: 1 for a scalar, else as given."""
    if not tensor._requires_grad:
        raise GraphError(
            "backward: this tensor does not require a gradient and was not made by an operation "
            "that does; set requires_grad=True on its inputs, and do not compute it under no_grad"
        )
    shape = tensor._data.shape
    if gradient is None:
        if tensor._data.size != 1:
            raise GraphError(
                f"backward: the tensor has shape {shape}, and only a scalar can start without a "
                "gradient; reduce it with .sum() or .mean(), or pass gradient="
            )
        return np.ones(shape, tensor._data.dtype)
    if gradient._data.shape != shape:
        raise ShapeError(
            f"backward: gradient has shape {gradient._data.shape}, expected the tensor's {shape}"
        )
    return np.array(gradient._data, tensor._data.dtype)


def __getattr__(name: str) -> NoReturn:
    raise outside(f"npmlp.autograd.{name}")
