"""Compiled kernels are kept on disk: found again, made anew when need be, and never in the way."""

from __future__ import annotations

import ast
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import npmlp
from npmlp.kernels import cache

PACKAGE = Path(npmlp.__file__).parent

# a kernel that takes in a function of another file, which Numba's own cache would not look at
INNER = "from npmlp.kernels.cache import njit\n@njit()\ndef inner(x):\n    return x + {}\n"
OUTER = """
from npmlp.kernels.cache import njit
from npmlp.kernels.inner import inner
@njit()
def outer(x):
    return 2 * inner(x)
"""
CALL = """
import json, sys
from npmlp.kernels import cache
from npmlp.kernels.outer import outer
result = outer(10)
found = sum(outer.stats.cache_hits.values())
print(json.dumps([str(cache.folder()), result, found, cache.problems]))
"""


def copy_of_npmlp(folder: Path, addend: int) -> Path:
    """A folder with a copy of npmlp, and with two kernels more: outer(x) = 2 (x + addend)."""
    shutil.copytree(PACKAGE, folder / "npmlp", ignore=shutil.ignore_patterns("__pycache__"))
    write_kernels(folder, addend)
    return folder


def write_kernels(folder: Path, addend: int) -> None:
    (folder / "npmlp" / "kernels" / "inner.py").write_text(INNER.format(addend))
    (folder / "npmlp" / "kernels" / "outer.py").write_text(OUTER)


def start(where: Path, code: str = CALL, **settings: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment | settings, cwd=where, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> Any:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return json.loads(out)


def call(where: Path, kept: Path, code: str = CALL) -> Any:
    """What a new process says: the folder, the result, how often it found code, and problems."""
    return answer(start(where, code, NUMBA_CACHE_DIR=str(kept)))


def test_kernels_are_found_again_until_any_file_of_them_is_edited(tmp_path: Path) -> None:
    here, kept = copy_of_npmlp(tmp_path / "here", 1), tmp_path / "kept"
    folder, *rest = call(here, kept)
    assert rest == [22, 0, []]
    assert Path(folder).parent == kept / "npmlp"  # the user's own choice
    assert call(here, kept) == [folder, 22, 1, []]

    there = copy_of_npmlp(tmp_path / "there", 1)  # the same sources, at another place and time
    assert call(there, kept) == [folder, 22, 1, []]

    write_kernels(here, 5)  # the callee's file alone differs
    edited, *rest = call(here, kept)
    assert edited != folder and rest == [30, 0, []]
    assert call(there, kept) == [folder, 22, 1, []]  # both versions, by turns


def test_two_processes_may_compile_the_same_kernel_at_once(tmp_path: Path) -> None:
    where, kept = copy_of_npmlp(tmp_path / "npmlp", 1), tmp_path / "kept"
    both = [start(where, NUMBA_CACHE_DIR=str(kept)) for _ in range(2)]
    assert [answer(process)[1] for process in both] == [22, 22]
    folder, *rest = call(where, kept)
    assert rest == [22, 1, []]
    assert not list(Path(folder).glob("*.tmp"))


# ------------------------------------------------------------------------------ in this process


def plus_one(x: int) -> int:
    return x + 1


def found(x: int = 10) -> int:
    """Call plus_one as a new process would: 1 if its code was found, 0 if it had to compile."""
    kernel = cache.njit()(plus_one)
    assert kernel(x) == x + 1
    return sum(kernel.stats.cache_hits.values())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for kernels, empty."""
    folder = tmp_path / "kernels-0"
    monkeypatch.setattr(cache, "folder", lambda: folder)
    monkeypatch.setattr(cache, "problems", [])
    return folder


def test_types_have_code_of_their_own(kept: Path) -> None:
    assert [found(1), found(1.5), found(2), found(2.5)] == [0, 0, 1, 1]


@pytest.mark.parametrize("damage", ["cut short", "empty", "one bit"])
def test_a_damaged_file_is_compiled_anew(damage: str, kept: Path) -> None:
    found()
    (file,) = kept.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= damage == "one bit"
    file.write_bytes(content[: {"cut short": 1000, "empty": 0}.get(damage)])
    assert [found(), found()] == [0, 1]


def test_a_disk_that_takes_nothing_stops_no_run(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert found() == 0
    assert cache.problems == [f"{kept}: No space left on device"]
    assert list(kept.iterdir()) == []


def test_a_folder_that_cannot_be_made_stops_no_run(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write_text("a file is in the way")
    assert found() == 0
    (problem,) = cache.problems
    assert problem.startswith(f"{kept}: ")


def test_a_process_that_saw_older_sources_keeps_nothing(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_SOURCES", "those before an edit")
    assert [found(), found()] == [0, 0]
    assert not kept.exists()


def test_a_function_that_is_called_with_a_function_is_not_kept(kept: Path) -> None:
    inner = cache.njit()(plus_one)
    outer = cache.njit()(lambda f, x: f(x))
    assert outer(inner, 1) == 2
    assert [path.name.split("-")[0] for path in kept.iterdir()] == ["test_cache.plus_one"]


@pytest.mark.parametrize("collecting", [True, False])
def test_bringing_numba_up_leaves_the_garbage_collector_as_it_was(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        cache._bring_up()
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def test_a_users_own_function_is_cached_as_numba_does_it() -> None:
    import numba

    assert type(numba.njit(cache=True)(plus_one)._cache).__module__ == "numba.core.caching"


# ----------------------------------------------------------------------------------- the folder

FOLDER = "import json; from npmlp.kernels import cache; print(json.dumps(str(cache.folder())))"


def test_the_folder_is_in_the_users_cache_and_of_one_processor() -> None:
    import platformdirs

    own = Path(platformdirs.user_cache_dir("npmlp", appauthor=False))
    where = PACKAGE.parent
    names = set()
    for settings in (
        {},
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx"},
    ):
        folder = Path(answer(start(where, FOLDER, NUMBA_CACHE_DIR="", **settings)))
        assert folder.parent == own
        names.add(folder.name)
    assert re.fullmatch(r"kernels-[0-9a-f]{16}", folder.name)
    assert len(names) == 3


def test_old_folders_go_and_what_is_in_use_stays(tmp_path: Path) -> None:
    day, now = 24 * 3600, time.time()
    ages = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.5, 2.5, 27.0, 29.0]  # in days

    def left(ages: list[float]) -> list[float]:
        root = tmp_path / str(len(ages))
        for age in ages:
            folder = root / f"kernels-{age}"
            folder.mkdir(parents=True)
            (folder / "some.nbc").write_text("")
            os.utime(folder, (now - age * day, now - age * day))
        (root / "fashion-mnist").mkdir()
        current = root / "kernels-current"
        current.mkdir()
        cache._remove_old(current)
        names = {path.name for path in root.iterdir()}
        assert {"fashion-mnist", "kernels-current"} < names
        return sorted(float(name[8:]) for name in names - {"fashion-mnist", "kernels-current"})

    assert left(ages) == [age for age in ages if age < 1]  # more than eight, all used today
    assert left([0.1, 1.5, 2.5, 27.0, 29.0]) == [0.1, 1.5, 2.5, 27.0]
    assert left([1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]) == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]


def test_every_kernel_is_compiled_by_way_of_this_cache() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "numba":
                taken = {alias.name for alias in node.names}
                assert not taken & {"njit", "jit", "vectorize"}, f"{path}: npmlp.kernels.cache's"
