"""The matmul ladder beside NumPy's BLAS, in GFLOP/s: `python benchmarks/bench_matmul.py`.

In every round each contestant runs in turn, so that a busy machine slows all of them alike: twice,
of which the second counts, or a second thread would have gone to sleep while others ran. The figure
is that of the fastest round: interruptions only ever add time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
from matmul_npmlp import planned
from threadpoolctl import threadpool_limits

from npmlp.files import write_atomically
from npmlp.kernels import ladder, matmul, scratch, threads
from npmlp.kernels.cache import numba
from npmlp.plan.machine import this_machine

# N, K, M of out (N, M) = a (N, K) b (K, M), and how the training step stores a and b
SHAPES = [
    ("vanilla, forward", 64, 784, 100, "b transposed"),
    ("vanilla, dweight", 100, 64, 784, "a transposed"),
    ("10 classes, forward", 64, 100, 10, "b transposed"),
    ("10 classes, dx", 64, 10, 100, "as they are"),
    ("10 classes, dweight", 10, 64, 100, "a transposed"),
    ("residual, forward", 128, 784, 144, "b transposed"),
    ("mixer, forward", 6272, 128, 128, "b transposed"),
    ("square", 784, 784, 784, "as they are"),
    ("square, power of two", 1024, 1024, 1024, "as they are"),
]
CORES = int(numba.config.NUMBA_NUM_THREADS)


def contestants(
    n: int, k: int, m: int, stored: str, dtype: str, slow: bool
) -> dict[str, Callable[[], Any]]:
    """Name -> a call that computes the product once."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, k) if stored != "a transposed" else (k, n)).astype(dtype)
    a = a if stored != "a transposed" else a.T
    bt = rng.standard_normal((m, k)).astype(dtype)
    b = bt.T if stored == "b transposed" else np.ascontiguousarray(bt.T)
    out = np.empty((n, m), dtype)
    panels = [np.empty(*spec) for spec in scratch.panels(n, k, m, np.dtype(dtype))]

    def tiles() -> None:
        if stored == "b transposed":
            matmul.multiply_transposed(a, bt, out, panels)
        else:
            matmul.multiply(a, b, out)

    flat, down, along = matmul.memory(a)
    rows = np.ascontiguousarray(b)
    arguments = (
        ladder.Matrix(flat, 0, down, along), ladder.Matrix(rows.reshape(-1), 0, m, 1),
        ladder.Matrix(np.zeros(m, dtype), 0, 0, 1), out.dtype.type(-np.inf),
        ladder.Matrix(out.reshape(-1), 0, m, 1), n, k, m,
    )  # fmt: skip

    calls: dict[str, Callable[[], Any]] = {}
    if slow:
        calls["three loops"] = lambda: ladder.three_loops(a, b, out)
        calls["right order"] = lambda: ladder.right_order(a, b, out)
    calls["blocked"] = lambda: ladder.blocked(*arguments)  # of b turned around beforehand
    calls["tile"] = planned(tiles, 1)
    if CORES > 1:
        numba.set_num_threads(2)
        calls["2 threads"] = planned(tiles, 2)
    calls["BLAS"] = lambda: np.matmul(a, b, out=out)
    return calls


def measure(n: int, k: int, m: int, stored: str, dtype: str, seconds: float) -> dict[str, float]:
    """GFLOP/s by rung."""
    work = 2e-9 * n * k * m
    calls = contestants(n, k, m, stored, dtype, slow=work < 0.3)
    best = dict.fromkeys(calls, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: work / value for name, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--seconds", type=float, default=1.0, help="per shape")
    parser.add_argument("--keep", action="store_true", help="write results/ladder.json")
    options = parser.parse_args()
    columns = list(contestants(1, 1, 1, "", options.dtype, True))
    print(f"{'GFLOP/s, ' + options.dtype:<24}{'N':>6}{'K':>6}{'M':>6}", end="")
    print("".join(f"{name:>13}" for name in columns))
    rows = []
    threads.take()  # for all programs, as a plan has them while it replays
    with threadpool_limits(1, user_api="blas"):
        for label, n, k, m, stored in SHAPES:
            found = measure(n, k, m, stored, options.dtype, options.seconds)
            figures = [f"{found[c]:>13.1f}" if c in found else f"{'-':>13}" for c in columns]
            print(f"{label:<24}{n:>6}{k:>6}{m:>6}{''.join(figures)}")
            rows.append({"label": label, "n": n, "k": k, "m": m, "gflops": found})
    if options.keep:
        limits = this_machine(again=True)
        peak = limits.peak(options.dtype, 1) / 1e9, limits.peak(options.dtype, CORES) / 1e9
        result = {
            "dtype": options.dtype, "rows": rows, "peak": peak, "cores": CORES,
            "machine": machine.facts(),
        }  # fmt: skip
        path = Path(__file__).parent / "results" / "ladder.json"
        write_atomically(path, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
