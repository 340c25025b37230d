"""What a benchmark ran on and with, for its result file: machine, versions, commit and sources."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
LOAD = "NPMLP_BENCH_LOAD"


def processor() -> str:
    """The processor's model name where the system tells it, else its architecture."""
    for line in _lines("/proc/cpuinfo"):
        field, _, value = line.partition(":")
        if field.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def vectors() -> str:
    """The widest vector instructions that the processor says it has, or "" where it does not say.

    Two machines may bear one name in /proc/cpuinfo and differ in this.
    """
    flags: set[str] = set()
    for line in _lines("/proc/cpuinfo"):
        field, _, value = line.partition(":")
        if field.strip() in ("flags", "Features"):
            flags.update(value.split())
    return next((name for name in ("avx512f", "avx2", "asimd") if name in flags), "")


def memory_gib() -> int | None:
    """The machine's memory, in whole GiB, where the system tells it."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20)  # given in KiB
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # not Linux
        return []


def facts() -> dict[str, object]:
    """What a result file says of the machine."""
    return {
        "processor": processor(),
        "vectors": vectors(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": platform.system(),
    }


def load() -> float | None:
    """How many processes wanted a core in the last minute, where the system tells it.

    Benchmarks are for a machine that does nothing else: from about a half on, figures are doubtful.
    bench.py leaves its own start's in the environment, since each benchmark is a load to the next.
    """
    if kept := os.environ.get(LOAD):
        return float(kept)
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python, and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def compiler() -> str | None:
    """The C++ compiler that torch.compile needs, in one line, or None where there is none."""
    command = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if command is None or shutil.which(command) is None:
        return None
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else None


def commit() -> str:
    """The commit that is checked out, with "-dirty" where files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(git, capture_output=True, text=True)
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"


def sources(parts: Iterable[str]) -> str:
    """12 hexadecimal digits that change with npmlp, reference_torch or these files beside this one.

    A commit would not do to say whether a result is still that of these sources: committing the
    result makes a new one.
    """
    files = [path for name in ("npmlp", "reference_torch") for path in (ROOT / name).rglob("*.py")]
    files += [HERE / part for part in parts]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
