"""The settings of the whole program: who may change them, and where they are put back."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import npmlp
from npmlp import config, random
from npmlp.errors import NpmlpError
from npmlp.preserved import preserved_settings


def with_kernels(value: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NPMLP_KERNELS": value},
    )


def change_everything() -> None:
    npmlp.set_default_dtype(npmlp.float64)
    config.set_kernels("numpy" if config.get_kernels() == "numba" else "numba")
    npmlp.manual_seed(5)
    npmlp.randn(3)  # which also keeps half of a pair of normals


def settings() -> tuple[object, ...]:
    return (
        npmlp.get_default_dtype(),
        config.get_kernels(),
        random.default_generator.state_bytes().tobytes(),
    )


def test_preserved_settings_are_put_back() -> None:
    before = settings()
    with preserved_settings():
        change_everything()
        assert all(now != then for now, then in zip(settings(), before, strict=True))
    assert settings() == before


def test_preserved_settings_are_put_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(KeyError), preserved_settings():
        change_everything()
        raise KeyError
    assert settings() == before


def test_a_wrong_choice_of_kernels_lets_npmlp_be_imported() -> None:
    done = with_kernels("quick", "-c", "import npmlp; npmlp.set_kernels('numpy'); npmlp.ones(2)+1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_choice_of_kernels_ends_a_command_with_one_sentence() -> None:
    done = with_kernels(
        "quick", "-m", "npmlp", "train", "--limit", "64", "--epochs", "1", "--out", "unused"
    )
    assert done.returncode == 2
    assert done.stderr == 'error: NPMLP_KERNELS: got \'quick\', expected "numpy" or "numba"\n'


def test_the_environment_chooses_the_kernels() -> None:
    done = with_kernels("numpy", "-c", "import npmlp; print(npmlp.get_kernels())")
    assert done.stdout == "numpy\n"


@pytest.mark.usefixtures("compiled")
def test_blas_multiplies_to_rounding_as_npmlp_does_and_a_plan_follows():
    rng = np.random.default_rng(0)
    x, y = (npmlp.from_numpy(rng.standard_normal(s)) for s in ((70, 700), (700, 50)))
    model = npmlp.nn.Sequential(npmlp.nn.Linear(700, 20), npmlp.nn.ReLU()).double()
    plan = npmlp.capture(model)
    assert config.get_matmul() == "numba"
    with npmlp.no_grad():
        ours, forward, replayed = x @ y, model(x), plan(x)
        try:
            config.set_matmul("blas")
            theirs = x @ y, model(x), plan(x), plan(x)
        finally:
            config.set_matmul("numba")
        assert plan(x).numpy().tobytes() == replayed.numpy().tobytes()
    for a, b in zip((ours, forward, replayed, replayed), theirs, strict=True):
        # sums of 700 products, in another order: 700 roundings of half a unit (Higham 2002, 3.5) of
        # a sum of sizes, which is 446 for normal numbers, and below 600 in all of 3,500
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=700 * 2.3e-16 * 600)
    # OpenBLAS has blocks of its own; one short chain of fused additions would be the same in both
    assert ours.numpy().tobytes() != theirs[0].numpy().tobytes(), "it was not BLAS"


def test_nobody_else_multiplies():
    with pytest.raises(NpmlpError, match="set_matmul: got 'mkl'"):
        config.set_matmul("mkl")
