"""Settings of the whole program that a call may change for itself, put back when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from npmlp import config, dtypes, random


@contextlib.contextmanager
def preserved_settings() -> Iterator[None]:
    """Within it the default dtype, the kernels and the default generator may be changed.

    At its end, also by an exception, they are as they were at its start.
    """
    dtype, kernels = dtypes.get_default_dtype(), config.get_kernels()
    generator = random.default_generator.state_bytes()
    try:
        yield
    finally:
        dtypes.set_default_dtype(dtype)
        config.set_kernels(kernels)
        random.default_generator.load_state_bytes(generator)
