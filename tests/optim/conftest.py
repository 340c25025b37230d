"""Both ways of computing an update, for the tests that ask for `kernels`."""

from __future__ import annotations

import pytest

from npmlp import config


@pytest.fixture(params=["numpy", "numba"])
def kernels(request):
    before = config.get_kernels()
    config.set_kernels(request.param)
    yield request.param
    config.set_kernels(before)
