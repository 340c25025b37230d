"""What is outside the subset says what it is and what to use instead."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from beside_torch import LIBRARIES

import npmlp
from npmlp import outside
from npmlp.errors import OutsideSubsetError
from reference_torch.torchvision_cpu import import_torchvision

torchvision = import_torchvision()

# an expression, and what its error says beside the name
SAID = {
    "m.compile(m.nn.Linear(2, 2))": "not needed: leave it out",
    "m.ones(2).cuda()": r"on the CPU; leave it out, or write \.to\(device\)",
    "m.nn.Linear(2, 2).cuda()": r"on the CPU; leave it out, or write \.to\(device\)",
    "m.nn.Linear(2, 2).half()": r"use \.float\(\)",
    "m.ones(2).int()": r"use \.long\(\)",
    "m.int32": "use int64",
    "m.float16": "use float32",
    "m.FloatTensor([1.0])": r"npmlp\.tensor\(data, dtype=npmlp\.float32\)",
    "m.Tensor([1.0])": r"use npmlp\.tensor\(data\)",
    "m.einsum('ij->ji', m.ones(2, 2))": "matmul, sum and transpose",
    "m.ones(2).median()": r"x\.sort\(dim\)\.values",
    "m.ones(2).register_hook(print)": r"retain_grad\(\)",
    "m.autograd.functional.jacobian": r"npmlp\.autograd\.grad",
    "m.nn.Conv1d(1, 1, 3)": "Conv2d with a height of 1",
    "m.nn.LSTM(2, 2)": "no recurrent layers",
    "m.nn.GroupNorm(1, 1)": "LayerNorm or BatchNorm2d",
    "m.nn.functional.conv1d": "docs/subset.md",
    "m.optim.Adagrad": "RMSprop or Adam",
    "m.optim.LBFGS": "SGD, Adam or AdamW",
    "m.optim.lr_scheduler.CyclicLR": "OneCycleLR",
    "m.optim.lr_scheduler.PolynomialLR": "LambdaLR makes any schedule",
    "m.utils.data.IterableDataset": "__getitem__ and __len__",
    "m.utils.data.WeightedRandomSampler": "Sampler whose __iter__",
    "m.amp.autocast('cpu')": "no half precision",
    "m.linalg.svd(m.ones(2, 2))": r"numpy\.linalg\.svd",
    "m.ones(2).cumprod(0)": r"x\.numpy\(\) gives the array",
    "m.fft": "docs/subset.md",
}


@pytest.mark.parametrize("expression", SAID)
def test_what_is_outside_is_named_with_what_to_use_instead(expression: str) -> None:
    with pytest.raises(OutsideSubsetError, match=SAID[expression]) as caught:
        eval(expression, {"m": npmlp})
    message = str(caught.value)
    if "Tensor(...)" not in message:
        assert "docs/subset.md" in message
        assert "npmlp does not have it" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("transforms.Resize", r"image\.resize\(\(width, height\)\)"),
        ("transforms.RandomRotation", r"RandomAffine\(degrees\)"),
        ("transforms.v2", "by these names"),
        ("transforms.ColorJitter", "function of your own with Lambda"),
        ("datasets.CIFAR10", "npmlp has FashionMNIST"),
        ("datasets.ImageFolder", "__getitem__ and __len__"),
    ],
)
def test_torchvisions_names_are_answered_too(name: str, said: str) -> None:
    module, _, name = name.partition(".")
    with pytest.raises(OutsideSubsetError, match=said):
        getattr(importlib.import_module(f"npmlp.vision.{module}"), name)


def test_advice_is_given_of_names_that_pytorch_has_and_npmlp_has_not() -> None:
    homes = [
        torch, torch.Tensor, torch.nn, torch.nn.Module, torch.nn.functional, torch.optim,
        torch.optim.lr_scheduler, torch.autograd, torch.utils, torch.utils.data, torch.cuda.amp,
        torchvision.datasets, torchvision.transforms, torch.distributed, torch.hub,
    ]  # fmt: skip
    for module in (
        "torch.utils.checkpoint",
        "torch.utils.tensorboard",
        "torchvision.transforms.v2",
    ):
        importlib.import_module(module)  # imported when they are first wanted
    for name in outside.ADVICE:
        assert any(hasattr(home, name) for home in homes), f"{name}: PyTorch has it nowhere"
    for home in (npmlp, npmlp.nn, npmlp.nn.functional, npmlp.optim, npmlp.optim.lr_scheduler):
        for name in set(outside.ADVICE) & set(dir(home)):
            # npmlp.cuda and nn.functional are there; Tensor.cuda and autograd.functional are not
            assert name in ("cuda", "functional"), f"{home.__name__}.{name} is there"


def test_devices_that_scripts_may_set_by_default_are_the_cpu_alone() -> None:
    for lib in LIBRARIES:
        lib.set_default_device("cpu")
        assert str(lib.get_default_device()) == "cpu"
        lib.set_default_device(None)
    with pytest.raises(OutsideSubsetError, match='use "cpu"'):
        npmlp.set_default_device("cuda")


@pytest.mark.parametrize("m", [npmlp, torch], ids=["npmlp", "torch"])
def test_asking_whether_a_name_is_there_raises_nothing(m: Any) -> None:
    assert not hasattr(m, "nosuchname")
    assert not hasattr(m.ones(2), "nosuchname")
    assert getattr(m.nn, "nosuchname", None) is None
