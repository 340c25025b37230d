"""Settings are global, so each test gets them as they are at the start and leaves none behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_run import finished, unfinished  # noqa: F401 - fixtures, one run for all tests

import npmlp
from npmlp import config
from tests.linting import library  # noqa: F401 - a fixture

torch.set_num_threads(1)  # its sums depend on the number of threads; tests must not
# Tests run in as many processes as there are cores, and would wait for one another's threads. Those
# of threads set their own number.
config.set_num_threads(1)


@pytest.fixture(autouse=True)
def settings_are_restored() -> Iterator[None]:
    kernels, threads = config.get_kernels(), config.get_num_threads()
    dtype, torchs = npmlp.get_default_dtype(), torch.get_default_dtype()
    yield
    config.set_kernels(kernels)
    config.set_num_threads(threads)
    npmlp.set_default_dtype(dtype)
    torch.set_default_dtype(torchs)


@pytest.fixture(params=["numpy", "numba"])
def kernels(request: pytest.FixtureRequest) -> str:
    """Run the test twice: with the oracles, and with the compiled kernels."""
    config.set_kernels(request.param)
    return str(request.param)


@pytest.fixture
def compiled() -> None:
    """For what compiled kernels alone have, such as fused operations, whichever were chosen."""
    config.set_kernels("numba")
