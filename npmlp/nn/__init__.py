"""Layers, networks and losses, with PyTorch's names: `from npmlp import nn`."""

from __future__ import annotations

from typing import NoReturn

from npmlp.nn import functional, init, utils
from npmlp.nn.activation import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from npmlp.nn.containers import ModuleDict, ModuleList, Sequential
from npmlp.nn.conv import Conv2d
from npmlp.nn.dropout import Dropout, Dropout2d
from npmlp.nn.flatten import Flatten, Unflatten
from npmlp.nn.linear import Identity, Linear
from npmlp.nn.loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from npmlp.nn.module import Module
from npmlp.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from npmlp.nn.parameter import Parameter
from npmlp.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from npmlp.outside import outside


def __getattr__(name: str) -> NoReturn:
    raise outside(f"npmlp.nn.{name}")
