"""What PyTorch calls the node of an operation, for `grad_fn=<AddBackward0>` in what is printed,
and which nodes it shows before it.

Most are the operation's name. These are the others: where PyTorch composes what is one operation
here, its last step gives the name, and where it has several variants, a number does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from npmlp.node import Node, Transposed, as_function

_FIXED = {
    "cast": "ToCopy",
    "reshape": "View",
    "log1p": "Log1P",
    "gather": "Index",
    "gather_dim": "Gather",
    "vector_norm": "LinalgVectorNorm",
    "conv2d": "Convolution",
    "batch_norm": "NativeBatchNorm",
    "batch_norm_inference": "NativeBatchNorm",
    "layer_norm": "NativeLayerNorm",
    "max_pool2d": "MaxPool2DWithIndices",
    "avg_pool2d": "AvgPool2D",
    "dropout": "Mul",
    "bce_with_logits": "BinaryCrossEntropyWithLogits",
    "bce": "BinaryCrossEntropy",
}


def _linear(node: Node) -> str:
    has_bias = node.shapes[2] is not None
    if len(node.shapes[0]) == 2:
        return "AddmmBackward0" if has_bias else "MmBackward0"
    if len(node.shapes[0]) == 1 and not has_bias:
        return "SqueezeBackward4"
    return "ViewBackward0" if has_bias else "UnsafeViewBackward0"


def _matmul(node: Node) -> str:
    names = {(2, 2): "Mm", (1, 1): "Dot", (2, 1): "Mv", (1, 2): "Squeeze"}
    ndims = (len(node.shapes[0]), len(node.shapes[1]))
    return f"{names.get(ndims, 'UnsafeView')}Backward{4 if ndims == (1, 2) else 0}"


def _reduction(all_: str, some: str) -> Callable[[Node], str]:
    """One name where every dimension is reduced, another where some are."""

    def named(node: Node) -> str:
        whole = len(node.attrs["dim"]) == len(node.shapes[0]) and not node.attrs["keepdim"]
        return all_ if whole else some

    return named


def _is_number(node: Node, i: int) -> bool:
    """Whether an input came from a Python number: those are 0-dimensional and need no gradient."""
    return node.shapes[i] == () and not node.needs[i]


def _pow(node: Node) -> str:
    if _is_number(node, 1):
        return "PowBackward0"
    return "PowBackward2" if _is_number(node, 0) else "PowBackward1"


def _slice(node: Node) -> str:
    """PyTorch takes an index apart and applies one part after the other."""
    name = "Alias"
    parts = node.attrs["index"]
    for part in parts:
        if isinstance(part, int):
            name = "Select"
        elif part is None:
            name = "Unsqueeze"
        elif isinstance(part, slice) and (part != slice(None) or len(parts) == 1):
            name = "Slice"
    return f"{name}Backward0"


def _cross_entropy(node: Node) -> str:
    return "AddBackward0" if node.attrs["label_smoothing"] else "NllLossBackward0"


def _by_reduction(**names: str) -> Callable[[Node], str]:
    return lambda node: names[node.attrs["reduction"]]


def _pad(node: Node) -> str:
    kind = {"constant": "ConstantPadNd", "reflect": "ReflectionPad2D"}
    return kind.get(node.attrs["mode"], "ReplicationPad2D") + "Backward0"


_BY_CASE: dict[str, Callable[[Node], str]] = {
    "linear": _linear,
    "matmul": _matmul,
    "sum": _reduction("SumBackward0", "SumBackward1"),
    "mean": _reduction("MeanBackward0", "MeanBackward1"),
    "amax": _reduction("MaxBackward1", "AmaxBackward0"),
    "amin": _reduction("MinBackward1", "AminBackward0"),
    "max_dim": lambda node: "MaxBackward0",
    "min_dim": lambda node: "MinBackward0",
    "prod": _reduction("ProdBackward0", "ProdBackward1"),
    "round": lambda node: "RoundBackward1" if node.attrs["decimals"] else "RoundBackward0",
    "sub": lambda node: "RsubBackward1" if _is_number(node, 0) else "SubBackward0",
    "div": lambda node: "MulBackward0" if _is_number(node, 0) else "DivBackward0",
    "remainder": lambda node: f"RemainderBackward{0 if _is_number(node, 1) else 1}",
    "pow": _pow,
    "clamp": lambda node: "ClampBackward1",
    "slice": _slice,
    "adaptive_avg_pool2d": lambda node: (
        "MeanBackward1" if node.attrs["output_size"] == (1, 1) else "AdaptiveAvgPool2DBackward0"
    ),
    "pad2d": _pad,
    "cross_entropy": _cross_entropy,
    "cross_entropy_soft": _by_reduction(
        mean="DivBackward1", sum="NegBackward0", none="NegBackward0"
    ),
    "l1_loss": _by_reduction(mean="MeanBackward0", sum="SumBackward0", none="AbsBackward0"),
}


def grad_fn_name(node: Node) -> str:
    """The name of PyTorch's node for the same operation, such as `AddmmBackward0`."""
    name = node.spec.name
    if name in _BY_CASE:
        return _BY_CASE[name](node)
    plain = "".join(part.capitalize() for part in name.split("_"))
    return f"{_FIXED.get(name, plain)}Backward0"


def next_functions(node: Node) -> tuple[Any, ...]:
    """The nodes of a node's inputs, as PyTorch has them in `grad_fn.next_functions`.

    Its linear layer is bias + x @ weight.T, in that order, of a transposed weight.
    """
    edges: tuple[Any, ...] = node.edges
    if node.spec.name == "linear" and len(node.shapes[0]) == 2:
        x, weight, bias = edges
        turned = None if weight is None else Transposed(weight)
        edges = (x, turned) if node.shapes[2] is None else (bias, x, turned)
    return tuple((edge if isinstance(edge, Transposed) else as_function(edge), 0) for edge in edges)
