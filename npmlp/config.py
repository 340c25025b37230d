"""Which kernels run, who multiplies matrices, and on how many threads.

Three settings, each with a function; NPMLP_KERNELS is read where nothing was set before first use.
"""

from __future__ import annotations

import functools
import os
from typing import Literal, cast

from npmlp.errors import NpmlpError

Kernels = Literal["numpy", "numba"]
Matmul = Literal["numba", "blas"]


def _checked(value: str, origin: str) -> Kernels:
    if value not in ("numpy", "numba"):
        raise NpmlpError(f'{origin}: got {value!r}, expected "numpy" or "numba"')
    return cast(Kernels, value)


_kernels: Kernels | None = None  # not chosen yet


def set_kernels(name: Kernels) -> None:
    """Choose how operations are computed: "numba" (compiled, the default) or "numpy".

    "numpy" runs each operation's oracle, the text in npmlp/ops, and compiles nothing. The results
    of the two agree to rounding. Where it is not called, the environment variable NPMLP_KERNELS
    decides at the first operation.
    """
    global _kernels
    _kernels = _checked(name, "set_kernels")


def get_kernels() -> Kernels:
    """The kernels in use: "numba" or "numpy". Raises NpmlpError for a wrong NPMLP_KERNELS."""
    return _kernels or _kernels_of_environment()


def _kernels_of_environment() -> Kernels:
    # at first use and not at import, where a command could not yet answer in a sentence
    global _kernels
    _kernels = _checked(os.environ.get("NPMLP_KERNELS", "numba"), "NPMLP_KERNELS")
    return _kernels


_matmul: Matmul = "numba"


def set_matmul(name: Matmul) -> None:
    """Choose who multiplies matrices under the "numba" kernels: "numba" (the default, npmlp's own,
    kernels/matmul.py) or "blas", the library that NumPy calls, to compare.

    BLAS gets as many threads as npmlp has now, and its last bits may depend on their number.
    Convolutions go on with npmlp's.
    """
    global _matmul
    if name not in ("numba", "blas"):
        raise NpmlpError(f'set_matmul: got {name!r}, expected "numba" or "blas"')
    if name == "blas":
        from threadpoolctl import threadpool_limits

        threadpool_limits(get_num_threads(), user_api="blas")
    _matmul = name


def get_matmul() -> Matmul:
    """Who multiplies matrices: "numba" or "blas"."""
    return _matmul


def set_num_threads(n: int) -> None:
    """Let compiled kernels use `n` threads. Results are the same bits for any number."""
    if not isinstance(n, int) or n < 1:
        raise NpmlpError(f"set_num_threads: got {n!r}, expected a whole number of at least 1")
    from npmlp.kernels.threads import numba  # once it has told the threads how long to wait

    most = int(numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(min(n, most))


def get_num_threads() -> int:
    """The number of threads that compiled kernels may use."""
    from npmlp.kernels.threads import numba

    return int(numba.get_num_threads())


@functools.cache
def hold_blas_at_one_thread() -> None:
    """Called by the first operation that goes through BLAS: from then on BLAS uses one thread.

    BLAS splits a sum differently for each number of threads, which changes its last bits; at one
    thread the same inputs give the same bits on any number of cores.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
