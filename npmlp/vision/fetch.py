"""Fetching Fashion-MNIST: the publisher's mirrors over HTTPS, then Debian's package without root.

A file appears under its name only when it is whole and its SHA-256 is right. Every failure is kept,
so that a fetch that gets nowhere can say what was wrong at each place.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from npmlp.errors import DataError
from npmlp.vision.files import DataFile, check_hash, find_file, note, replacing

MIRRORS = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = "usr/share/datasets/fashion-mnist"

Say = Callable[[str], None]
Source = Callable[[Path, Sequence[DataFile]], None]


def to_stderr(line: str) -> None:
    """Print a line of progress where it does not mix with a program's output."""
    print(line, file=sys.stderr, flush=True)


def fetch(
    target: Path,
    files: Sequence[DataFile],
    *,
    mirrors: Sequence[str] = MIRRORS,
    apt: bool = True,
    timeout: float = 10.0,
    cache: Path | None = None,
    say: Say = to_stderr,
) -> str:
    """Put the files into `target`, decompressed and proved.

    Parameters
    ----------
    target: the folder; made where it is missing.
    mirrors: addresses that hold <name>.gz, tried in order; a mirror is left at its first failure.
    apt: whether the Debian package is tried after them.
    timeout: seconds that a mirror may stay silent.
    cache: the folder in which it is noted that the files are proved.

    Returns
    -------
    Where they came from.

    Raises
    ------
    DataError: nobody had them; the message has a line for each place that was tried.
    """
    sources: list[tuple[str, Source]] = [
        (mirror, partial(_from_mirror, mirror, timeout)) for mirror in mirrors
    ]
    if apt:
        sources.append((f"the Debian package {DEBIAN_PACKAGE}", _from_debian))
    failures = []
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"  cannot fetch into {target}: {error.strerror}") from None
    if all(_is_whole(target / spec.name, spec) for spec in files):
        return str(target)
    for name, get in sources:
        say(f"Fetching Fashion-MNIST (30 MB) from {name}")
        try:  # what an earlier source gave whole is kept
            get(target, [spec for spec in files if not _is_whole(target / spec.name, spec)])
        except DataError as error:
            failures.append(f"  {name}: {error}")
            say(f"  no: {error}")
            continue
        for spec in files:
            note(cache, target / spec.name, (target / spec.name).stat(), spec)
        return name
    raise DataError("\n".join(failures) or "  no place to fetch from was given")


def _is_whole(path: Path, spec: DataFile) -> bool:
    if not path.is_file() or path.stat().st_size != spec.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == spec.sha256


def _from_mirror(mirror: str, timeout: float, target: Path, files: Sequence[DataFile]) -> None:
    # Imported here: urllib takes longer to import than all of npmlp's own data code.
    import http.client
    import urllib.error
    import urllib.request

    for spec in files:
        try:
            with urllib.request.urlopen(f"{mirror}{spec.name}.gz", timeout=timeout) as answer:
                _unpack(answer, spec, target)
        except urllib.error.HTTPError as error:
            raise DataError(f"{spec.name}.gz: HTTP status {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise DataError(f"no connection ({error.reason})") from None
        except (OSError, http.client.HTTPException) as error:
            raise DataError(f"{spec.name}.gz: broke off ({error!r})") from None


def _from_debian(target: Path, files: Sequence[DataFile]) -> None:
    """apt-get with lists and cache of its own needs no root, and touches nothing of the system."""
    import shutil
    import tempfile

    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DataError("this machine has no apt-get")
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=target) as name:
        scratch = Path(name)
        for folder in ("lists/partial", "cache/archives/partial", "unpacked"):
            (scratch / folder).mkdir(parents=True)
        options = [
            f"Dir::State::Lists={scratch / 'lists'}",
            f"Dir::Cache={scratch / 'cache'}",
            "Acquire::Languages=none",
            "Acquire::http::Timeout=10",
            "Acquire::https::Timeout=10",
            "Acquire::Retries=1",
            "APT::Sandbox::User=root",  # as root, apt would go over to a user who cannot write here
        ]
        apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
        _run([*apt, "update"], scratch, seconds=180)
        _run([*apt, "download", DEBIAN_PACKAGE], scratch, seconds=300)
        packages = list(scratch.glob("*.deb"))
        if not packages:
            raise DataError("apt-get download left no package")
        _run(["dpkg-deb", "-x", str(packages[0]), str(scratch / "unpacked")], scratch, seconds=60)
        for spec in files:
            path = find_file(scratch / "unpacked" / DEBIAN_FOLDER, spec.name)
            if path is None:
                raise DataError(f"the package has no {spec.name}")
            with path.open("rb") as file:
                _unpack(file, spec, target)


def _run(command: list[str], folder: Path, seconds: float) -> None:
    import os
    import subprocess

    said = " ".join(word for word in (command[0], command[-1]) if word)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{said}: no result after {seconds:.0f} s") from None
    except OSError as error:
        raise DataError(f"{said}: {error.strerror}") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = (lines or done.stderr.splitlines() or ["no message"])[0]
        raise DataError(f"{said}: {reason}")


def _unpack(stream: IO[bytes], spec: DataFile, target: Path) -> None:
    """Unpack a gzip stream into target/<name>: whole and proved, or not at all."""
    digest = hashlib.sha256()
    size = 0
    try:
        with replacing(target / spec.name) as file, gzip.GzipFile(fileobj=stream) as unpacked:
            while chunk := unpacked.read(1 << 20):
                size += len(chunk)
                if size > spec.size:
                    raise DataError(f"{spec.name}: more than its {spec.size:,} bytes")
                digest.update(chunk)
                file.write(chunk)
            check_hash(spec.name, spec, digest.hexdigest())
    except EOFError:
        raise DataError(f"{spec.name}.gz: cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{spec.name}.gz: not gzip, or damaged ({error})") from None
