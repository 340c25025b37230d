"""Layers, initialisers and methods take PyTorch's arguments, in its order, with its defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from npmlp import nn

LAYERS = [
    "Linear", "Identity", "Conv2d", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "ReLU",
    "LeakyReLU", "GELU", "SiLU", "Softmax", "LogSoftmax", "BatchNorm1d", "BatchNorm2d", "LayerNorm",
    "Dropout", "Flatten", "Unflatten", "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss",
    "BCEWithLogitsLoss", "Sequential", "ModuleList", "ModuleDict",
]  # fmt: skip
METHODS = [
    "add_module", "apply", "buffers", "children", "cpu", "double", "eval", "extra_repr", "float",
    "get_buffer", "get_parameter", "get_submodule", "load_state_dict", "modules", "named_buffers",
    "named_children", "named_modules", "named_parameters", "parameters", "register_buffer",
    "register_forward_hook", "register_forward_pre_hook", "register_module", "register_parameter",
    "requires_grad_", "to", "train", "zero_grad",
]  # fmt: skip
INITIALISERS = [
    "zeros_", "ones_", "constant_", "uniform_", "normal_", "xavier_uniform_", "xavier_normal_",
    "kaiming_uniform_", "kaiming_normal_", "calculate_gain",
]  # fmt: skip
CLIPPING = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "clip_grads_with_norm_"]


def signature(function: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_pytorchs_arguments(name: str) -> None:
    assert signature(getattr(nn, name)) == signature(getattr(torch.nn, name))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_module_takes_pytorchs_arguments(name: str) -> None:
    assert signature(getattr(nn.Module, name)) == signature(getattr(torch.nn.Module, name))


@pytest.mark.parametrize("name", INITIALISERS)
def test_an_initialiser_takes_pytorchs_arguments(name: str) -> None:
    assert signature(getattr(nn.init, name)) == signature(getattr(torch.nn.init, name))


@pytest.mark.parametrize("name", CLIPPING)
def test_clipping_takes_pytorchs_arguments(name: str) -> None:
    assert signature(getattr(nn.utils, name)) == signature(getattr(torch.nn.utils, name))
