"""Layers, networks and losses, with PyTorch's names: `from npmlp import nn`."""

from __future__ import annotations

from typing import Any

from npmlp.errors import OutsideSubsetError
from npmlp.nn import functional, init, utils
from npmlp.nn.activation import (
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from npmlp.nn.containers import ModuleDict, ModuleList, Sequential
from npmlp.nn.conv import Conv2d
from npmlp.nn.dropout import Dropout
from npmlp.nn.flatten import Flatten, Unflatten
from npmlp.nn.linear import Identity, Linear
from npmlp.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from npmlp.nn.module import Module
from npmlp.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from npmlp.nn.parameter import Parameter
from npmlp.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d


def __getattr__(name: str) -> Any:
    raise OutsideSubsetError(
        f"npmlp.nn.{name}: npmlp does not have it; docs/subset.md lists what it has of PyTorch"
    )
