"""Compiling, and what keeps compiled kernels for the next run: every kernel takes its `njit` here.

A folder in the user's cache holds the code of one version of the kernels' sources, for one
processor, made by one version of the compiler. The folder's name is the hash of all these, so code
is found again by every copy of npmlp with these sources, and an edit of any kernel begins a new
folder. Numba's own cache looks at the one file that a function stands in: it would go on with what
a caller has taken in of a function in another file, and keeps code by the place of the sources.

    <NUMBA_CACHE_DIR, or the user's cache>/npmlp/kernels-<hash>/<module>.<function>-<hash>.nbc

Files appear whole or not at all, and a name has one content, so that processes that compile the
same kernel at the same time do not disturb each other. Where nothing can be written, kernels are
compiled for the process alone; a damaged file is compiled anew.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import pickle
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def _bring_up() -> Any:
    """Import Numba and have it load what it knows of NumPy, as the first kernel would.

    That makes a million objects that stay. Looking through them for garbage, again and again as
    they grow, would be a sixth of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        import numba
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
        return numba
    finally:
        if collecting:
            gc.enable()


numba = _bring_up()
prange = numba.prange


def njit(*, cache: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's, keeping what it compiles in `folder()`. `cache=False` keeps nothing.

    A function is compiled for types alone. Numba would do it for each number that is written in a
    call as well, such as a 0 or a True: a fifth of all compiling, and to the same code.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if hasattr(dispatcher, "_cache"):  # with NUMBA_DISABLE_JIT it is the function
            if cache:
                dispatcher._cache = _KernelCache(function)
            dispatcher.get_call_template = functools.partial(_called, dispatcher)
        return dispatcher

    return compiled


def _called(dispatcher: Any, args: Sequence[Any], kws: Mapping[str, Any]) -> Any:
    """What a call from compiled code is compiled to, its arguments' types being these."""
    plain = numba.types.unliteral
    return type(dispatcher).get_call_template(
        dispatcher, [plain(t) for t in args], {name: plain(t) for name, t in kws.items()}
    )


# ---------------------------------------------------------------------------------- the folder


def _hash_of_sources() -> str:
    """Of all files of kernels as they are now; "" where there are none, as in a zip archive."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    hashes = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sources]
    return "\n".join(hashes)


_SOURCES = _hash_of_sources()


@functools.cache
def folder() -> Path | None:
    """Where kernels are kept, whether it is there yet or not; None without sources to hash."""
    if not _SOURCES:
        return None
    import llvmlite
    import platformdirs
    from numba.core.registry import cpu_target

    config: Any = numba.config
    facts = (
        _SOURCES,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        sys.implementation.cache_tag,
        # system, processor and its features: those that Numba compiles for, NUMBA_CPU_NAME's too
        cpu_target.target_context.codegen().magic_tuple(),
        # settings that change the code that is made
        str(config.OPT),
        *(getattr(config, s, None) for s in ("BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE")),
        getattr(config, "USING_SVML", None),
    )
    own = platformdirs.user_cache_dir("npmlp", appauthor=False)
    root = os.path.join(config.CACHE_DIR, "npmlp") if config.CACHE_DIR else own
    return Path(root) / f"kernels-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"


_KEPT, _DAY = 8, 24 * 3600.0  # folders that are kept in all; seconds


def _remove_old(current: Path) -> None:
    """Remove folders of other hashes that nobody has used for four weeks, and those beyond eight.

    What was used within a day stays: several versions may be run by turns. A process whose folder
    goes has its code in memory, and compiles what it still needs.
    """
    used = []
    for other in current.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if other != current:
                used.append((other.stat().st_mtime, other))
    now = time.time()
    for place, (when, other) in enumerate(sorted(used, reverse=True), start=2):
        if now - when > (_DAY if place > _KEPT else 28 * _DAY):
            with contextlib.suppress(OSError):
                # renamed first: whoever looks finds all of a folder or none of it
                doomed = other.rename(other.with_name(f"kernels-removed-{os.getpid()}"))
                shutil.rmtree(doomed, ignore_errors=True)


@functools.cache
def _note_use(used: Path) -> None:
    """Once in a process: the time of the folder says when it was used last."""
    with contextlib.suppress(OSError):
        os.utime(used)


# ----------------------------------------------------------------------------------- the files

problems: list[str] = []
"""Why kernels could not be kept, in a few words each."""


@functools.cache
def _hash_of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _KernelCache:
    """The code of one function, a file for each combination of argument types.

    A dispatcher of Numba asks `load_overload` before it compiles, and gives `save_overload` what it
    has compiled.
    """

    def __init__(self, function: Any) -> None:
        self.function = function
        source = Path(function.__code__.co_filename)
        self.name = f"{source.stem}.{function.__qualname__}".replace("<locals>.", "")
        self.stamp = _hash_of_file(source)  # for functions that are not in this folder

    def _path(self, sig: Any, target: Any) -> Path | None:
        """The file for these types, or None if there can be none."""
        where = folder()
        types = repr(sig)
        if where is None or " at 0x" in types:  # an address, such as that of a function
            return None
        captured = tuple(c.cell_contents for c in self.function.__closure__ or ())
        closure = numba.core.serialize.dumps(captured) if captured else b""
        line = self.function.__code__.co_firstlineno
        key = f"{line} {types} {target.codegen().magic_tuple()} {self.stamp}".encode() + closure
        return where / f"{self.name}-{hashlib.sha256(key).hexdigest()[:16]}.nbc"

    def load_overload(self, sig: Any, target: Any) -> Any:
        """The compiled function for these types, or None."""
        path = self._path(sig, target)
        if path is None:
            return None
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            _note_use(path.parent)
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                target.refresh()
                parts = pickle.loads(content[32:])
                return numba.core.compiler.CompileResult._rebuild(target, *parts)
        return None

    def save_overload(self, sig: Any, compiled: Any) -> None:
        """Keep a compiled function."""
        if compiled.library.has_dynamic_globals or compiled.lifted:
            warnings.warn(f"{self.name} cannot be kept, and compiles in every run", stacklevel=2)
            return
        path = self._path(sig, compiled.target_context)
        if path is None or _hash_of_sources() != _SOURCES:  # edited since: whose code is it?
            return
        content = numba.core.serialize.dumps(compiled._reduce())
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                _remove_old(path.parent)
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        except OSError as error:
            problems.append(f"{path.parent}: {error.strerror or error}")
            with contextlib.suppress(OSError):
                temporary.unlink()

    # what else a dispatcher asks its cache for

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(folder())

    def flush(self) -> None:
        """Forget what is kept: the next process compiles anew."""
        where = folder()
        for path in where.glob(f"{self.name}-*.nbc") if where else ():
            path.unlink(missing_ok=True)
