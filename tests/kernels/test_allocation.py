"""What a step frees, the next step uses again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Steps of a layer whose arrays, 3 MiB each, are above what the C library keeps by itself; for 4 MiB
# and more NumPy asks for larger pages. The first few fill the pool. Prints the pages of 4 kB that
# the system gave out during the others.
STEPS = """
import resource, npmlp
from npmlp import nn
layer, x = nn.Linear(128, 128), npmlp.rand(6144, 128)
for step in range(8):
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    nn.functional.relu(layer(x)).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(kernels: str, **settings: str) -> int:
    environment = {**os.environ, "NPMLP_KERNELS": kernels, **settings}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_a_step_asks_the_system_for_no_memory_once_the_first_have_run(kernels: str) -> None:
    step = 3 * 2**20 // 4096  # the pages of one array; a step makes at least four
    assert pages(kernels) < step


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
def test_settings_of_the_users_own_are_left_as_they_are() -> None:
    step = 3 * 2**20 // 4096
    own = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    assert pages("numba", **own) > 4 * 4 * step
