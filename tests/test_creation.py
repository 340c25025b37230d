"""Making tensors, beside PyTorch: values, dtypes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from beside_torch import DTYPES, assert_same, both, numbers

import npmlp
from npmlp.errors import DTypeError, OutsideSubsetError, ShapeError

DATA: list[Any] = [
    3, 2.5, True, [1, 2, 3], [1, 2.5], [True, False], [[1, 2], [3, 4]], [], [[]], (1, (2.0)),
    [True, 2], ((1, 2), [3, 4]), range(3), float("nan"), np.float32(1.5), np.float64(1.5),
    np.int64(3), np.ones((2, 3), np.float64), np.arange(3), np.zeros((0, 2), np.uint8),
    [np.float32(1), np.float32(2)], np.ones(2, bool), -7, [[[0.1]]],
]  # fmt: skip


@pytest.mark.parametrize("data", DATA, ids=str)
@pytest.mark.parametrize("default", ["float32", "float64"])
def test_the_data_decide_the_dtype(data: Any, default: str) -> None:
    npmlp.set_default_dtype(getattr(npmlp, default))
    torch.set_default_dtype(getattr(torch, default))
    try:
        assert_same(npmlp.tensor(data), torch.tensor(data))
        assert_same(npmlp.as_tensor(data), torch.as_tensor(data))
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_given_dtype_is_taken(dtype: str) -> None:
    for data in (3, 2.7, [1, 0], True, np.array([1.9, 0.2])):
        ours = npmlp.tensor(data, dtype=getattr(npmlp, dtype))
        assert_same(ours, torch.tensor(data, dtype=getattr(torch, dtype)))
    assert_same(npmlp.tensor(2.5, dtype=float), torch.tensor(2.5, dtype=torch.float32))


def test_tensor_copies_and_from_numpy_shares() -> None:
    array = numbers((2, 3))
    assert not np.shares_memory(npmlp.tensor(array).numpy(), array)
    assert npmlp.from_numpy(array).numpy() is array
    assert npmlp.as_tensor(array).numpy() is array
    assert npmlp.as_tensor(array, dtype=npmlp.float32).dtype is npmlp.float32
    x = npmlp.ones(2, requires_grad=True)
    assert npmlp.as_tensor(x) is x
    copied = npmlp.tensor(x)
    assert not copied.requires_grad
    assert not np.shares_memory(copied.numpy(), x.detach().numpy())
    assert npmlp.tensor([npmlp.tensor(1.0), npmlp.tensor(2.0)]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[1, 2], [3]], ShapeError, "different lengths"),
        ("text", DTypeError, "tensor: dtype <U4 is outside"),
        (None, DTypeError, "tensor: dtype object"),
        ([1j], DTypeError, "complex128"),
        (np.ones(2, np.float16), DTypeError, r"float16 is outside.*\.astype\(numpy.float32\)"),
        (np.ones(2, np.int32), DTypeError, r"int32 is outside.*\.astype\(numpy.int64\)"),
        ([2**70], DTypeError, "object"),
    ],
    ids=str,
)
def test_other_data_are_refused(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        npmlp.tensor(data)


def test_from_numpy_takes_arrays_of_our_dtypes_only() -> None:
    with pytest.raises(DTypeError, match=r"from_numpy: got a list, expected a numpy.ndarray"):
        npmlp.from_numpy([1.0])
    for dtype in (np.float16, np.int32, ">f4", "U1", object):
        with pytest.raises(DTypeError, match="from_numpy: dtype"):
            npmlp.from_numpy(np.zeros(2, dtype))


def test_filled_tensors() -> None:
    for lib_size in [(2, 3), ((2, 3),), ([2, 3],), ((),), (0, 2), (4,)]:
        for name in ("zeros", "ones"):
            assert_same(getattr(npmlp, name)(*lib_size), getattr(torch, name)(*lib_size))
            for dtype in DTYPES:
                ours = getattr(npmlp, name)(*lib_size, dtype=getattr(npmlp, dtype))
                assert_same(ours, getattr(torch, name)(*lib_size, dtype=getattr(torch, dtype)))
        assert npmlp.empty(*lib_size).shape == torch.empty(*lib_size).shape
    for value in (3, 2.5, True, -1):
        assert_same(npmlp.full((2,), value), torch.full((2,), value))
        for dtype in ("float32", "int64", "float64"):
            ours = npmlp.full((2,), value, dtype=getattr(npmlp, dtype))
            assert_same(ours, torch.full((2,), value, dtype=getattr(torch, dtype)))
    assert npmlp.zeros(2, requires_grad=True).requires_grad
    assert npmlp.ones(2, device="cpu").device == npmlp.device("cpu")
    with pytest.raises(OutsideSubsetError, match='use "cpu"'):
        npmlp.zeros(2, device="cuda:0")
    with pytest.raises(ValueError, match="negative"):
        npmlp.zeros(-1)


def test_tensors_like_another() -> None:
    for dtype in DTYPES:
        ours, theirs = both(numbers((2, 3), dtype))
        for name in ("zeros_like", "ones_like"):
            assert_same(getattr(npmlp, name)(ours), getattr(torch, name)(theirs))
            result = getattr(npmlp, name)(ours, dtype=npmlp.float64)
            assert_same(result, getattr(torch, name)(theirs, dtype=torch.float64))
        assert_same(npmlp.full_like(ours, 1), torch.full_like(theirs, 1))
        assert npmlp.empty_like(ours).dtype is ours.dtype
    x = npmlp.ones(2, 3).double()
    assert npmlp.rand_like(x).dtype is npmlp.randn_like(x).dtype is npmlp.float64
    assert npmlp.randn_like(x, requires_grad=True).requires_grad
    assert npmlp.zeros_like(x, device="cpu").shape == (2, 3)


COUNTS = [
    (5,), (2, 7), (2, 9, 3), (5, 0, -2), (0,), (3, 3), (2.5,), (0, 1, 0.1), (1, 2, 0.3),
    (0.5, -2, -0.25),
]  # fmt: skip


@pytest.mark.parametrize("args", COUNTS, ids=str)
def test_arange(args: Any) -> None:
    assert_same(npmlp.arange(*args), torch.arange(*args))
    for dtype in ("float32", "float64", "int64"):
        if dtype == "int64" and any(isinstance(a, float) for a in args):
            continue
        ours = npmlp.arange(*args, dtype=getattr(npmlp, dtype))
        assert_same(ours, torch.arange(*args, dtype=getattr(torch, dtype)))


def test_arange_refuses_a_step_in_the_wrong_direction() -> None:
    for args in [(0, 5, -1), (5, 0), (0, 5, 0)]:
        with pytest.raises(ShapeError, match="arange: step"):
            npmlp.arange(*args)
        with pytest.raises(RuntimeError):
            torch.arange(*args)


def test_draws_are_pytorchs() -> None:
    """The streams themselves are tested in test_random.py; here, that these functions draw them."""
    calls = {
        "rand": lambda lib: lib.rand(2, 3),
        "rand of a tuple": lambda lib: lib.rand((20,), dtype=lib.float64),
        "randn": lambda lib: lib.randn(4, 5),
        "randn in float64": lambda lib: lib.randn(17, dtype=lib.float64),
        "rand_like": lambda lib: lib.rand_like(lib.zeros(2, 3)),
        "randn_like": lambda lib: lib.randn_like(lib.zeros(2, 3)),
        "randint": lambda lib: lib.randint(10, (3, 4)),
        "randint from low": lambda lib: lib.randint(-5, 5, (7,)),
        "randint by keywords": lambda lib: lib.randint(high=7, size=(5,)),
        "randint of floats": lambda lib: lib.randint(0, 9, (3,), dtype=lib.float32),
        "randperm": lambda lib: lib.randperm(10),
        "normal_": lambda lib: lib.zeros(3).normal_(1, 2),
        "uniform_": lambda lib: lib.zeros(3).uniform_(-1, 2),
    }
    npmlp.manual_seed(3)
    torch.manual_seed(3)
    for call in calls.values():
        assert_same(call(npmlp), call(torch))
    for lib in (npmlp, torch):
        generator = lib.Generator().manual_seed(5)
        first = lib.randn(3, generator=generator)
        assert not lib.equal(first, lib.randn(3, generator=generator))
        assert lib.equal(first, lib.randn(3, generator=lib.Generator().manual_seed(5)))


def test_only_floats_are_drawn_and_recorded() -> None:
    with pytest.raises(DTypeError, match=r"rand: dtype torch.int64 is not floating point"):
        npmlp.rand(2, dtype=npmlp.int64)
    assert npmlp.randn(2, requires_grad=True).requires_grad
    with pytest.raises(DTypeError, match="only floating-point"):
        npmlp.arange(3, requires_grad=True)


def test_default_dtype_is_a_floating_one() -> None:
    assert npmlp.get_default_dtype() is npmlp.float32
    npmlp.set_default_dtype(npmlp.float64)
    for made in (npmlp.zeros(1), npmlp.tensor(0.5), npmlp.rand(1), npmlp.full((1,), 0.5)):
        assert made.dtype is npmlp.float64
    for wrong in (npmlp.int64, "float32"):
        with pytest.raises(DTypeError, match="set_default_dtype: got"):
            npmlp.set_default_dtype(wrong)


def test_a_negative_size_is_refused_by_the_function_that_got_it() -> None:
    for name in ("zeros", "ones", "empty", "full"):
        with pytest.raises(ShapeError, match=rf"^{name}: got size \(2, -1\) with a negative"):
            getattr(npmlp, name)((2, -1), *([3.0] if name == "full" else []))
