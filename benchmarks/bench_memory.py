"""The peak memory of a training process: an epoch of npmlp.train and of reference_torch.train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine

RESULT = Path(__file__).parent / "results" / "memory.json"


def peak_mib(module: str) -> float:
    """The largest resident memory of `python -m module` over one epoch of vanilla, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--arch", "vanilla", "--epochs", "1", "--out", f"{folder}/run"]
        process = subprocess.Popen([sys.executable, "-m", module, *flags])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{module} ended with status {status}")
        return usage.ru_maxrss / 1024  # Linux counts in KiB


def main() -> None:
    peaks = {name: peak_mib(name) for name in ("npmlp.train", "reference_torch.train")}
    result = {"benchmark": "peak memory in MiB", **peaks, "machine": machine.facts()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, peak in peaks.items():
        print(f"{name:22} {peak:7.0f} MiB at its peak")


if __name__ == "__main__":
    main()
